// All results of a batch as one file.

import { base64 } from "./carseg.js";
import { lookNow } from "./look.js";
import { nameOf, stemOf } from "./names.js";
import { findBlob, findPhoto } from "./photos.js";
import { patient } from "./service.js";

const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/heic": "heic", "image/avif": "avif", "image/bmp": "bmp", "image/gif": "gif" };

/** Kind -> {file: its name, make: what one photo adds to it}; JOIN makes the file of that. */
const KINDS = {
  csv: { file: "car-parts.csv", make: csv },
  coco: { file: "car-parts-coco.json", make: coco },
  yolo: { file: "car-parts-yolo.zip", make: yolo },
  cvat: { file: "car-parts-cvat.zip", make: cvat },
  labelstudio: { file: "car-parts-labelstudio.json", make: labelstudio },
  photos: { file: "car-parts-photos.zip", make: photos },
};

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

const END = "\r\n"; // of a row of CSV

const longest = (all) => all.reduce((most, other) => (other.length > most.length ? other : most));

/** A result in a format, as text. */
async function written(format, { hash, name }, { options }) {
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

async function yolo({ hash, name }, state) {
  const stem = stemOf(name);
  const files = [{ name: `labels/${stem}.txt`, data: await written("yolo", { hash, name }, state) }];
  const photo = await findBlob(hash);
  if (!photo) state.without += 1;
  else files.push({ name: `images/${stem}.${ENDINGS[photo.type] ?? "png"}`, data: photo });
  return files;
}

async function joinYolo(files, { config }) {
  const labels = files.flatMap(([{ data }]) => data.split("\n"));
  const isDamaged = labels.some((row) => Number.parseInt(row) >= config.parts.length);
  const classes = [...config.parts, ...(isDamaged ? config.damage_kinds : [])];
  const names = classes.map((name, at) => `  ${at}: ${name}\n`).join("");
  const data = `path: .\ntrain: images\nval: images\nnames:\n${names}`;
  return zip([{ name: "data.yaml", data }, ...files.flat()]);
}

/** The photo for CVAT, which imports both as a dataset, and its part of annotations.xml. */
async function cvat(photo, state) {
  const xml = await written("cvat", photo, state);
  const data = await findBlob(photo.hash);
  if (!data) state.without += 1;
  return { xml, files: data ? [{ name: `images/${photo.name}`, data }] : [] };
}

/** One file of files that have one image each, just before their end. */
function joinCvat(photos) {
  const start = (xml) => xml.indexOf("<image ");
  const end = "</annotations>";
  const images = photos.map(({ xml }, at) =>
    xml.slice(start(xml), xml.lastIndexOf(end)).replace('id="0"', `id="${at}"`).trim(),
  );
  const head = longest(photos.map(({ xml }) => xml.slice(0, start(xml)))) // has all labels
    .replace("<size>1</size>", `<size>${photos.length}</size>`);
  const data = `${head}${images.join("\n  ")}\n${end}\n`;
  return zip([{ name: "annotations.xml", data }, ...photos.flatMap(({ files }) => files)]);
}

/** A task of Label Studio with the photo in it, since the name of a file leads it nowhere. */
async function labelstudio(photo, state) {
  const [task] = JSON.parse(await written("labelstudio", photo, state));
  const blob = await findBlob(photo.hash);
  if (!blob) state.without += 1;
  const image = blob ? `data:${blob.type};base64,${await base64(blob)}` : photo.name;
  return JSON.stringify({ ...task, data: { image, file_name: photo.name } });
}

function joinTasks(tasks) {
  const parts = tasks.flatMap((task, at) => [at ? ",\n" : "[", task]);
  return new Blob([...parts, "]\n"], { type: "application/json" });
}

async function photos({ hash, name }, state) {
  const { drawPhoto, toBlob } = await import("./picture.js");
  const url = await findPhoto(hash);
  const result = await patient.result(hash);
  const canvas = url && (await drawPhoto(url, result, result.parts, result.damages ?? [], state.look).catch(() => null));
  if (!canvas) return void (state.without += 1);
  return { name: `${stemOf(name)}-parts.jpg`, data: await toBlob(canvas, "image/jpeg") };
}

async function zip(files) {
  const module = await import("./zip.js");
  return module.zip(files);
}

const JOIN = {
  csv: joinCsv,
  coco: joinCoco,
  yolo: joinYolo,
  cvat: joinCvat,
  labelstudio: joinTasks,
  photos: (files) => zip(files.filter(Boolean)),
};
