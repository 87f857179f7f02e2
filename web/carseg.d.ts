// Types of carseg.js, a client of the service for browsers and for Node 18 and later.

export const DEFAULT_CONFIDENCE: number;
/** Milliseconds between two requests for a status. */
export const FIRST_POLL: number;
export const LAST_POLL: number;
/** Milliseconds before a retry, at most. */
export const LONGEST_BREAK: number;

export type Photo = Blob | ArrayBuffer | Uint8Array;
export type Point = [x: number, y: number];

/** Options that all pictures take. */
export interface MaskOptions {
  min_area?: number | null;
  min_confidence?: number | null;
}

/** Options of the overlay. */
export interface OverlayOptions extends MaskOptions {
  tolerance?: number | null;
  max_vertices?: number | null;
  topology?: "independent" | "shared" | null;
}

/** Options of results. */
export interface ResultOptions extends OverlayOptions {
  normalized?: boolean | null;
  file_name?: string | null;
  /** True to have a photo examined for damage; false for a result without. */
  damage?: boolean | null;
}

export interface Signal {
  signal?: AbortSignal;
}

/** `onRetry` gets the milliseconds until the retry, and the status that made it necessary. */
export interface PostOptions extends Signal {
  onRetry?: (pause: number, status: number) => void;
}

export interface WaitOptions extends Signal {
  onStatus?: (status: Status) => void;
}

/** One visible piece of a part; rings are not closed. */
export interface Polygon {
  exterior: Point[];
  holes: Point[][];
}

export interface Part {
  name: string;
  confidence: number;
  /** Pixels. */
  area: number;
  bbox: [x: number, y: number, width: number, height: number];
  polygons: Polygon[];
  /** Kinds of damage on it; absent if the photo was not examined for damage. */
  damaged?: string[];
}

/** One connected damage. */
export interface Damage {
  kind: string;
  confidence: number;
  /** Pixels. */
  area: number;
  bbox: [x: number, y: number, width: number, height: number];
  polygons: Polygon[];
  /** Parts on which it lies, and the share of each that it covers. */
  parts: { name: string; share: number }[];
}

export interface CarType {
  name: string;
  confidence: number;
  scores: Record<string, number>;
}

/** The result of a photo: the answer of `/<hash>/segments`. */
export interface Result {
  image_hash: string;
  width: number;
  height: number;
  message: string;
  rotation: 0 | 90 | 180 | 270;
  other_cars: boolean;
  model_version: string;
  type: CarType | null;
  segments: Record<string, Point[][]>;
  parts: Part[];
  /** Absent if the photo was not examined for damage. */
  damages?: Damage[];
  damage_version?: string;
}

export interface Status {
  status: "Uploaded" | "Processing" | "Ready" | "Error";
  message: string;
  position?: number | null;
  stage?: string | null;
  /** While a result is Ready, and a new one with damage is not there yet. */
  damage?: "pending";
  damage_error?: string;
}

/** The error of a service that did not answer, refused a request, or failed on a photo. */
export class CarSegError extends Error {
  constructor(message: string, status: number, retryAfter?: number);
  /** HTTP status; 0 without an answer, 200 if the photo ended in Error. */
  status: number;
  /** Seconds. */
  retryAfter?: number;
}

export interface CarSegOptions {
  apiKey?: string;
  retries?: number;
  headers?: Record<string, string>;
}

/** A running service. */
export class CarSeg {
  constructor(url: string | URL, options?: CarSegOptions);
  url: string;
  retries: number;
  headers: Record<string, string>;
  /** Post a photo, wait for it, and fetch its result. */
  segment(photo: Photo, options?: ResultOptions & WaitOptions): Promise<Result>;
  /** Post a photo; resolves to its hash at once. `file_name`: the name of a File by default. */
  submit(
    photo: Photo,
    options?: PostOptions & { file_name?: string | null; damage?: boolean | null },
  ): Promise<string>;
  /** The status of a photo; `wait`: seconds until it is done. */
  status(hash: string, options?: Signal & { wait?: number }): Promise<Status>;
  /** Resolves when a photo is Ready. */
  wait(hash: string, options?: WaitOptions): Promise<void>;
  /** The result of a photo that is Ready. */
  result(hash: string, options?: ResultOptions & Signal): Promise<Result>;
  /** The result in a format such as "coco" or "svg". */
  export(hash: string, format: string, options?: ResultOptions & Signal): Promise<Blob>;
  /** A PNG. */
  picture(
    hash: string,
    name: "mask" | "overlay" | `masks/${string}`,
    options?: OverlayOptions & Signal,
  ): Promise<Blob>;
  /** Hashes of all photos that are Ready. */
  ready(options?: Signal): Promise<string[]>;
  /** The path of a result, or of a picture such as "mask.png". */
  path(hash: string, options?: ResultOptions & { format?: string }, name?: string): string;
  /** Post JSON; resolves to the JSON of the answer. */
  post(path: string, document: unknown, options?: PostOptions): Promise<any>;
}

/** Resolves after some milliseconds; rejects when the signal aborts. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;

/** The bytes of a photo in base64. */
export function base64(photo: Photo): Promise<string>;
