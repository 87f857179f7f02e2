// Makes photos fit what the service takes, before they are sent.

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
