// What Python answers; written by tests/web_golden.py, for tests/export/deploy/test_web.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

assert.ok(process.env.GOLDEN, "GOLDEN is a folder; run: pytest tests/export/deploy/test_web.py");
export const golden = JSON.parse(readFileSync(join(process.env.GOLDEN, "golden.json"), "utf8"));

const TYPES = {
  uint8: Uint8Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** The numbers of an array. */
export function numbers({ type, data }) {
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  return new TYPES[type](bytes.buffer);
}

/** (height, width[, channels]) bytes as a picture. */
export function picture(coded) {
  const [height, width, channels = 1] = coded.shape;
  return { data: numbers(coded), width, height, channels };
}

/** The same with an opaque fourth channel, as a canvas has it. */
export function rgba({ data, width, height }) {
  const made = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let i = 0; i < width * height; i++) made.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
  return { data: made, width, height };
}

/** Fail unless all numbers are near. */
export function near(found, wanted, tolerance) {
  assert.equal(found.length, wanted.length);
  for (let i = 0; i < wanted.length; i++) {
    const gap = Math.abs(found[i] - wanted[i]);
    assert.ok(gap <= tolerance, `at ${i}: ${found[i]} and not ${wanted[i]}`);
  }
}

/** Fail unless all numbers are the same, in arrays of one type. */
export function same(found, wanted, message = "") {
  assert.equal(found.constructor, wanted.constructor);
  assert.equal(found.length, wanted.length);
  const different = found.findIndex((value, i) => value !== wanted[i]);
  assert.ok(
    different < 0,
    `at ${different}: ${found[different]} and not ${wanted[different]} ${message}`,
  );
}

/** The least file with this description, and more of its text: a zip of one entry behind eight bytes. */
export function stored(description, more = "") {
  const encoder = new TextEncoder();
  const [name, text] = [
    encoder.encode("kerascnn.json"),
    encoder.encode(JSON.stringify(description).slice(0, -1) + (more && `,${more}`) + "}"),
  ];
  const bytes = new Uint8Array(8 + 30 + 46 + 22 + 2 * name.length + text.length);
  const view = new DataView(bytes.buffer);
  bytes.set(encoder.encode("TFL3"), 4);
  view.setUint16(8 + 26, name.length, true);
  bytes.set(name, 38);
  bytes.set(text, 38 + name.length);
  const central = 38 + name.length + text.length;
  view.setUint32(central, 0x02014b50, true);
  view.setUint32(central + 24, text.length, true);
  view.setUint16(central + 28, name.length, true);
  view.setUint32(central + 42, 8, true);
  bytes.set(name, central + 46);
  const end = central + 46 + name.length;
  view.setUint32(end, 0x06054b50, true);
  view.setUint16(end + 10, 1, true);
  view.setUint32(end + 12, 46 + name.length, true);
  view.setUint32(end + 16, central, true);
  return bytes;
}
