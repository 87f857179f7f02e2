// All results of a batch as one file.

import { lookNow } from "./look.js";
import { nameOf, stemOf } from "./names.js";
import { patient } from "./service.js";

/**
 * Make a file of many results.
 * @param onPhoto called after each photo with how many are done
 * @param options of the results
 * @returns {file, blob, without}: without is the number of photos that this browser does not have
 */
export async function bundle(kind, hashes, { config, onPhoto = () => {}, options = {} }) {
  const taken = new Set();
  const all = hashes.map((hash) => ({ hash, name: unique(nameOf(hash), taken) }));
  const state = { config, options, look: lookNow(config), without: 0 };
  const pieces = [];
  const { file, make, join } = TABLES[kind] ?? (await import("./batch_sets.js")).SETS[kind];
  for (const [at, photo] of all.entries()) {
    pieces.push(await make(photo, state));
    onPhoto(at + 1);
  }
  const blob = await join(pieces, state);
  return { file, blob, without: state.without };
}

/** A name that no other photo of the batch has, also with another ending. */
function unique(name, taken) {
  const stem = stemOf(name);
  let free = stem;
  for (let n = 2; taken.has(free.toLowerCase()); n += 1) free = `${stem} (${n})`;
  taken.add(free.toLowerCase());
  return free + name.slice(stem.length);
}

const END = "\r\n"; // of a row of CSV

export const longest = (all) => all.reduce((most, other) => (other.length > most.length ? other : most));

/** A result in a format, as text. */
export async function written(format, { hash, name }, { options }) {
  return (await patient.export(hash, format, { ...options, file_name: name })).text();
}

function csv(photo, state) {
  return written("csv", photo, state);
}

/** One table under one heading. Spreadsheets need the mark at its start to read UTF-8. */
function joinCsv(tables) {
  const headOf = (table) => table.slice(0, table.indexOf(END));
  const head = longest(tables.map(headOf)); // tables with damage have more columns
  const rows = tables.map((table) => {
    const own = headOf(table);
    const empty = ",".repeat(head.split(",").length - own.split(",").length);
    return table.slice(own.length + END.length).replaceAll(END, empty + END);
  });
  return new Blob(["\ufeff", head, END, ...rows], { type: "text/csv" });
}

async function coco(photo, state) {
  return JSON.parse(await written("coco", photo, state));
}

function joinCoco(datasets) {
  const categories = longest(datasets.map((dataset) => dataset.categories));
  const merged = { ...datasets[0], categories, images: [], annotations: [] };
  for (const { images, annotations } of datasets) {
    const image_id = merged.images.length + 1;
    merged.images.push(...images.map((image) => ({ ...image, id: image_id })));
    for (const annotation of annotations) {
      merged.annotations.push({ ...annotation, id: merged.annotations.length + 1, image_id });
    }
  }
  return new Blob([JSON.stringify(merged)], { type: "application/json" });
}

/** Kind -> {file: its name, make: what one photo adds to it, join: makes the file of that}. */
const TABLES = {
  csv: { file: "car-parts.csv", make: csv, join: joinCsv },
  coco: { file: "car-parts-coco.json", make: coco, join: joinCoco },
};
