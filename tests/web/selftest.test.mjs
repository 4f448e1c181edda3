// The self-test inside a file, against Python's bytes and figures.
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";

import { describe } from "../../export/deploy/web_page/metadata.js";
import { compareSelfTest } from "../../export/deploy/web_page/selftest.js";
import { testImage } from "../../export/deploy/web_page/test_image.js";
import { golden, numbers, stored } from "./golden.mjs";

const { images, fine, hostile, comparisons } = golden.selftests;
const { description } = golden.normalised[0];

test("the image has Python's bytes", () => {
  for (const { shape, crc } of images) {
    const { data, height, width, channels } = testImage(...shape);
    assert.deepEqual([height, width, channels], shape);
    assert.equal(crc32(data), crc, shape.join("x"));
  }
});

test("differences are Python's", () => {
  for (const [place, { selftest, outputs, half, difference }] of comparisons.entries()) {
    const given = Object.fromEntries(
      Object.entries(outputs).map(([name, coded]) => [name, { data: numbers(coded) }]),
    );
    const found = compareSelfTest(selftest, given, half);
    const wanted = difference ?? Infinity;
    assert.ok(found.difference === wanted || Math.abs(found.difference - wanted) < 1e-9, `case ${place}`);
    const tolerance = half ? Math.max(selftest.tolerance, selftest.half) : selftest.tolerance;
    assert.equal(found.verified, wanted <= tolerance);
  }
});

test("what is hostile is refused by its field", () => {
  const read = (text) => describe(stored(JSON.parse(JSON.stringify(description)), `"selftest":${text}`));
  for (const told of fine) {
    const { selftest } = read(JSON.stringify(told));
    assert.deepEqual(selftest, told.edition === 1 ? told : undefined); // another formula: not known
  }
  assert.equal(describe(stored(description)).selftest, undefined);
  assert.equal(read("null").selftest, undefined);
  for (const { field, text } of hostile) {
    assert.throws(() => read(text), { key: "badMetadata", values: { field } }, text);
  }
});
