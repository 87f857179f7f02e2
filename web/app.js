// The page: which of its two views is shown, how photos come in, and the language.

import { byId, el, sleep, toast } from "./dom.js";
import { Gallery } from "./gallery.js";
import { keepPhoto } from "./photos.js";
import { ResultPage } from "./result.js";
import { address, config, file, ServiceError } from "./service.js";
import { languages, setLanguage, t } from "./texts.js";
import { Uploads } from "./uploads.js";

const HASH = /^#[0-9a-f]{64}$/;

/** The language of the address, else the first of the browser's that there is. */
function wantedLanguage() {
  const asked = new URLSearchParams(location.search).get("lang");
  const liked = navigator.languages.map((tag) => tag.split("-")[0]);
  return [asked, ...liked].find((code) => Object.hasOwn(languages, code)) ?? "en";
}

async function translate(code, limits) {
  document.documentElement.lang = await setLanguage(code);
  document.title = t("app");
  const values = { mb: limits ? Math.round(limits.max_upload_bytes / 104857.6) / 10 : 20 };
  for (const node of document.querySelectorAll("[data-t]")) {
    node.textContent = t(node.dataset.t, values);
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", t(node.dataset.label));
    if (node.tagName === "BUTTON") node.title = t(node.dataset.label);
  }
}

function addLanguages(onChange) {
  const select = byId("language");
  for (const [code, name] of Object.entries(languages)) {
    select.append(el("option", { value: code, lang: code }, name));
  }
  select.value = document.documentElement.lang;
  select.addEventListener("change", () => {
    const url = new URL(location.href);
    url.searchParams.set("lang", select.value); // in the address: it is shared, and stored nowhere
    history.replaceState(null, "", url);
    onChange(select.value).catch(() => toast(t("error.unreachable")));
  });
}

function addInputs(add, limits) {
  for (const id of ["choose", "camera"]) {
    byId(id).addEventListener("change", ({ target }) => {
      add([...target.files]);
      target.value = ""; // the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    add(files.map((file) => new File([file], t("upload.pasted"), { type: file.type })));
  });
  let depth = 0; // dragenter and dragleave come for each element on the way
  const carries = (event) => event.dataTransfer.types.includes("Files");
  const mark = (on) => {
    depth = on ? depth : 0;
    document.body.classList.toggle("dropping", on);
  };
  document.addEventListener("dragenter", (event) => carries(event) && (depth++, mark(true)));
  document.addEventListener("dragleave", (event) => carries(event) && --depth <= 0 && mark(false));
  document.addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    mark(false);
    add([...event.dataTransfer.files]);
  });
  byId("sample").hidden = !limits.sample;
  byId("sample").addEventListener("click", () => {
    add([{ name: t("upload.sample"), blob: () => file("ui/sample.png") }]);
  });
}

function start(limits) {
  const gallery = new Gallery(limits);
  const page = new ResultPage(limits);
  const go = (hash) => (location.hash = hash);
  const uploads = new Uploads(limits, (item, alone) => {
    gallery.refresh();
    if (alone && !HASH.test(location.hash)) go(item.hash);
  });
  if (limits.sample) keepPhoto(limits.sample, address("ui/sample.png"));

  const route = (first) => {
    if (location.hash && !HASH.test(location.hash) && !first) return; // the link to the content
    const result = HASH.test(location.hash);
    byId("result").hidden = !result;
    byId("start").hidden = result;
    scrollTo(0, 0);
    if (result) page.open(location.hash.slice(1));
    else {
      page.close();
      page.hash = null;
      document.title = t("app");
      gallery.refresh();
    }
    if (first !== true) byId(result ? "result-title" : "start-title").focus();
  };

  addLanguages(async (code) => {
    await translate(code, limits);
    gallery.redraw();
    uploads.redraw();
    page.redraw();
  });
  addInputs((files) => {
    if (!files.length) return;
    if (HASH.test(location.hash)) go("");
    uploads.add(files);
  }, limits);
  addEventListener("hashchange", () => route());
  route(true);
  uploads.resume();
  document.body.classList.add("ready");
}

async function main() {
  const code = wantedLanguage();
  await translate(code);
  for (;;) {
    try {
      const limits = await config();
      await translate(code, limits);
      return start(limits);
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      byId("gallery-note").hidden = false;
      byId("gallery-note").textContent = t("error.unreachable");
      await sleep(3000);
    }
  }
}

main();
