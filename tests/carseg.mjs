// web/carseg.js in Node; test_client.py starts the services and runs this.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { CarSeg, CarSegError, DEFAULT_CONFIDENCE } from "../web/carseg.js";

const { SERVICE, BUSY, SAMPLE } = process.env;
const service = new CarSeg(`${SERVICE}/`);
const photo = await readFile(SAMPLE);

test("from photo to result", async () => {
  const seen = [];
  const result = await service.segment(photo, { onStatus: ({ status }) => seen.push(status) });
  assert.equal(seen.at(-1), "Ready");
  assert.ok(result.parts.some((part) => part.name === "hood"));
  const hash = await service.submit(new Blob([photo]));
  assert.equal(hash, result.image_hash);
  assert.deepEqual(await service.result(hash), result);
  assert.ok((await service.ready()).includes(hash));
});

test("file name is kept for the formats", async () => {
  const named = async (hash) => JSON.parse(await (await service.export(hash, "coco")).text()).images[0].file_name;
  const hash = await service.submit(Object.assign(new Blob([photo]), { name: "mine.png" }));
  await service.wait(hash);
  assert.equal(await named(hash), "mine.png");
  await service.segment(photo, { file_name: "other.png" });
  assert.equal(await named(hash), "other.png");
});

test("damage is asked for", async () => {
  const other = Buffer.concat([photo, Buffer.from("another file")]);
  const hash = await service.submit(other);
  await service.wait(hash);
  assert.equal(await service.submit(other, { damage: true }), hash);
  await service.wait(hash);
  assert.ok(Array.isArray((await service.result(hash)).damages));
  const result = await service.segment(other, { damage: true });
  assert.ok(result.parts.every(({ damaged }) => Array.isArray(damaged)));
  assert.equal((await service.result(hash, { damage: false })).damages, undefined);
});

test("options, formats and pictures", async () => {
  const hash = await service.submit(photo);
  await service.wait(hash);
  const fine = await service.result(hash, { tolerance: 0, max_vertices: null });
  const plain = await service.result(hash);
  assert.ok(JSON.stringify(fine).length > JSON.stringify(plain).length);
  const svg = await (await service.export(hash, "svg", { min_confidence: 0.5 })).text();
  assert.ok(svg.startsWith("<svg"));
  const png = await service.picture(hash, "masks/hood");
  assert.equal(png.type, "image/png");
  const all = await service.picture(hash, "mask", { min_confidence: 0 });
  const none = await service.picture(hash, "mask", { min_confidence: 1, min_area: 9 });
  assert.notDeepEqual(await all.arrayBuffer(), await none.arrayBuffer());
  await assert.rejects(service.picture(hash, "mask", { tolerance: 4 }), { status: 400 });
  const usual = `min_confidence=${DEFAULT_CONFIDENCE}`;
  assert.equal(
    service.path("ab", { format: "svg", tolerance: undefined, file_name: "a&b" }),
    `/ab/segments?${usual}&format=svg&file_name=a%26b`,
  );
  assert.equal(service.path("ab", { min_confidence: null }), `/ab/segments?${usual}`);
  assert.equal(service.path("ab", { min_confidence: 0 }), "/ab/segments?min_confidence=0");
  assert.equal(service.path("ab", {}, "mask.png"), `/ab/mask.png?${usual}`);
});

test("errors are those of the service", async () => {
  await assert.rejects(service.submit(new Uint8Array([1, 2, 3])), (error) => {
    assert.ok(error instanceof CarSegError);
    assert.equal(error.status, 400);
    return /not an image/.test(error.message);
  });
  const nobody = new CarSeg("http://127.0.0.1:9", { retries: 1 });
  await assert.rejects(nobody.ready(), { status: 0, message: "The service does not answer." });
});

test("it can be stopped", async () => {
  const stopped = new AbortController();
  stopped.abort();
  await assert.rejects(service.ready({ signal: stopped.signal }), { name: "AbortError" });
});

test("it sends again when the service is busy", async () => {
  assert.equal(await new CarSeg(BUSY).submit(new TextEncoder().encode("photo")), "0".repeat(64));
});

test("the confidence that is meant is always sent", async () => {
  const other = new CarSeg(BUSY); // test_client.py looks at what came
  await other.result("0".repeat(64));
  await other.export("0".repeat(64), "svg");
  await other.picture("0".repeat(64), "mask");
  await other.picture("0".repeat(64), "masks/hood", { min_confidence: 0 });
});
