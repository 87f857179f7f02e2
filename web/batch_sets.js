// Kinds of files of a batch that have the photos in them; see batch.js.

import { longest, written } from "./batch.js";
import { base64 } from "./carseg.js";
import { stemOf } from "./names.js";
import { findBlob, findPhoto } from "./photos.js";
import { patient } from "./service.js";

const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/heic": "heic", "image/avif": "avif", "image/bmp": "bmp", "image/gif": "gif" };

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

/** Kind -> {file, make, join}, as in batch.js. */
export const SETS = {
  yolo: { file: "car-parts-yolo.zip", make: yolo, join: joinYolo },
  cvat: { file: "car-parts-cvat.zip", make: cvat, join: joinCvat },
  labelstudio: { file: "car-parts-labelstudio.json", make: labelstudio, join: joinTasks },
  photos: { file: "car-parts-photos.zip", make: photos, join: (files) => zip(files.filter(Boolean)) },
};
