// Copying texts.

import { el, toast } from "./dom.js";
import { t } from "./texts.js";

/** Copy a text, and say so. */
export async function toClipboard(text) {
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
