// Types of carseg_many.js: many photos through one service.

import { CarSeg, CarSegError, Photo, PostOptions, Result, ResultOptions, Signal, Status } from "./carseg.js";

export interface ManyOptions extends Signal {
  /** Photos that the service has at a time, at most. */
  atOnce?: number;
  /** True to have the photos examined for damage. */
  damage?: boolean | null;
}

/** A photo that is Ready; `number` is its position among the photos, from 0. */
export interface Finished {
  number: number;
  photo: Photo;
  hash: string;
  error?: undefined;
  result?: undefined;
}

/** A photo that is Ready, with its result. */
export interface Segmented extends Omit<Finished, "result"> {
  result: Result;
}

/** A photo without a result. */
export interface Failed {
  number: number;
  photo: Photo;
  hash?: string;
  error: CarSegError;
  result?: undefined;
}

/** A service that takes many photos. */
export class CarSegMany extends CarSeg {
  /** Post photos in batches; yields each in the order in which they end. */
  segmentMany(
    photos: Iterable<Photo> | AsyncIterable<Photo>,
    options?: ManyOptions & ResultOptions,
  ): AsyncGenerator<Segmented | Failed, void, undefined>;
  /** As `segmentMany`, but results are not fetched. */
  finishMany(
    photos: Iterable<Photo> | AsyncIterable<Photo>,
    options?: ManyOptions,
  ): AsyncGenerator<Finished | Failed, void, undefined>;
  /** Post photos in one request; resolves to the hash of each, or its error. */
  submitMany(
    photos: Iterable<Photo>,
    options?: PostOptions & { damage?: boolean | null },
  ): Promise<(string | CarSegError)[]>;
  /** The statuses of up to 1000 photos; null where a photo is unknown. */
  statuses(hashes: string[], options?: Signal): Promise<((Status & { image_hash: string }) | null)[]>;
}
