// A result as a page to print.

import { byId, el, pathData, svg } from "./dom.js";
import { anchor, apart, widthOf } from "./labels.js";
import { library } from "./library.js";
import { lookNow } from "./look.js";
import { photoOf } from "./photos.js";
import { partName, percent, t, when } from "./texts.js";

/** The lines of the table, in the order of the list: [part, cells of words]. */
export function lines(page) {
  const shown = new Map(page.shown.map((part) => [part.name, part]));
  const parts = [...page.list.rows.keys()].flatMap((name) => shown.get(name) ?? []);
  return parts.map((part) => [part, [partName(part.name), percent(part.confidence), page.areaOf(part)]]);
}

export const heads = () => [t("print.part"), t("print.sure"), t("print.area")];

/** The summary of the result's head, in one line. */
export const summary = () => [...byId("result-summary").children].map((node) => node.textContent).join(" · ");

/** Write the page to print; it is only seen on paper. */
export function fillPrint(page) {
  const { name, time } = library.get(page.hash);
  const rows = lines(page).map(([{ name: part }, cells]) => {
    const swatch = svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" });
    swatch.append(svg("rect", { width: 16, height: 16, fill: page.config.colours[part] }));
    return el("tr", {}, el("td", {}, swatch), ...cells.map((text) => el("td", {}, text)));
  });
  const head = heads().map((text) => el("th", { scope: "col" }, text));
  byId("print").replaceChildren(
    el("h1", {}, byId("result-title").textContent),
    el("p", {}, [name, time && when(time)].filter(Boolean).join(" · ")),
    el("p", {}, summary()),
    drawing(page),
    el("table", {}, el("thead", {}, el("tr", {}, el("td"), ...head)), el("tbody", {}, ...rows)),
    ...damageTable(page),
  );
}

export const damageHeads = () => [t("damage.kind"), t("print.sure"), t("print.part"), t("print.area")];

function damageTable({ damage }) {
  if (!damage || damage.isOff) return [];
  const row = (name) => (cells) => el("tr", {}, ...cells.map((text) => el(name, {}, text)));
  const rows = damage.lines().map(row("td"));
  const table = el("table", {}, el("thead", {}, row("th")(damageHeads())), el("tbody", {}, ...rows));
  return [el("h2", {}, t("damage.title")), rows.length ? table : el("p", {}, t("damage.none")), el("p", {}, t("damage.note"))];
}

function drawing({ hash, all: { width, height }, shown, config, damage }) {
  const { filled, opacity, nameOf } = lookNow(config);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const url = photoOf(hash);
  if (url) picture.append(svg("image", { href: url, width, height }));
  const line = Math.max(width, height) / 500;
  const parts = [...shown].sort((a, b) => b.area - a.area);
  for (const { name, polygons } of parts) {
    const colour = config.colours[name];
    const paint = { fill: colour, "fill-opacity": filled ? opacity : 0, "fill-rule": "evenodd" };
    const stroke = { stroke: colour, "stroke-width": line };
    picture.append(svg("path", { d: pathData(polygons), ...paint, ...stroke }));
  }
  damage?.drawInto(picture, line);
  if (nameOf) picture.append(...names(parts, nameOf, { width, height }, line * 10));
  return picture;
}

/** Names on a picture of {width, height}, where there is room for them. */
function names(parts, nameOf, room, height) {
  const wanted = parts.map(({ name, polygons }) => {
    const [x, y] = anchor(polygons);
    return { x, y, height, width: widthOf(nameOf(name), `600 ${height}px system-ui`) };
  });
  return apart(wanted, room).flatMap((place, at) => {
    const look = { "font-size": height, "stroke-width": height / 5 };
    return place ? [svg("text", { ...place, ...look }, nameOf(parts[at].name))] : [];
  });
}

/** Leave nothing to print. */
export const clearPrint = () => byId("print").replaceChildren();
