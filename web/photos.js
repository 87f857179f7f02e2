// The photos that people added: this tab has their addresses, library.js keeps them for later.

import { library } from "./library.js";

const SMALL = 360; // pixels wide

const urls = new Map(); // hash -> address of the photo
const blobs = new Map(); // hash -> the photo, unless it is a file of the service

/** Remember the photo of a hash: a Blob, or an address. */
export async function keepPhoto(hash, photo) {
  const isBlob = typeof photo !== "string";
  if (!urls.has(hash)) open(hash, photo);
  if (isBlob) await library.keep(hash, photo, await thumbnail(photo).catch(() => null));
}

/** The address of the photo, null where this tab does not have it. */
export const photoOf = (hash) => urls.get(hash) ?? null;

/** As photoOf, after a look at what this browser keeps. */
export async function findPhoto(hash) {
  if (!urls.has(hash)) {
    const photo = await library.photo(hash);
    if (photo && !urls.has(hash)) open(hash, photo);
  }
  return photoOf(hash);
}

/** The photo as a Blob, null where this browser does not have it. */
export async function findBlob(hash) {
  const url = await findPhoto(hash);
  if (!url || blobs.has(hash)) return blobs.get(hash) ?? null;
  const answer = await fetch(url).catch(() => null);
  return answer?.ok ? answer.blob() : null;
}

function open(hash, photo) {
  const isBlob = typeof photo !== "string";
  urls.set(hash, isBlob ? URL.createObjectURL(photo) : photo);
  if (isBlob) blobs.set(hash, photo);
}

/** Forget the photos of this tab. */
export function forgetPhotos(hashes) {
  for (const hash of hashes) {
    if (urls.get(hash)?.startsWith("blob:")) URL.revokeObjectURL(urls.get(hash));
    urls.delete(hash);
    blobs.delete(hash);
  }
}

async function thumbnail(photo) {
  const bitmap = await createImageBitmap(photo, { resizeWidth: SMALL, resizeQuality: "medium" });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.8));
}

const QUALITIES = [0.92, 0.85, 0.75]; // of JPEG

/** A canvas as a JPEG of at most `bytes`, else the smallest that there is. */
async function encode(canvas, bytes) {
  let blob;
  for (const quality of QUALITIES) {
    blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
    if (!blob || blob.size <= bytes) break;
  }
  return blob;
}

/**
 * Make a photo fit the limits of the service, and its format one that the service takes.
 *
 * What the browser can't read is given back as it is: the service then says what is wrong.
 *
 * @returns {blob, from, to, converted}: from and to are [width, height, bytes] where it was made
 *   smaller
 */
export async function prepare(file, { max_upload_bytes: maxBytes, max_pixels: maxPixels, formats }) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file); // upright: EXIF is applied
  } catch {
    return { blob: file };
  }
  const { width, height } = bitmap;
  const fits = file.size <= maxBytes && width * height <= maxPixels;
  if (fits && formats.includes(file.type)) {
    bitmap.close();
    return { blob: file };
  }
  let scale = Math.min(1, Math.sqrt(maxPixels / (width * height)) * 0.999);
  for (;;) {
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.floor(width * scale));
    canvas.height = Math.max(1, Math.floor(height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff"; // JPEG has no transparency
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const blob = await encode(canvas, Math.min(maxBytes, fits ? maxBytes : file.size));
    if (!blob) return { blob: file };
    if (blob.size > maxBytes && Math.min(canvas.width, canvas.height) > 16) {
      scale *= Math.max(0.3, Math.min(0.9, Math.sqrt(maxBytes / blob.size)));
      continue;
    }
    bitmap.close();
    const smaller = canvas.width < width || !fits;
    return smaller
      ? { blob, from: [width, height, file.size], to: [canvas.width, canvas.height, blob.size] }
      : { blob, converted: true };
  }
}
