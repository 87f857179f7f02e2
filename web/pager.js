// From one result to the next, with links and with the arrow keys.

import { byId } from "./dom.js";
import { t } from "./texts.js";

/** Write where a result is among others, and what comes before and after it. */
export function drawPager(hashes, hash) {
  const at = hashes.indexOf(hash);
  byId("pager").hidden = at < 0 || hashes.length < 2;
  byId("place").textContent = t("batch.place", { n: at + 1, all: hashes.length });
  for (const [id, other] of [["previous", hashes[at - 1]], ["next", hashes[at + 1]]]) {
    const link = byId(id);
    if (other) link.href = `#${other}`;
    else link.removeAttribute("href");
    link.ariaDisabled = other ? null : "true";
    link.setAttribute("role", "link");
  }
}

/** Follow the links with the arrow keys, where these have no other meaning. */
export function listenPager() {
  document.addEventListener("keydown", (event) => {
    const id = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    const other = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
    if (!id || other || event.defaultPrevented || byId("result").hidden || byId("pager").hidden) return;
    if (event.target.closest("input, select, textarea, pre")) return;
    if (byId(id).hasAttribute("href")) byId(id).click();
  });
}
