// What can be taken away from a result: files, and texts for the clipboard.

import { toClipboard } from "./clipboard.js";
import { byId, el, pathData, save, toast } from "./dom.js";
import { library } from "./library.js";
import { lookNow } from "./look.js";
import { nameOf, stemOf } from "./names.js";
import { photoOf } from "./photos.js";
import { markdown } from "./print.js";
import { address, complain, file, need, service } from "./service.js";
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
      complain(error);
    }
  });
  return link;
}

/** The list of downloads of a ResultPage. */
export function fillDownloads(page) {
  const { hash, options } = page;
  const stem = stemOf(nameOf(hash));
  const file_name = library.get(hash).name && nameOf(hash);
  const path = (format) => service.path(hash, { format, ...options, file_name }).slice(1);
  const overlay = service.path(hash, options, "overlay.png").slice(1);
  const { min_confidence } = options;
  const mask = service.path(hash, { min_confidence }, "mask.png").slice(1);
  const pictures = [
    fileLink(t("result.overlayPng"), overlay, `${stem}-parts.png`),
    fileLink(t("result.maskPng"), mask, `${stem}-mask.png`),
    fileLink(t("result.svg"), path("svg"), `${stem}.svg`),
  ];
  if (page.damage) {
    const damage = service.path(hash, { min_confidence }, "damage.png").slice(1);
    pictures.push(fileLink(t("damage.mask"), damage, `${stem}-damage.png`));
  }
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

/** The list of files that other programs correct; they need the photo. */
export function fillEdits(page) {
  byId("edit").hidden = !photoOf(page.hash) || !page.all.parts.length;
  const run = async (work) => {
    const module = await need("edit");
    if (module) await work(module).catch(complain);
  };
  const works = {
    cvat: (module) => module.saveToEdit(page, "cvat"),
    labelstudio: (module) => module.saveToEdit(page, "labelstudio"),
    labels: (module) => module.copyLabels(page),
  };
  const items = Object.entries(works).map(([key, work]) =>
    el("li", {}, el("button", { class: "file", onclick: () => run(work) }, t(`edit.${key}`))),
  );
  byId("edits").replaceChildren(...items);
}

/** The list of texts to copy of a ResultPage. */
export function fillCopies(page) {
  const texts = {
    copyLink: () => location.href,
    copyJson: async () => JSON.stringify(await service.result(page.hash, page.options), null, 1),
    copyCurl: () => `curl "${service.url}${service.path(page.hash, page.options)}"`,
    copyHtml: () => snippet(page),
    copyMarkdown: () => markdown(page),
  };
  const items = Object.entries(texts).map(([key, text]) => {
    const copy = async () => {
      try {
        await toClipboard(await text());
      } catch (error) {
        complain(error);
      }
    };
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

/** Draw the photo with its parts, as they look now, and save it. */
async function savePhoto({ hash, result, config, shown, damage }, name) {
  const parts = [...shown].sort((a, b) => b.area - a.area);
  const picture = await need("picture");
  try {
    const canvas = await picture?.drawPhoto(photoOf(hash), result, parts, damage?.shown ?? [], lookNow(config));
    if (canvas) save(await picture.toBlob(canvas), name);
  } catch {
    toast(t("result.cantShow"));
  }
}
