// The list of parts: those that were found, those that are not visible, each with a switch.

import { byId, el } from "./dom.js";
import { partName, partOrder, percent, sureness, t } from "./texts.js";

const dark = (colour) => {
  const [r, g, b] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  return r * 0.299 + g * 0.587 + b * 0.114 < 140;
};

export class PartList {
  /** @param page the ResultPage: light(name), pick(name), shownParts(), areaOf(part) */
  constructor(config, page) {
    this.config = config;
    this.page = page;
    this.hidden = new Set(); // kept from photo to photo, so that a choice holds for all
    this.rows = new Map();
    byId("all-parts").addEventListener("change", ({ target }) => {
      for (const [name, { box }] of this.rows) this.#switch(name, target.checked, box);
      this.#changed();
    });
  }

  /** Fill both lists for a result. */
  draw({ parts }) {
    const found = new Map(parts.map((part) => [part.name, part]));
    const order = partOrder();
    const place = (name) => (order.indexOf(name) + 100) % 100; // unknown ones at the end
    const names = Object.keys(this.config.colours).sort((a, b) => place(a) - place(b));
    this.rows.clear();
    const rows = (wanted) => names.filter((n) => found.has(n) === wanted);
    byId("found").replaceChildren(...rows(true).map((n) => this.#row(n, found.get(n))));
    byId("missing").replaceChildren(...rows(false).map((n) => this.#row(n, null)));
    byId("found-count").textContent = rows(true).length;
    byId("missing-count").textContent = rows(false).length;
    byId("missing-box").hidden = !rows(false).length;
    this.#changed();
  }

  /** Mark the row of a part. */
  light(name) {
    for (const [other, { node }] of this.rows) node.classList.toggle("lit", other === name);
  }

  /** Open the row of a part, close the others. */
  pick(name) {
    for (const [other, { node, button, more }] of this.rows) {
      if (!button) continue;
      button.setAttribute("aria-expanded", other === name);
      more.hidden = other !== name;
      if (other === name) this.#intoView(node);
    }
  }

  #intoView(node) {
    const list = node.closest(".part-scroll"); // scrolls the list only, never the page
    const top = node.offsetTop - list.offsetTop;
    const below = top + node.offsetHeight - list.clientHeight;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (below > list.scrollTop) list.scrollTop = below;
  }

  #row(name, part) {
    const label = t("result.show", { name: partName(name) });
    const box = el("input", { type: "checkbox", "aria-label": label });
    const colour = this.config.colours[name];
    box.style.setProperty("--part", colour);
    box.style.setProperty("--tick", dark(colour) ? "#fff" : "#000");
    box.checked = !this.hidden.has(name);
    box.addEventListener("change", () => (this.#switch(name, box.checked, box), this.#changed()));
    const node = el("li", { class: "part", "data-part": name }, box);
    const row = { node, box };
    if (part) Object.assign(row, this.#name(name, part));
    node.append(...(part ? [row.button, row.more] : [el("span", { class: "name" }, partName(name))]));
    this.rows.set(name, row);
    return node;
  }

  #name(name, part) {
    const id = `more-${name}`;
    const button = el(
      "button",
      { class: "name", "aria-expanded": "false", "aria-controls": id },
      el("span", {}, partName(name)),
      el("span", { class: "sure" }, percent(part.confidence)),
    );
    const { page } = this;
    button.addEventListener("click", () => page.pick(page.picked === name ? null : name));
    button.addEventListener("focus", () => page.light(name));
    button.addEventListener("blur", () => page.light(null));
    const pieces = t("result.pieces", { n: part.polygons.length }).replaceAll(" ", "\u00a0");
    const more = el(
      "div",
      { class: "more", id, hidden: true },
      el("p", {}, `${sureness(part.confidence)} · ${page.areaOf(part)} · ${pieces}`),
      page.maskLink(name),
    );
    button.addEventListener("pointerenter", () => page.light(name));
    button.addEventListener("pointerleave", () => page.light(null));
    return { button, more };
  }

  #switch(name, on, box) {
    box.checked = on;
    if (on) this.hidden.delete(name);
    else this.hidden.add(name);
  }

  #changed() {
    const on = [...this.rows.values()].filter(({ box }) => box.checked).length;
    byId("all-parts").checked = on === this.rows.size;
    byId("all-parts").indeterminate = on > 0 && on < this.rows.size;
    this.page.shownParts();
  }
}
