// Damage in a result: hatched on the picture, listed with the parts on which it lies.

import { arrange, byId, el, pathData, svg } from "./dom.js";
import { intoView } from "./parts.js";
import { kindName, partName, percent, sureness, t } from "./texts.js";

const TILE = 9; // pixels from one line of the hatching to the next

/** The kind of a damage, and where it is: "Dent", "Hood (3% of it)". */
export function inWords({ kind, parts }) {
  const share = ({ name, share: of }) =>
    t("damage.share", { name: partName(name), p: percent(of, of < 0.01 ? 1 : 0) });
  return [kindName(kind), parts.length ? parts.map(share).join(", ") : t("damage.noPart")];
}

/** A hatching that lets colours below it be seen; `unit` is a pixel in units of the picture. */
function hatching(id, colour, unit = 1) {
  const line = (stroke, width) => svg("path", { d: `M${TILE / 2} 0V${TILE}`, stroke, "stroke-width": width });
  const size = { width: TILE, height: TILE, patternUnits: "userSpaceOnUse" };
  const turned = `rotate(45) scale(${unit})`;
  return svg("pattern", { id, ...size, patternTransform: turned }, line("#000", 3.5), line(colour, 2));
}

/** The hatchings of all kinds of damage, by kind. */
export const hatchings = ({ damage_colours: colours }, prefix = "hatching", unit = 1) =>
  Object.entries(colours).map(([kind, colour]) => hatching(`${prefix}-${kind}`, colour, unit));

/** Draw damages on a picture to print; `line` is the width of an outline. */
function drawDamages(picture, damages, config, line) {
  picture.append(...hatchings(config, "print", line * 0.6));
  for (const { kind, polygons } of damages) {
    const d = pathData(polygons);
    const shape = { d, fill: `url(#print-${kind})`, "fill-rule": "evenodd" };
    picture.append(
      svg("path", { d, fill: "none", stroke: "#000", "stroke-width": line * 3 }),
      svg("path", { ...shape, stroke: config.damage_colours[kind], "stroke-width": line * 1.5 }),
    );
  }
}

/** A hatching for a canvas. */
function tileOf(colour, unit) {
  const tile = document.createElement("canvas");
  const side = Math.max(6, Math.round(TILE * unit * Math.SQRT2));
  tile.width = tile.height = side;
  const pen = tile.getContext("2d");
  const lines = `M${-side} 0L${side} ${2 * side}M0 0L${side} ${side}M0 ${-side}L${2 * side} ${side}`;
  for (const [strokeStyle, width] of [["#000", 3.5], [colour, 2]]) {
    Object.assign(pen, { strokeStyle, lineWidth: width * unit });
    pen.stroke(new Path2D(lines));
  }
  return tile;
}

/** Draw damages on a canvas; `line` is the width of an outline. */
export function paintDamages(context, damages, colours, line) {
  for (const { kind, polygons } of damages) {
    const path = new Path2D(pathData(polygons));
    const colour = colours[kind];
    context.fillStyle = context.createPattern(tileOf(colour, line / 1.5), "repeat");
    context.fill(path, "evenodd");
    for (const [stroke, width] of [["#000", 3], [colour, 1.5]]) {
      Object.assign(context, { strokeStyle: stroke, lineWidth: width * line });
      context.stroke(path);
    }
  }
}

/** The list of damages of a ResultPage, and the switch that shows them on the picture. */
export class DamageList {
  constructor(page) {
    this.page = page;
    this.made = new Map(); // key -> row; it stays
    this.rows = new Map(); // key -> button of the damages that are listed
    byId("show-damage").addEventListener("change", () => page.shownParts());
  }

  /** Fill the list with the damages that are sure enough. */
  draw() {
    const { damages } = this.page.result;
    this.rows.clear();
    byId("damage-count").textContent = damages.length;
    byId("damage-none").hidden = damages.length > 0;
    byId("show-damage").parentElement.hidden = !damages.length;
    arrange(byId("damages"), damages.map((damage) => this.#row(damage)));
  }

  /** What is below the picture: the name of a damage, a note on it, and its colour. */
  captionOf(damage) {
    const [kind, where] = inWords(damage);
    const colour = this.page.config.damage_colours[damage.kind];
    return [kind, `${sureness(damage.confidence)} · ${where}`, colour];
  }

  /** Mark the row of a damage. */
  light(key) {
    for (const [other, button] of this.rows) button.parentElement.classList.toggle("lit", other === key);
  }

  /** Mark the damage that is chosen. */
  pick(key) {
    for (const [other, button] of this.rows) {
      button.setAttribute("aria-pressed", other === key);
      if (other === key) intoView(button.parentElement);
    }
  }

  /** The damages that are shown now. */
  get shown() {
    return byId("show-damage").checked ? this.page.result.damages : [];
  }

  /** True while damages that were found are not shown. */
  get isOff() {
    return this.page.result.damages.length > 0 && !byId("show-damage").checked;
  }

  /** The lines of a table: [kind, confidence, parts, share of the photo]. */
  lines() {
    return this.shown.map((damage) => {
      const [kind, where] = inWords(damage);
      return [kind, percent(damage.confidence), where, this.page.areaOf(damage)];
    });
  }

  /** Draw what is shown on a picture to print; `line` is the width of an outline. */
  drawInto(picture, line) {
    if (this.shown.length) drawDamages(picture, this.shown, this.page.config, line);
  }

  #row(damage) {
    const { key, confidence } = damage;
    if (!this.made.has(key)) this.made.set(key, this.#make(key));
    const { node, button, dot, kind, where, sure } = this.made.get(key);
    [kind.textContent, where.textContent] = inWords(damage);
    dot.style.background = this.page.config.damage_colours[damage.kind];
    sure.textContent = percent(confidence);
    this.rows.set(key, button);
    return node;
  }

  #make(key) {
    const { page } = this;
    const span = (name) => el("span", { class: name });
    const [dot, kind, where, sure] = ["dot", "kind", "where", "sure"].map(span);
    const words = el("span", { class: "words" }, kind, where);
    const button = el("button", { class: "name", "aria-pressed": "false" }, dot, words, sure);
    button.addEventListener("click", () => page.pick(page.picked === key ? null : key));
    for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => page.light(key));
    for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => page.light(null));
    return { node: el("li", { class: "damage", "data-damage": key }, button), button, dot, kind, where, sure };
  }
}
