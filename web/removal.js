// Deletes results, after a while in which one can take it back.

import { unremember } from "./added.js";
import { byId, toast, toastEnd } from "./dom.js";
import { library } from "./library.js";
import { ServiceError, complain, deleteResult } from "./service.js";
import { t } from "./texts.js";

const WHILE = 10_000; // milliseconds to take it back

export class Removal {
  /** @param onChange called when results are hidden, shown again, or deleted (then with hashes) */
  constructor(onChange) {
    this.onChange = onChange;
    this.hidden = new Set(); // those that wait for their end
    addEventListener("pagehide", () => this.finish()); // the page may never come back
  }

  /** Hide results now, and delete them if nobody takes that back. */
  add(hashes) {
    this.finish();
    toastEnd();
    this.hidden = new Set(hashes);
    this.onChange([]);
    const undo = { label: t("remove.undo"), run: () => this.#undo(), onEnd: () => this.finish() };
    toast(t("remove.done", { n: hashes.length }), undo, WHILE);
  }

  /** Delete what waits. */
  async finish() {
    const hashes = [...this.hidden];
    if (!hashes.length) return;
    this.hidden = new Set();
    unremember(hashes);
    const failed = [];
    await Promise.all(
      hashes.map((hash) => deleteResult(hash).catch((error) => failed.push([hash, error]))),
    );
    const gone = hashes.filter((hash) => !failed.some(([other]) => other === hash));
    await library.forget(gone);
    this.onChange(gone);
    const error = failed[0]?.[1];
    if (error instanceof ServiceError) complain(error);
  }

  #undo() {
    const [first] = this.hidden;
    this.hidden = new Set();
    toastEnd();
    this.onChange([]);
    byId("gallery-list").querySelector(`[data-hash="${first}"] a`)?.focus();
  }
}
