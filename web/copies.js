// A result as text to copy: as Markdown, and as HTML for a web page.

import { byId, pathData } from "./dom.js";
import { library } from "./library.js";
import { damageHeads, heads, lines, summary } from "./print.js";
import { kindName, partName, t } from "./texts.js";

const cell = (text) => text.replace(/[\\|`*_<[]/g, "\\$&").replace(/\s+/g, " ");

function damageLines({ damage }, row) {
  if (!damage || damage.isOff) return [];
  const rows = damage.lines().map(row);
  const table = rows.length ? [row(damageHeads()), "|---|---|---|---|", ...rows] : [t("damage.none")];
  return [`### ${t("damage.title")}`, "", ...table, "", t("damage.note"), ""];
}

/** The result as Markdown. */
export function markdown(page) {
  const { name } = library.get(page.hash);
  const row = (cells) => `| ${cells.map(cell).join(" | ")} |`;
  return [
    `## ${cell(byId("result-title").textContent)}`,
    "",
    [name, summary()].filter(Boolean).map(cell).join(" · "),
    "",
    row(heads()),
    "|---|---|---|",
    ...lines(page).map(([, cells]) => row(cells)),
    "",
    ...damageLines(page, row),
    `<${location.href}>`,
    "",
  ].join("\n");
}

const escaped = (text) =>
  String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

/** Links of a picture to `#name`, with titles, drawn in colours. */
function shape({ name, title, colour, opacity, polygons }) {
  const paint = `fill="${escaped(colour)}" fill-opacity="${opacity}" stroke="${escaped(colour)}" fill-rule="evenodd"`;
  const path = `<path ${paint} d="${pathData(polygons, 1)}"><title>${escaped(title)}</title></path>`;
  return `  <a href="#${escaped(name)}">${path}</a>`;
}

/** A list of the damages that are shown: kind, confidence, and where they are. */
function damageHtml({ damage }) {
  if (!damage || damage.isOff) return [];
  const items = damage.lines().map(([kind, sure, where]) => `  <li>${escaped(`${kind} (${sure}): ${where}`)}</li>`);
  const list = items.length ? ["<ul>", ...items, "</ul>"] : [`<p>${escaped(t("damage.none"))}</p>`];
  return [`<h2>${escaped(t("damage.title"))}</h2>`, ...list, `<p>${escaped(t("damage.note"))}</p>`];
}

/** HTML of the photo with a clickable overlay; the address of the photo is to be filled in. */
export function snippet(page) {
  const { result, config, damage } = page;
  const { width, height } = result;
  const parts = result.parts.map(({ name, polygons }) =>
    shape({ name, title: partName(name), colour: config.colours[name], opacity: 0.4, polygons }),
  );
  const damages = (damage?.shown ?? []).map(({ kind, polygons }) =>
    shape({ name: kind, title: kindName(kind), colour: config.damage_colours[kind], opacity: 0.2, polygons }),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="100%">`,
    `  <image href="photo.jpg" width="${width}" height="${height}"/>`,
    ...parts,
    ...damages,
    "</svg>",
    ...damageHtml(page),
    "",
  ].join("\n");
}
