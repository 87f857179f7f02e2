// Draws a photo with its parts, for files.

import { pathData } from "./dom.js";
import { paintDamages } from "./damage.js";
import { anchor, apart, widthOf } from "./labels.js";

const LINES = 600; // a line is this part of the photo's longer side
const LETTERS = 50; // as is a line of text

/**
 * @param url of the photo
 * @param result {width, height}
 * @param parts those to draw: [{name, polygons}]
 * @param damages those to draw over them: [{polygons}]
 * @param look {colours, filled, opacity, nameOf}: opacity from 0 to 1; nameOf gives the name of a
 *   part to write on it, null for none
 * @returns a canvas of the photo's size in the result
 */
export async function drawPhoto(url, { width, height }, parts, damages, look) {
  const image = new Image(width, height);
  image.src = url;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  context.lineWidth = Math.max(1.5, Math.max(width, height) / LINES);
  context.lineJoin = "round";
  const { colours, filled, opacity } = look;
  for (const { name, polygons } of parts) {
    const path = new Path2D(pathData(polygons));
    context.fillStyle = context.strokeStyle = colours[name];
    context.globalAlpha = filled ? opacity : 0;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.stroke(path);
  }
  paintDamages(context, damages, look.damageColours, context.lineWidth);
  context.globalAlpha = 1;
  if (look.nameOf) write(context, parts, look.nameOf);
  return canvas;
}

function write(context, parts, nameOf) {
  const room = context.canvas;
  const height = Math.max(11, Math.max(room.width, room.height) / LETTERS);
  const font = `600 ${height}px system-ui, "Noto Sans", "Noto Sans Thai", sans-serif`;
  const names = parts.map(({ name, polygons }) => {
    const [x, y] = anchor(polygons);
    return { x, y, height, width: widthOf(nameOf(name), font) };
  });
  Object.assign(context, { font, textAlign: "center", textBaseline: "middle" });
  Object.assign(context, { lineWidth: height / 4, strokeStyle: "#000", fillStyle: "#fff" });
  for (const [at, place] of apart(names, room).entries()) {
    if (!place) continue;
    context.strokeText(nameOf(parts[at].name), place.x, place.y);
    context.fillText(nameOf(parts[at].name), place.x, place.y);
  }
}

/** A canvas as a Blob. */
export const toBlob = (canvas, type = "image/png") =>
  new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("No picture"))), type, 0.92),
  );
