// What the page asks the service for, through the client that others use too.

import { CarSeg, CarSegError } from "./carseg.js";
import { toast } from "./dom.js";
import { t } from "./texts.js";

/** The address of something of the service; relative to the page, whatever path is before it. */
export const address = (path) => new URL(path, document.baseURI).href;

export const ServiceError = CarSegError;

const root = address("./");

/** Fails at once: people see why, and decide. */
export const service = new CarSeg(root, { retries: 0 });

/** Sends again for a while, when the service is busy or out of reach. */
export const patient = new CarSeg(root, { retries: 5 });

/** Say why the service did not do something. */
export const complain = (error) => toast(error.status > 0 ? error.message : t("error.unreachable"));

/** A module of the page that is loaded at its first use; null, and a message, if that fails. */
export async function need(name) {
  const module = await import(`./${name}.js`).catch(() => null);
  if (!module) toast(t("error.unreachable"));
  return module;
}

/** Limits, colours and the like; see api/page.py. */
export async function config() {
  const answer = await fetch(address("ui/config.json")).catch(() => null);
  if (!answer?.ok) throw new ServiceError("No settings", answer?.status ?? 0);
  return answer.json();
}

/** Delete a result; also while the page is being closed. One that is gone already is fine. */
export async function deleteResult(hash) {
  const request = { method: "DELETE", keepalive: true };
  const answer = await fetch(address(hash), request).catch(() => null);
  if (answer?.ok || answer?.status === 404) return;
  throw await failure(answer);
}

async function failure(answer) {
  const message = (await answer?.json().catch(() => null))?.error ?? answer?.statusText;
  return new ServiceError(message ?? "", answer?.status ?? 0);
}

/** An answer of the service that is JSON. */
export const json = async (path) => JSON.parse(await (await file(path)).text());

/** A file of the service as a Blob. */
export async function file(path) {
  const answer = await fetch(address(path)).catch(() => null);
  if (answer?.ok) return answer.blob();
  throw await failure(answer);
}

/** The hashes of all results that have marks. */
export async function markedHashes() {
  const hashes = new Set();
  let after = "";
  do {
    const page = await json(`feedback?limit=1000${after}`);
    for (const { image_hash: hash } of page.photos) hashes.add(hash);
    after = page.next && `&after=${page.next}`;
  } while (after);
  return hashes;
}
