// All results of a batch as one file.

import { lookNow } from "./look.js";
import { nameOf, stemOf } from "./names.js";
import { findBlob, findPhoto } from "./photos.js";
import { drawPhoto, toBlob } from "./picture.js";
import { patient } from "./service.js";
import { zip } from "./zip.js";

const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/heic": "heic", "image/avif": "avif", "image/bmp": "bmp", "image/gif": "gif" };

/** kind -> {file: its name, make: what one photo adds to it}; JOIN makes the file of that. */
const KINDS = {
  csv: { file: "car-parts.csv", make: csv },
  coco: { file: "car-parts-coco.json", make: coco },
  yolo: { file: "car-parts-yolo.zip", make: yolo },
  photos: { file: "car-parts-photos.zip", make: photos },
};

/**
 * Make a file of many results.
 * @param onPhoto called after each photo with how many are done
 * @returns {file, blob, without}: without is the number of photos that this browser does not have
 */
export async function bundle(kind, hashes, { config, onPhoto }) {
  const taken = new Set();
  const all = hashes.map((hash) => ({ hash, name: unique(nameOf(hash), taken) }));
  const state = { config, look: lookNow(config), without: 0 };
  const pieces = [];
  const { file, make } = KINDS[kind];
  for (const [at, photo] of all.entries()) {
    pieces.push(await make(photo, state));
    onPhoto(at + 1);
  }
  const blob = await JOIN[kind](pieces, state);
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

async function csv({ hash, name }) {
  return (await patient.export(hash, "csv", { file_name: name })).text();
}

/** One table under one heading. Spreadsheets need the mark at its start to read UTF-8. */
function joinCsv(tables) {
  const end = tables[0].indexOf("\n") + 1;
  const rows = tables.map((table) => table.slice(end));
  return new Blob(["\ufeff", tables[0].slice(0, end), ...rows], { type: "text/csv" });
}

async function coco({ hash, name }) {
  return JSON.parse(await (await patient.export(hash, "coco", { file_name: name })).text());
}

function joinCoco(datasets) {
  const merged = { ...datasets[0], images: [], annotations: [] };
  for (const { images, annotations } of datasets) {
    const image_id = merged.images.length + 1;
    merged.images.push(...images.map((image) => ({ ...image, id: image_id })));
    for (const annotation of annotations) {
      merged.annotations.push({ ...annotation, id: merged.annotations.length + 1, image_id });
    }
  }
  return new Blob([JSON.stringify(merged)], { type: "application/json" });
}

async function yolo({ hash, name }, state) {
  const stem = stemOf(name);
  const files = [{ name: `labels/${stem}.txt`, data: await patient.export(hash, "yolo") }];
  const photo = await findBlob(hash);
  if (!photo) state.without += 1;
  else files.push({ name: `images/${stem}.${ENDINGS[photo.type] ?? "png"}`, data: photo });
  return files;
}

function joinYolo(files, { config }) {
  const names = config.parts.map((name, at) => `  ${at}: ${name}\n`).join("");
  const data = `path: .\ntrain: images\nval: images\nnames:\n${names}`;
  return zip([{ name: "data.yaml", data }, ...files.flat()]);
}

async function photos({ hash, name }, state) {
  const url = await findPhoto(hash);
  const result = await patient.result(hash);
  const canvas = url && (await drawPhoto(url, result, result.parts, state.look).catch(() => null));
  if (!canvas) return void (state.without += 1);
  return { name: `${stemOf(name)}-parts.jpg`, data: await toBlob(canvas, "image/jpeg") };
}

const JOIN = {
  csv: joinCsv,
  coco: joinCoco,
  yolo: joinYolo,
  photos: (files) => zip(files.filter(Boolean)),
};
