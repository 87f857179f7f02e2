// A client of the service for browsers and for Node 18 and later; no other file is needed.
//
//   import { CarSeg } from "./carseg.js";
//   const result = await new CarSeg("http://127.0.0.1:5000").segment(file);
//   console.log(result.type?.name, result.parts.map((part) => part.name));

export const DEFAULT_CONFIDENCE = 0.25; // always sent: a service may have another default
export const FIRST_POLL = 100; // milliseconds between two questions for the status
export const LAST_POLL = 2000;
const LONGEST_WAIT = 10; // seconds in which one request waits for the result
const FIRST_BREAK = 250; // milliseconds before a request is sent again
export const LONGEST_BREAK = 60_000;
const RETRIES = { 0: 3, 429: Infinity, 503: Infinity }; // at most, by status; 0: nobody answers

/** Why the service did not do what was asked; `message` is meant for people. */
export class CarSegError extends Error {
  /**
   * @param {number} status HTTP status; 0 without an answer, 200 if the photo ended in Error
   * @param {number} [retryAfter] seconds after which it is worth trying again
   */
  constructor(message, status, retryAfter) {
    super(message);
    this.name = "CarSegError";
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * A running service.
 *
 * Requests that fail on the way, and those answered with 429 or 503, are sent again after a break
 * that doubles each time, or after the one the service asks for (Retry-After). To post a photo
 * twice does no harm, because the service knows photos by their content.
 *
 * Each method takes `signal` (an AbortSignal) among its options. Options of results are those of
 * `/<hash>/segments`: tolerance, max_vertices, min_area, min_confidence, normalized, topology,
 * file_name, damage. Masks take min_area and min_confidence, the overlay also tolerance, max_vertices and
 * topology.
 */
export class CarSeg {
  /**
   * @param {string} url address of the service, such as "http://127.0.0.1:5000"
   * @param {{apiKey?: string, retries?: number, headers?: Object<string, string>}} [options] the key,
   *   where the service asks for one, how often a request is sent again at most, and more headers
   */
  constructor(url, { apiKey, retries = 8, headers = {} } = {}) {
    this.url = String(url).replace(/\/+$/, "");
    this.retries = retries;
    this.headers = apiKey ? { Authorization: `Bearer ${apiKey}`, ...headers } : headers;
  }

  /**
   * Post a photo, wait for it, and fetch its result. This takes one request if the photo is ready in
   * time; `onStatus`, which is called with each status, needs more. The service keeps the name of a
   * File, or `file_name`, for its formats.
   * @param {Blob|ArrayBuffer|Uint8Array} photo
   */
  async segment(photo, { signal, onStatus, ...options } = {}) {
    let hash;
    if (onStatus) {
      const { file_name, damage } = options;
      hash = await this.submit(photo, { signal, file_name, damage });
    } else {
      const answer = await this.#postAndWait(photo, signal, options);
      if (answer.parts) return answer;
      hash = answer.image_hash; // it takes longer, or the service is an older one
    }
    await this.wait(hash, { signal, onStatus });
    return this.result(hash, { signal, ...options });
  }

  /**
   * Post a photo; resolves to its hash at once. `onRetry` is called with the milliseconds until it is
   * sent again, and the status (0 without an answer) that made that necessary. `file_name`: by
   * default the name of a File; null to send none. `damage`: true to have it examined for damage.
   */
  async submit(photo, { signal, onRetry, file_name, damage } = {}) {
    const path = damage == null ? "/" : `/?damage=${damage}`;
    return (await this.post(path, await named(photo, file_name), { signal, onRetry })).image_hash;
  }

  /** The status of a photo: `{status, message, position?, stage?}`; `wait`: seconds until it is done. */
  async status(hash, { wait = 0, signal } = {}) {
    return (await this.#ask(`/${hash}/status${wait ? `?wait=${wait}` : ""}`, { signal })).json();
  }

  /** Resolves when a photo is Ready; `onStatus` is called with each status until then. */
  async wait(hash, { signal, onStatus } = {}) {
    for (let pause = FIRST_POLL; ; pause = Math.min(pause * 1.5, LAST_POLL)) {
      const standing = await this.status(hash, { signal });
      onStatus?.(standing);
      if (standing.status === "Ready" && standing.damage !== "pending") return;
      if (standing.status === "Error") throw new CarSegError(standing.message, 200);
      await sleep(pause, signal);
    }
  }

  /** The result of a photo that is Ready. */
  async result(hash, { signal, ...options } = {}) {
    return (await this.#ask(this.path(hash, options), { signal })).json();
  }

  /** The result as a Blob in a format such as "coco" or "svg". */
  async export(hash, format, { signal, ...options } = {}) {
    return (await this.#ask(this.path(hash, { format, ...options }), { signal })).blob();
  }

  /** A PNG as a Blob: "mask", "overlay", or "masks/<part>". */
  async picture(hash, name, { signal, ...options } = {}) {
    return (await this.#ask(this.path(hash, options, `${name}.png`), { signal })).blob();
  }

  /** Hashes of all photos that are Ready. */
  async ready({ signal } = {}) {
    return (await this.#ask("/", { signal })).json();
  }

  /** The path of a result, or of a picture such as "mask.png"; options that are null are left out. */
  path(hash, options = {}, name = "segments") {
    return `/${hash}/${name}?${new URLSearchParams(sent(options))}`;
  }

  /** Post JSON; resolves to the JSON of the answer. Options as those of `submit`. */
  async post(path, document, options) {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify(document);
    return (await this.#ask(path, { method: "POST", headers, body, ...options })).json();
  }

  async #postAndWait(photo, signal, options) {
    const path = `/?${new URLSearchParams({ wait: LONGEST_WAIT, ...sent(options) })}`;
    try {
      return await this.post(path, await named(photo, options.file_name), { signal });
    } catch (error) {
      if (error.status === 404) throw new CarSegError(error.message, 200); // the photo ended in Error
      throw error;
    }
  }

  async #ask(path, { headers, onRetry, ...request }) {
    for (let attempt = 0; ; attempt += 1) {
      const answer = await this.#fetch(path, { ...request, headers: { ...this.headers, ...headers } });
      if (answer.ok) return answer;
      if (attempt >= Math.min(this.retries, RETRIES[answer.status] ?? 0)) throw await failure(answer);
      await answer.body?.cancel();
      const pause = breakBefore(answer, attempt);
      onRetry?.(pause, answer.status);
      await sleep(pause, request.signal);
    }
  }

  /** The answer; without one, an object that looks like an answer of status 0. */
  async #fetch(path, request) {
    try {
      return await fetch(this.url + path, request);
    } catch (error) {
      if (request.signal?.aborted) throw error;
      return { ok: false, status: 0, statusText: "The service does not answer.", headers: null, body: null };
    }
  }
}

/** The options as they are sent: without those that are null, and with a confidence. */
function sent(options) {
  const given = Object.entries(options).filter(([, value]) => value != null);
  return { min_confidence: DEFAULT_CONFIDENCE, ...Object.fromEntries(given) };
}

/** A photo as it is posted, with its name if it has one. */
async function named(photo, file_name = photo.name) {
  return { image: await base64(photo), ...(file_name && { file_name }) };
}

async function failure(answer) {
  const document = answer.status ? await answer.json().catch(() => null) : null;
  const message = document?.error ?? (answer.statusText || `HTTP status ${answer.status}`);
  return new CarSegError(String(message), answer.status);
}

/** Milliseconds: what Retry-After says in seconds or as a date, else twice as long each time. */
function breakBefore(answer, attempt) {
  const asked = answer.headers?.get("Retry-After");
  const seconds = asked ? Number(asked) : NaN;
  const wanted = Number.isNaN(seconds) ? Date.parse(asked ?? "") - Date.now() : seconds * 1000;
  const doubled = FIRST_BREAK * 2 ** attempt * (1 + Math.random());
  return Math.min(Math.max(Number.isNaN(wanted) ? doubled : wanted, 0), LONGEST_BREAK);
}

export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(done, milliseconds);
    function done() {
      signal?.removeEventListener("abort", stopped);
      resolve();
    }
    function stopped() {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal?.addEventListener("abort", stopped, { once: true });
  });
}

/** The bytes of a photo in base64. */
export async function base64(photo) {
  const buffer = photo instanceof Blob ? await photo.arrayBuffer() : photo;
  const bytes = new Uint8Array(buffer);
  let letters = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    letters += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(letters);
}
