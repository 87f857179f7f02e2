// The menu that saves many results as one file.

import { announce, el, save, toast } from "./dom.js";
import { t } from "./texts.js";

/**
 * Fill a <details> with the menu.
 * @param hashes gives the hashes of the results to save
 * @param label the key of its text
 */
export function batchMenu(node, config, hashes, label = "batch.download") {
  const words = el("output", { class: "quiet" });
  const items = ["csv", "coco", "yolo", "cvat", "labelstudio", "photos"].map((kind) => {
    const button = el("button", { class: "file", "data-t": `batch.${kind}` });
    button.addEventListener("click", () => run(kind));
    return el("li", {}, button);
  });
  const list = el("ul", { class: "menu-list" }, ...items);
  node.append(el("summary", { class: "button", "data-t": label }), list, words);
  const closeIt = (event) => {
    if (event.key !== "Escape" || !node.open) return;
    node.open = false;
    node.querySelector("summary").focus();
  };
  node.addEventListener("keydown", closeIt);
  node.addEventListener("toggle", () => node.open && list.scrollIntoView({ block: "nearest" }));
  document.addEventListener("click", ({ target }) => {
    if (!node.contains(target)) node.open = false;
  });

  async function run(kind) {
    if (words.textContent) return; // one is being made
    const all = hashes();
    const onPhoto = (done) => (words.textContent = t("batch.working", { done, n: all.length }));
    node.open = false;
    onPhoto(0);
    announce(words.textContent);
    try {
      const { bundle } = await import("./batch.js");
      const { file, blob, without } = await bundle(kind, all, { config, onPhoto });
      save(blob, file);
      toast(without ? t("batch.without", { n: without }) : t("batch.saved", { name: file }));
    } catch (error) {
      toast(error.status > 0 ? error.message : t(error.status === 0 ? "error.unreachable" : "upload.failed"));
    } finally {
      words.textContent = "";
    }
  }
}
