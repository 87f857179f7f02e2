// The status of a photo, as a row of steps and a line of words.

import { el } from "./dom.js";
import { t } from "./texts.js";

const STEPS = ["sending", "queued", "parts", "type", "polygons"];

/** How far `standing` ({state, position, stage}) is: the index of the step being done. */
function step({ state, stage }) {
  if (state === "Ready") return STEPS.length;
  if (state === "Processing") return Math.max(STEPS.indexOf(stage === "damage" ? "type" : stage), 2);
  return state === "Uploaded" ? 1 : 0;
}

/** What `standing` is in words. */
export function inWords({ state, position, stage, message, seconds }) {
  switch (state) {
    case "Preparing":
      return t("upload.preparing");
    case "Held":
      return t("upload.waitingToSend");
    case "Sending":
      return t("upload.sending");
    case "Busy":
      return t("upload.busy", { n: seconds });
    case "Lost":
      return t("upload.lost");
    case "Uploaded":
      return position ? t("upload.queuedAt", { n: position }) : t("upload.queued");
    case "Processing":
      return [...STEPS, "damage"].includes(stage) ? t(`upload.${stage}`) : t("upload.working");
    case "Ready":
      return t("upload.done");
    default:
      return message || t("upload.failed");
  }
}

/** A row of steps; `update(standing)` moves it on. */
export function steps() {
  const bars = STEPS.map(() => el("span"));
  const node = el("div", { class: "steps", role: "progressbar", "aria-valuemin": 0 }, ...bars);
  node.setAttribute("aria-valuemax", STEPS.length);
  const update = (standing) => {
    const now = step(standing);
    node.setAttribute("aria-label", t("upload.steps"));
    node.setAttribute("aria-valuenow", now);
    node.setAttribute("aria-valuetext", inWords(standing));
    bars.forEach((bar, index) => {
      bar.className = index < now ? "past" : index === now ? "now" : "";
    });
  };
  return { node, update };
}
