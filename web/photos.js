// The photos of this tab. They are kept here only: the service deletes them, the page stores none.

const urls = new Map(); // hash -> address of the photo

/** Remember the photo of a hash: a Blob, or an address. */
export function keepPhoto(hash, photo) {
  if (!urls.has(hash)) {
    urls.set(hash, typeof photo === "string" ? photo : URL.createObjectURL(photo));
  }
}

/** The address of the photo, null where this tab does not have it. */
export const photoOf = (hash) => urls.get(hash) ?? null;

/**
 * Make a photo fit the limits of the service, and its format one that the service takes.
 *
 * What the browser can't read is given back as it is: the service then says what is wrong.
 *
 * @returns {blob, from, to, converted}: from and to are sizes in words where it was made smaller
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
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
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
