// A client of the service for browsers and for Node 18 and later; no other file is needed.
//
//   import { CarSeg } from "./carseg.js";
//   const result = await new CarSeg("http://127.0.0.1:5000").segment(file);
//   console.log(result.type?.name, result.parts.map((part) => part.name));

const FIRST_POLL = 100; // milliseconds between two questions for the status
const LAST_POLL = 2000;
const FIRST_BREAK = 250; // milliseconds before a request is sent again
const LONGEST_BREAK = 60_000;
const BATCH_PHOTOS = 32; // of one POST /batch; services take more
const BATCH_BYTES = 16 * 1024 * 1024;
const AT_ONCE = 100; // photos that a service has at the same time; half of what its queue holds
const CROWD_POLL = 250; // milliseconds between two questions for many while photos end
const ASKED = 1000; // hashes in one question
const LOST = "The service took the photo, and then knew nothing of it.";
const TRIES = 3; // of a photo whose result is gone before it could be fetched
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
 * file_name.
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
   * Post a photo, wait for it, and fetch its result.
   * @param {Blob|ArrayBuffer|Uint8Array} photo
   */
  async segment(photo, { signal, onStatus, ...options } = {}) {
    const hash = await this.submit(photo, { signal });
    await this.wait(hash, { signal, onStatus });
    return this.result(hash, { signal, ...options });
  }

  /**
   * Post a photo; resolves to its hash at once. `onRetry` is called with the milliseconds until it is
   * sent again, and the status (0 without an answer) that made that necessary.
   */
  async submit(photo, { signal, onRetry } = {}) {
    return (await this.#post("/", { image: await base64(photo) }, { signal, onRetry })).image_hash;
  }

  /**
   * Post many photos in batches; yields `{number, photo, hash, result}` or `{number, photo, error}` for
   * each, in the order in which they end. What the service has no room for is sent again later.
   * @param {Iterable|AsyncIterable} photos Blobs, ArrayBuffers or Uint8Arrays; taken as they are needed
   * @param {{signal?: AbortSignal, atOnce?: number}} [options] and those of results; `atOnce`: photos
   *   that the service has at the same time
   */
  async *segmentMany(photos, { signal, atOnce, ...options } = {}) {
    for await (const outcome of this.finishMany(photos, { signal, atOnce })) {
      if (!outcome.error) {
        try {
          outcome.result = await this.result(outcome.hash, { signal, ...options });
        } catch (error) {
          if (signal?.aborted) throw error;
          outcome.error = error;
        }
      }
      yield outcome;
    }
  }

  /** As `segmentMany`, but results are not fetched. */
  async *finishMany(photos, { signal, atOnce = AT_ONCE } = {}) {
    const crowd = new Crowd(this, photos, atOnce, signal);
    while (true) {
      yield* crowd.post();
      yield* crowd.ended();
      if (crowd.isDone) return;
      await crowd.rest();
    }
  }

  /**
   * Post photos in one request; resolves to a list with the hash of each, or a CarSegError. One whose
   * status is 429 or 503 should be sent again after `retryAfter` seconds.
   */
  async submitMany(photos, { signal, onRetry } = {}) {
    const images = [];
    for (const photo of photos) images.push(await base64(photo));
    const answer = await this.#post("/batch", { images }, { signal, onRetry });
    return answer.photos.map(({ image_hash: hash, error, code, retry_after: retryAfter }) =>
      error === undefined ? hash : new CarSegError(error, code, retryAfter),
    );
  }

  /** Where up to 1000 photos stand: a list of `{image_hash, status, message}`, null where unknown. */
  async statuses(hashes, { signal } = {}) {
    const answer = await this.#post("/status", { image_hashes: hashes }, { signal });
    return answer.photos.map((entry) => (entry.error === undefined ? entry : null));
  }

  /** Where a photo stands: `{status, message, position?, stage?}`; `wait`: seconds until it is done. */
  async status(hash, { wait = 0, signal } = {}) {
    return (await this.#ask(`/${hash}/status${wait ? `?wait=${wait}` : ""}`, { signal })).json();
  }

  /** Resolves when a photo is Ready; `onStatus` is called with each status until then. */
  async wait(hash, { signal, onStatus } = {}) {
    for (let pause = FIRST_POLL; ; pause = Math.min(pause * 1.5, LAST_POLL)) {
      const standing = await this.status(hash, { signal });
      onStatus?.(standing);
      if (standing.status === "Ready") return;
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
  async picture(hash, name, { signal } = {}) {
    return (await this.#ask(`/${hash}/${name}.png`, { signal })).blob();
  }

  /** Hashes of all photos that are Ready. */
  async ready({ signal } = {}) {
    return (await this.#ask("/", { signal })).json();
  }

  /** The path of a result, for links; options that are null or undefined are left out. */
  path(hash, options = {}) {
    const given = Object.entries(options).filter(([, value]) => value != null);
    const query = new URLSearchParams(given).toString();
    return `/${hash}/segments${query && `?${query}`}`;
  }

  async #post(path, document, options) {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify(document);
    return (await this.#ask(path, { method: "POST", headers, body, ...options })).json();
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

/** Many photos on their way through a service: to be sent, sent again, waited for. */
class Crowd {
  constructor(service, photos, atOnce, signal) {
    Object.assign(this, { service, atOnce, signal });
    this.source = (photos[Symbol.asyncIterator] ?? photos[Symbol.iterator]).call(photos);
    this.count = 0;
    this.again = []; // refused for now; they go first
    this.there = new Map(); // hash -> outcomes, in the order of the queue
    this.pause = FIRST_POLL;
    this.notBefore = 0; // Date.now() until which nothing is sent
    this.allTaken = false;
  }

  get isDone() {
    return this.allTaken && !this.again.length && !this.there.size;
  }

  async rest() {
    await sleep(this.pause, this.signal);
    this.pause = Math.min(this.pause * 1.5, LAST_POLL);
  }

  /** Send batches while there is room; yields those that fail for good. */
  async *post() {
    while (Date.now() >= this.notBefore) {
      const room = this.atOnce - this.there.size;
      if (room < Math.max(1, Math.min(BATCH_PHOTOS, this.atOnce >> 1))) return;
      const batch = [];
      for (let size = 0; batch.length < Math.min(room, BATCH_PHOTOS) && size < BATCH_BYTES; ) {
        const outcome = this.again.shift() ?? (await this.#next());
        if (!outcome) break;
        batch.push(outcome);
        size += outcome.photo.size ?? outcome.photo.byteLength;
      }
      if (!batch.length) return;
      yield* this.#send(batch);
    }
  }

  async #next() {
    const { done, value } = await this.source.next();
    this.allTaken ||= done;
    return done ? null : { number: this.count++, photo: value };
  }

  async *#send(batch) {
    const { signal } = this;
    const photos = batch.map(({ photo }) => photo);
    let answers;
    try {
      answers = await this.service.submitMany(photos, { signal });
    } catch (error) {
      if (error.status !== 413) throw error;
      if (batch.length > 1) {
        const middle = batch.length >> 1; // this service takes less at once
        yield* this.#send(batch.slice(0, middle));
        yield* this.#send(batch.slice(middle));
        return;
      }
      const alone = (reason) => {
        if (signal?.aborted || [0, 429, 503].includes(reason.status)) throw reason;
        return reason;
      };
      answers = [await this.service.submit(photos[0], { signal }).catch(alone)]; // too large for one
    }
    for (const [place, answer] of answers.entries()) {
      const outcome = batch[place];
      if (typeof answer === "string") {
        outcome.hash = answer;
        this.there.set(answer, [...(this.there.get(answer) ?? []), outcome]);
      } else if (answer.status === 429 || answer.status === 503) {
        this.again.push(outcome);
        const wait = Math.min((answer.retryAfter || 1) * 1000, LONGEST_BREAK);
        this.notBefore = Math.max(this.notBefore, Date.now() + wait);
      } else {
        yield { ...outcome, error: answer };
      }
    }
  }

  /** Those that have ended since. One that the service has lost is sent again. */
  async *ended() {
    const hashes = [...this.there.keys()];
    for (let start = 0; start < hashes.length; start += ASKED) {
      const asked = hashes.slice(start, start + ASKED);
      const standings = await this.service.statuses(asked, { signal: this.signal });
      for (const [place, standing] of standings.entries()) {
        if (standing && !["Ready", "Error"].includes(standing.status)) continue;
        this.pause = CROWD_POLL;
        const outcomes = this.there.get(asked[place]);
        this.there.delete(asked[place]);
        for (const { number, photo, hash, losses = 0 } of outcomes) {
          if (standing?.status === "Ready") yield { number, photo, hash };
          else if (standing) yield { number, photo, hash, error: new CarSegError(standing.message, 200) };
          else if (losses < TRIES - 1) this.again.push({ number, photo, losses: losses + 1 });
          else yield { number, photo, hash, error: new CarSegError(LOST, 404) };
        }
      }
    }
  }
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

function sleep(milliseconds, signal) {
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
async function base64(photo) {
  const buffer = photo instanceof Blob ? await photo.arrayBuffer() : photo;
  const bytes = new Uint8Array(buffer);
  let letters = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    letters += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(letters);
}
