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
