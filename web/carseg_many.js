// Many photos through one service: carseg.js with batches.

import { CarSeg, CarSegError, base64, FIRST_POLL, LAST_POLL, LONGEST_BREAK, sleep } from "./carseg.js";

const BATCH_PHOTOS = 32; // of one POST /batch; services take more
const BATCH_BYTES = 16 * 1024 * 1024;
const AT_ONCE = 100; // photos that a service has at the same time; half of what its queue holds
const CROWD_POLL = 250; // milliseconds between two questions for many while photos end
const ASKED = 1000; // hashes in one question
const LOST = "The service accepted the photo, but lost it before it was finished.";
const UNEXAMINED = "The examination for damage failed: ";
const TRIES = 3; // of a photo whose result is gone before it could be fetched

/** A service, as `CarSeg`, that takes many photos. */
export class CarSegMany extends CarSeg {
  /**
   * Post many photos in batches; yields `{number, photo, hash, result}` or `{number, photo, error}` for
   * each, in the order in which they end. What the service has no room for is sent again later.
   * @param {Iterable|AsyncIterable} photos Blobs, ArrayBuffers or Uint8Arrays; taken as they are needed
   * @param {{signal?: AbortSignal, atOnce?: number}} [options] and those of results; `atOnce`: photos
   *   that the service has at the same time
   */
  async *segmentMany(photos, { signal, atOnce, ...options } = {}) {
    const { damage } = options;
    for await (const outcome of this.finishMany(photos, { signal, atOnce, damage })) {
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
  async *finishMany(photos, { signal, atOnce = AT_ONCE, damage } = {}) {
    const crowd = new Crowd(this, photos, atOnce, { signal, damage });
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
  async submitMany(photos, { signal, onRetry, damage } = {}) {
    const [images, names] = [[], []];
    for (const photo of photos) {
      images.push(await base64(photo));
      names.push(photo.name || null);
    }
    const document = { images, ...(names.some(Boolean) && { file_names: names }) };
    const path = damage == null ? "/batch" : `/batch?damage=${damage}`;
    const answer = await this.post(path, document, { signal, onRetry });
    return answer.photos.map(({ image_hash: hash, error, code, retry_after: retryAfter }) =>
      error === undefined ? hash : new CarSegError(error, code, retryAfter),
    );
  }

  /** The statuses of up to 1000 photos: a list of `{image_hash, status, message}`, null where unknown. */
  async statuses(hashes, { signal } = {}) {
    const answer = await this.post("/status", { image_hashes: hashes }, { signal });
    return answer.photos.map((entry) => (entry.error === undefined ? entry : null));
  }
}

/** Many photos on their way through a service: to be sent, sent again, waited for. */
class Crowd {
  constructor(service, photos, atOnce, { signal, damage }) {
    Object.assign(this, { service, atOnce, signal, damage });
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
    const { signal, damage } = this;
    const photos = batch.map(({ photo }) => photo);
    let answers;
    try {
      answers = await this.service.submitMany(photos, { signal, damage });
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
      answers = [await this.service.submit(photos[0], { signal, damage }).catch(alone)]; // too large for one
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
        if (standing && (!["Ready", "Error"].includes(standing.status) || standing.damage)) continue;
        this.pause = CROWD_POLL;
        const outcomes = this.there.get(asked[place]);
        this.there.delete(asked[place]);
        for (const { number, photo, hash, losses = 0 } of outcomes) {
          const reason = this.damage && standing?.damage_error;
          if (reason) yield { number, photo, hash, error: new CarSegError(`${UNEXAMINED}${reason}`, 404) };
          else if (standing?.status === "Ready") yield { number, photo, hash };
          else if (standing) yield { number, photo, hash, error: new CarSegError(standing.message, 200) };
          else if (losses < TRIES - 1) this.again.push({ number, photo, losses: losses + 1 });
          else yield { number, photo, hash, error: new CarSegError(LOST, 404) };
        }
      }
    }
  }
}
