// A result as text to copy: as Markdown, and as HTML for a web page.

import { byId, pathData } from "./dom.js";
import { library } from "./library.js";
import { damageHeads, heads, lines, summary } from "./print.js";
import { partName, t } from "./texts.js";

const cell = (text) => text.replace(/[\\|`*_<[]/g, "\\$&").replace(/\s+/g, " ");

function damageLines({ damage }, row) {
  if (!damage) return [];
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

/** HTML of the photo with a clickable overlay; the address of the photo is to be filled in. */
export function snippet({ result, config }) {
  const { width, height } = result;
  const shapes = result.parts.map(({ name, polygons }) => {
    const colour = escaped(config.colours[name]);
    const paint = `fill="${colour}" fill-opacity=".4" stroke="${colour}" fill-rule="evenodd"`;
    const title = `<title>${escaped(partName(name))}</title>`;
    const path = `<path ${paint} d="${pathData(polygons, 1)}">${title}</path>`;
    return `  <a href="#${escaped(name)}">${path}</a>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="100%">`,
    `  <image href="photo.jpg" width="${width}" height="${height}"/>`,
    ...shapes,
    "</svg>",
    "",
  ].join("\n");
}
