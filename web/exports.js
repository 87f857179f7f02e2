// What can be taken away from a result: files, and texts for the clipboard.

import { toClipboard } from "./clipboard.js";
import { arrange, byId, el, save, toast } from "./dom.js";
import { library } from "./library.js";
import { lookNow } from "./look.js";
import { nameOf, stemOf } from "./names.js";
import { photoOf } from "./photos.js";
import { address, complain, file, need, service } from "./service.js";
import { t } from "./texts.js";

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
export function fileLink() {
  const link = el("a", { class: "file" });
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const { href, download } = link;
    try {
      save(await file(href), download);
    } catch (error) {
      complain(error);
    }
  });
  return link;
}

/** Have a link save another file. */
export function pointTo(link, text, path, download) {
  link.textContent = text;
  Object.assign(link, { href: address(path), download });
}

const items = new Map(); // key -> list item with a link or button, which stays

function item(key, make) {
  if (!items.has(key)) items.set(key, el("li", {}, make()));
  return items.get(key);
}

function fileItem(key, ...target) {
  const node = item(key, fileLink);
  pointTo(node.firstChild, ...target);
  return node;
}

/** A button whose work takes the page that it was last filled for. */
function buttonItem(key, text, work) {
  const node = item(key, () => el("button", { class: "file" }));
  node.firstChild.textContent = text;
  node.firstChild.onclick = work;
  return node;
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
    fileItem("overlay", t("result.overlayPng"), overlay, `${stem}-parts.png`),
    fileItem("mask", t("result.maskPng"), mask, `${stem}-mask.png`),
    fileItem("svg", t("result.svg"), path("svg"), `${stem}.svg`),
  ];
  if (page.damage) {
    const damage = service.path(hash, { min_confidence }, "damage.png").slice(1);
    pictures.push(fileItem("damage", t("damage.mask"), damage, `${stem}-damage.png`));
  }
  if (photoOf(hash)) {
    const save = () => savePhoto(page, `${stem}-photo.png`);
    pictures.unshift(buttonItem("photo", t("result.photoPng"), save));
  }
  const data = Object.entries(FORMATS).map(([format, [text, end]]) =>
    fileItem(format, text, path(format), `${stem}${end}`),
  );
  arrange(byId("pictures"), pictures);
  arrange(byId("data"), data);
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
  const nodes = Object.entries(works).map(([key, work]) =>
    buttonItem(`edit.${key}`, t(`edit.${key}`), () => run(work)),
  );
  arrange(byId("edits"), nodes);
}

/** The list of texts to copy of a ResultPage. */
export function fillCopies(page) {
  const texts = {
    copyLink: () => location.href,
    copyJson: async () => JSON.stringify(await service.result(page.hash, page.options), null, 1),
    copyCurl: () => `curl "${service.url}${service.path(page.hash, page.options)}"`,
    copyHtml: async () => (await need("copies"))?.snippet(page),
    copyMarkdown: async () => (await need("copies"))?.markdown(page),
  };
  const nodes = Object.entries(texts).map(([key, text]) => {
    const copy = async () => {
      try {
        const words = await text();
        if (words) await toClipboard(words);
      } catch (error) {
        complain(error);
      }
    };
    return buttonItem(key, t(`result.${key}`), copy);
  });
  arrange(byId("copies"), nodes);
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
