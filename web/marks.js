// What a person marks in a result: parts that are wrong or missing, and the right type.

import { announce, byId, fillSelect } from "./dom.js";
import { complain, json, service } from "./service.js";
import { t, typeName, typeNames } from "./texts.js";

const NONE = { wrong: [], missing: [], type: null, comment: "" };

export class Marks {
  /** @param onChange called when there are other marks to show */
  constructor(onChange) {
    this.onChange = onChange;
    this.saving = Promise.resolve(); // one after the other, so that the last one stays
    this.#take(null, null);
    byId("right-type").addEventListener("change", ({ target }) => {
      this.#set({ ...this.now, type: target.value || null });
    });
    byId("unmark").addEventListener("click", () => {
      this.#set(NONE);
      byId("right-type").focus();
    });
  }

  /** Fetch the marks of a result; without them nothing can be marked. */
  async load(hash) {
    this.#take(hash, null);
    await this.saving;
    const marks = await json(`${hash}/feedback`).catch(() => null);
    if (this.hash === hash) this.#take(hash, marks);
  }

  /** False while the marks of the result are not known. */
  get isOpen() {
    return Boolean(this.saved);
  }

  /** How a part is marked: "wrong", "missing" or null. */
  kindOf(name) {
    return ["wrong", "missing"].find((kind) => this.now[kind].includes(name)) ?? null;
  }

  /** Mark a part as "wrong" or "missing", or take its mark away. */
  toggle(name, kind) {
    const had = this.kindOf(name);
    const without = (list) => list.filter((other) => other !== name);
    const marks = { ...this.now, wrong: without(this.now.wrong), missing: without(this.now.missing) };
    if (!had) marks[kind].push(name);
    this.#set(marks);
  }

  /** Show the marks. */
  draw() {
    const { wrong, missing, type, comment } = this.now;
    const n = wrong.length + missing.length + Boolean(type) + Boolean(comment);
    byId("marks").hidden = !this.isOpen;
    byId("marks-note").textContent = n ? t("marks.kept", { n }) : t("marks.none");
    byId("unmark").hidden = !n;
    const names = typeNames().map((name) => [name, typeName(name)]);
    names.sort((a, b) => a[1].localeCompare(b[1]));
    fillSelect(byId("right-type"), [["", t("marks.asFound")], ...names]);
    byId("right-type").value = type ?? "";
    this.onChange();
  }

  #take(hash, marks) {
    this.hash = hash;
    this.saved = marks;
    this.now = marks ?? NONE;
  }

  #set(marks) {
    this.now = marks;
    this.draw();
    const { hash } = this;
    this.saving = this.saving.then(() => this.#save(hash, marks));
  }

  async #save(hash, { wrong, missing, type, comment }) {
    try {
      const saved = await service.post(`/${hash}/feedback`, { wrong, missing, type, comment });
      if (this.hash !== hash) return;
      this.saved = saved;
      announce(byId("marks-note").textContent);
    } catch (error) {
      complain(error);
      if (this.hash !== hash) return;
      this.#take(hash, this.saved);
      this.draw();
    }
  }
}
