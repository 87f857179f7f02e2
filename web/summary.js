// A result in a few words, kept for lists, which need no more of it.

import { library } from "./library.js";
import { service } from "./service.js";
import { percent, t, typeName } from "./texts.js";

const COARSE = 4; // pixels; small drawings need no finer outlines
const AT_ONCE = 2; // results fetched at the same time

/** The fields of a result that lists show. */
export function summaryOf({ message, type, parts, damages }, { no_car: noCar }) {
  return {
    none: message === noCar,
    type: type?.name ?? "",
    sure: type?.confidence ?? 0,
    count: parts.length,
    ...(damages && { damage: damages.length }),
  };
}

/** The same fields, time and name, of a photo in a list of the service. */
export function summaryOfListed({ type, parts, time, file_names: [name] }) {
  const fields = { none: !type && !parts, type: type?.name ?? "", sure: type?.confidence ?? 0, count: parts };
  return { ...fields, time: Date.parse(time), ...(name && { name }) };
}

/** True once the summary of an entry is known. */
export const isKnown = (entry) => entry.count !== undefined;

/** The title of an entry: a type of car, or that there is none. */
export function titleOf({ none, type }) {
  if (none) return t("result.noCar");
  return type ? typeName(type) : t("result.unknownType");
}

/** How much damage was found, in words. */
export const damageWords = (n) => t(n ? "damage.found" : "damage.none", { n });

/** An entry in a line: "SUV 97%, 11 parts" or "No car". */
export function inBrief({ none, type, sure, count, damage }) {
  const title = type ? `${typeName(type)} ${percent(sure)}` : t("result.unknownType");
  const words = none ? [t("brief.noCar")] : [title, t("brief.parts", { n: count })];
  if (damage !== undefined) words.push(damageWords(damage));
  return words.join(", ");
}

/** Fetches results for lists, a few at a time, and notes their summaries. */
export class Summaries {
  constructor(config) {
    this.config = config;
    this.waiting = new Map(); // hash -> {promise, resolve}
    this.loading = 0;
  }

  /** Resolves to the coarse result of a hash, null if it could not be fetched. */
  fetch(hash) {
    if (!this.waiting.has(hash)) {
      const entry = { started: false };
      entry.promise = new Promise((resolve) => (entry.resolve = resolve));
      this.waiting.set(hash, entry);
    }
    const { promise } = this.waiting.get(hash);
    this.#load();
    return promise;
  }

  async #load() {
    const next = [...this.waiting].find(([, { started }]) => !started);
    if (!next || this.loading >= AT_ONCE) return;
    const [hash, entry] = next;
    entry.started = true;
    this.loading += 1;
    const result = await service.result(hash, { tolerance: COARSE }).catch(() => null);
    if (result) library.note(hash, summaryOf(result, this.config));
    this.waiting.delete(hash);
    this.loading -= 1;
    entry.resolve(result);
    this.#load();
  }
}
