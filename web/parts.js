// The lists of parts: those found and those that may be there, with switches, and all others.

import { arrange, byId, el } from "./dom.js";
import { fileLink } from "./exports.js";
import { partName, partOrder, percent, sureness, t } from "./texts.js";

const dark = (colour) => {
  const [r, g, b] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  return r * 0.299 + g * 0.587 + b * 0.114 < 140;
};

/** Scroll the list to a row; never the page. */
export function intoView(node) {
  const list = node.closest(".part-scroll");
  const top = node.offsetTop;
  const below = top + node.offsetHeight - list.clientHeight;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (below > list.scrollTop) list.scrollTop = below;
}

export class PartList {
  /** @param page the ResultPage: light(name), pick(name), shownParts(), areaOf(part) */
  constructor(config, page) {
    this.config = config;
    this.page = page;
    this.off = new Set(); // found, and switched off; kept from photo to photo, as a choice for all
    this.on = new Set(); // not sure, and switched on, for one photo
    this.made = new Map(); // name -> row; it stays while the part moves between the lists
    this.rows = new Map(); // name -> {node, box, maybe, ...} of the parts that are listed
    this.missing = new Map(); // name -> list item
    byId("all-parts").addEventListener("change", ({ target }) => {
      for (const [name, { maybe }] of this.rows) if (!maybe) this.#switch(name, target.checked);
      this.#changed();
    });
  }

  /** Fill the lists with the parts found, those that may be there, and the names of the others. */
  draw(found, maybe) {
    const order = partOrder();
    const place = (name) => (order.indexOf(name) + 100) % 100; // unknown ones at the end
    const sorted = (names) => names.sort((a, b) => place(a) - place(b));
    const seen = new Map([...found, ...maybe].map((part) => [part.name, part]));
    const missing = Object.keys(this.config.colours).filter((name) => !seen.has(name));
    this.rows.clear();
    const rows = (parts, isMaybe) =>
      sorted(parts.map(({ name }) => name)).map((name) => this.#row(seen.get(name), isMaybe));
    arrange(byId("found"), rows(found, false));
    arrange(byId("maybe"), rows(maybe, true));
    arrange(byId("missing"), sorted(missing).map((name) => this.#missing(name)));
    for (const [id, list] of Object.entries({ found, maybe, missing })) {
      byId(`${id}-count`).textContent = list.length;
      if (id !== "found") byId(`${id}-box`).hidden = !list.length;
    }
    this.#changed();
  }

  /** Show how parts are marked, and offer what they can be marked as. */
  drawMarks() {
    const { marks } = this.page;
    for (const [name, { node, mark, badge, maybe }] of this.rows) {
      const kind = marks.kindOf(name);
      mark.hidden = !marks.isOpen;
      mark.dataset.mark = kind ?? (maybe ? "missing" : "wrong");
      mark.textContent = t(`marks.${mark.dataset.mark}`);
      mark.setAttribute("aria-pressed", Boolean(kind));
      badge.textContent = kind ? t(`marks.${kind}`) : "";
      node.classList.toggle("marked", Boolean(kind));
    }
    for (const button of byId("missing").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", marks.kindOf(button.value) === "missing");
      button.disabled = !marks.isOpen;
    }
  }

  /** Names of the parts that are switched off. */
  get hidden() {
    const rows = [...this.rows].filter(([, { box }]) => !box.checked);
    return new Set(rows.map(([name]) => name));
  }

  /** Mark the row of a part. */
  light(name) {
    for (const [other, { node }] of this.rows) node.classList.toggle("lit", other === name);
  }

  /** Open the row of a part, close the others. */
  pick(name) {
    for (const [other, { node, button, more }] of this.rows) {
      button.setAttribute("aria-expanded", other === name);
      more.hidden = other !== name;
      if (other === name) intoView(node);
    }
  }

  #row(part, maybe) {
    const { name } = part;
    if (!this.made.has(name)) this.made.set(name, this.#make(name));
    const row = Object.assign(this.made.get(name), { maybe });
    const { page } = this;
    row.box.setAttribute("aria-label", t("result.show", { name: partName(name) }));
    row.box.checked = maybe ? this.on.has(name) : !this.off.has(name);
    row.title.textContent = partName(name);
    row.sure.textContent = percent(part.confidence);
    const pieces = t("result.pieces", { n: part.polygons.length }).replaceAll(" ", "\u00a0");
    row.note.textContent = `${sureness(part.confidence)} · ${page.areaOf(part)} · ${pieces}`;
    page.fillMaskLink(row.link, name);
    this.rows.set(name, row);
    return row.node;
  }

  #make(name) {
    const { page } = this;
    const colour = this.config.colours[name];
    const box = el("input", { type: "checkbox" });
    box.style.setProperty("--part", colour);
    box.style.setProperty("--tick", dark(colour) ? "#fff" : "#000");
    box.addEventListener("change", () => (this.#switch(name, box.checked), this.#changed()));
    const id = `more-${name}`;
    const [title, sure, note] = [el("span"), el("span", { class: "sure" }), el("p")];
    const badge = el("span", { class: "badge" });
    const look = { class: "name", "aria-expanded": "false", "aria-controls": id };
    const button = el("button", look, title, badge, sure);
    button.addEventListener("click", () => page.pick(page.picked === name ? null : name));
    for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => page.light(name));
    for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => page.light(null));
    const mark = el("button", { class: "mark" });
    mark.addEventListener("click", () => page.marks.toggle(name, mark.dataset.mark));
    const link = fileLink();
    const more = el("div", { class: "more", id, hidden: true }, note, el("div", { class: "more-actions" }, mark, link));
    const node = el("li", { class: "part", "data-part": name }, el("label", { class: "tick" }, box), button, more);
    return { node, box, button, title, badge, sure, note, more, mark, link };
  }

  #missing(name) {
    if (!this.missing.has(name)) {
      const onclick = () => this.page.marks.toggle(name, "missing");
      const button = el("button", { class: "mark", value: name, "aria-describedby": "missing-hint", onclick });
      this.missing.set(name, el("li", { "data-part": name }, button));
    }
    const node = this.missing.get(name);
    node.firstChild.textContent = partName(name);
    return node;
  }

  #switch(name, on) {
    const { box, maybe } = this.rows.get(name);
    box.checked = on;
    const set = maybe ? this.on : this.off;
    if (on === maybe) set.add(name);
    else set.delete(name);
  }

  #changed() {
    const boxes = [...this.rows.values()].filter(({ maybe }) => !maybe).map(({ box }) => box);
    const on = boxes.filter(({ checked }) => checked).length;
    byId("all-parts").checked = on > 0 && on === boxes.length;
    byId("all-parts").indeterminate = on > 0 && on < boxes.length;
    this.page.shownParts();
  }
}
