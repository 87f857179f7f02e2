// What can be taken away from a result: files, and texts for the clipboard.

import { byId, el, pathData, toast } from "./dom.js";
import { photoOf } from "./photos.js";
import { address, file, service } from "./service.js";
import { partName, t } from "./texts.js";

// format of the service -> what people call it, and how its files end
const FORMATS = {
  json: ["JSON", ".json"],
  coco: ["COCO", "-coco.json"],
  geojson: ["GeoJSON", ".geojson"],
  labelme: ["LabelMe", "-labelme.json"],
  yolo: ["YOLO", ".txt"],
  labelstudio: ["Label Studio", "-labelstudio.json"],
  cvat: ["CVAT", "-cvat.xml"],
  csv: ["CSV", ".csv"],
};

/** A link that saves a file of the service, and says so where that fails. */
export function fileLink(text, path, name) {
  const link = el("a", { href: address(path), download: name, class: "file" }, text);
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      save(await file(path), name);
    } catch (error) {
      toast(error.status > 0 ? error.message : t("error.unreachable"));
    }
  });
  return link;
}

/** The list of downloads of a ResultPage. */
export function fillDownloads(page) {
  const { hash, tolerance } = page;
  const stem = `car-${hash.slice(0, 8)}`;
  const path = (format) => service.path(hash, { format, tolerance }).slice(1);
  const overlay = service.path(hash, { tolerance }, "overlay.png").slice(1);
  const mask = service.path(hash, {}, "mask.png").slice(1);
  const pictures = [
    fileLink(t("result.overlayPng"), overlay, `${stem}-parts.png`),
    fileLink(t("result.maskPng"), mask, `${stem}-mask.png`),
    fileLink(t("result.svg"), path("svg"), `${stem}.svg`),
  ];
  if (photoOf(hash)) {
    const save = () => savePhoto(page, `${stem}-photo.png`);
    pictures.unshift(el("button", { class: "file", onclick: save }, t("result.photoPng")));
  }
  const data = Object.entries(FORMATS).map(([format, [text, end]]) =>
    fileLink(text, path(format), `${stem}${end}`),
  );
  const items = (links) => links.map((link) => el("li", {}, link));
  byId("pictures").replaceChildren(...items(pictures));
  byId("data").replaceChildren(...items(data));
}

/** The list of texts to copy of a ResultPage. */
export function fillCopies(page) {
  const texts = {
    copyLink: () => location.href,
    copyJson: () => JSON.stringify(page.result, null, 1),
    copyCurl: () => `curl "${service.url}${service.path(page.hash, { tolerance: page.tolerance })}"`,
    copyHtml: () => snippet(page),
  };
  const items = Object.entries(texts).map(([key, text]) => {
    const copy = () => toClipboard(text());
    return el("li", {}, el("button", { class: "file", onclick: copy }, t(`result.${key}`)));
  });
  byId("copies").replaceChildren(...items);
}

const escaped = (text) =>
  String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

/** HTML of the photo with a clickable overlay; the address of the photo is to be filled in. */
export function snippet({ result, config }) {
  const { width, height } = result;
  const shapes = result.parts.map(({ name, polygons }) => {
    const colour = escaped(config.colours[name]);
    const paint = `fill="${colour}" fill-opacity=".4" stroke="${colour}" fill-rule="evenodd"`;
    const title = `<title>${escaped(partName(name))}</title>`;
    const path = `<path ${paint} d="${pathData(polygons, 1)}">${title}</path>`;
    return `  <a href="#${escaped(name)}">${path}</a>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="100%">`,
    `  <image href="photo.jpg" width="${width}" height="${height}"/>`,
    ...shapes,
    "</svg>",
    "",
  ].join("\n");
}

/** Draw the photo of this tab with its parts, as they look now, and save it. */
async function savePhoto({ hash, result, config, list }, name) {
  const { width, height } = result;
  const image = new Image(width, height);
  image.src = photoOf(hash);
  await image.decode();
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  context.lineWidth = Math.max(1.5, Math.max(width, height) / 600);
  context.lineJoin = "round";
  for (const part of result.parts) {
    if (list.hidden.has(part.name)) continue;
    const path = new Path2D(pathData(part.polygons));
    context.fillStyle = context.strokeStyle = config.colours[part.name];
    context.globalAlpha = byId("look-filled").checked ? byId("opacity").value / 100 : 0;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.stroke(path);
  }
  canvas.toBlob((blob) => save(blob, name), "image/png");
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!oldCopy(text)) return toast(t("result.copyFailed"));
  }
  return toast(t("result.copied"));
}

/** For pages that are not served over HTTPS: browsers offer them no clipboard. */
function oldCopy(text) {
  const back = document.activeElement;
  const area = el("textarea", { class: "hidden" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  back?.focus();
  return done;
}
