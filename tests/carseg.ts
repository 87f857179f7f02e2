// Compiled by tests/project/test_packages.py, never run: the declarations of the clients fit their use.

import { CarSeg, CarSegError, DEFAULT_CONFIDENCE, type Part, type Result } from "../web/carseg.js";
import { CarSegMany } from "../web/carseg_many.js";

const service = new CarSeg("http://127.0.0.1:5000", { apiKey: "key", retries: 2 });

export async function areas(photo: Blob | Uint8Array): Promise<Map<string, number>> {
  const result: Result = await service.segment(photo, {
    min_confidence: DEFAULT_CONFIDENCE * 2,
    topology: "shared",
    onStatus: ({ status }) => status === "Processing",
    signal: AbortSignal.timeout(1000),
  });
  const first: Part | undefined = result.parts[0];
  const [x, y] = first?.polygons[0]?.exterior[0] ?? [0, 0];
  console.log(result.type?.scores["suv"], x + y);
  return new Map(result.parts.map((part) => [part.name, part.area]));
}

export async function damages(photo: Blob): Promise<string[]> {
  const { damages = [] } = await service.segment(photo, { damage: true });
  return damages.map(({ kind, parts }) => `${kind} ${parts.map((part) => part.share * 100)}`);
}

export async function pictures(hash: string): Promise<number> {
  const svg = await service.export(hash, "svg", { tolerance: 1 });
  const mask = await service.picture(hash, "masks/hood", { min_area: 20 });
  return svg.size + mask.size;
}

export async function many(photos: ArrayBuffer[]): Promise<string[]> {
  const lines: string[] = [];
  const crowd = new CarSegMany(service.url);
  for await (const { number, result, error } of crowd.segmentMany(photos, { atOnce: 10 })) {
    lines.push(`${number} ${error ? `${error.status} ${error.message}` : result.message}`);
  }
  const hashes = await crowd.submitMany(photos);
  const known = hashes.filter((hash): hash is string => !(hash instanceof CarSegError));
  for (const status of await crowd.statuses(known)) lines.push(status?.status ?? "unknown");
  return lines;
}

// @ts-expect-error: no such option
void service.result("0", { tolerence: 1 });
// @ts-expect-error: no such picture
void service.picture("0", "masks");
