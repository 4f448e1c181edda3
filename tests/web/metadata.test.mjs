// A file says how it wants its pictures, or the page says what is wrong with it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { describe, entries } from "../../export/deploy/web_page/metadata.js";
import { golden, stored } from "./golden.mjs";

const file = (name) => Uint8Array.from(Buffer.from(golden.zips[name], "base64"));

test("the description is read wherever offsets count from", () => {
  for (const name of ["appended", "apart"]) {
    const { labels, input } = describe(file(name));
    assert.deepEqual(labels, ["bär", "고양이"]);
    assert.deepEqual([input.height, input.width, input.channels], [8, 9, 3]);
    assert.deepEqual([input.mean, input.std], [Array(3).fill(127), Array(3).fill(128)]);
  }
});

test("labels.txt is there for other clients", () => {
  const text = new TextDecoder().decode(entries(file("appended")).get("labels.txt"));
  assert.equal(text, "bär\n고양이\n");
});

test("what cannot be read is named", () => {
  assert.throws(() => describe(new Uint8Array(0)), { key: "noModel" });
  assert.throws(() => describe(new TextEncoder().encode("<html>not found")), { key: "noModel" });
  assert.throws(() => describe(file("bare")), { key: "noMetadata" });
  assert.throws(() => describe(file("compressed")), { key: "badMetadata" });
  const appended = file("appended");
  // Cut off anywhere, and with any byte of the zip's own lists changed: never another error.
  for (let length = 8; length < appended.length; length += 7) {
    assert.throws(() => describe(appended.subarray(0, length)), { key: "noMetadata" });
  }
  for (let at = 780; at < appended.length; at++) {
    const changed = appended.slice();
    changed[at] ^= 0xff;
    try {
      describe(changed);
    } catch (error) {
      assert.match(error.key ?? String(error), /^(no|bad|newer)Metadata$/);
    }
  }
});

test("numbers that make no sense are refused", () => {
  const fine = JSON.parse(new TextDecoder().decode(entries(file("apart")).get("kerascnn.json")));
  const read = (change) => {
    const told = structuredClone(fine);
    change(told);
    // The same length, so that the zip stays right.
    const bytes = file("apart");
    const text = new TextEncoder().encode(JSON.stringify(told));
    const place = entries(bytes).get("kerascnn.json");
    assert.ok(text.length <= place.length);
    place.fill(0x20).set(text);
    return describe(bytes);
  };
  assert.equal(read(() => {}).task, "classification");
  const broken = [
    ["task", (told) => (told.task = "toString")],
    ["labels", (told) => (told.labels = [])],
    ["labels", (told) => (told.labels = [1])],
    ["decoding", (told) => (told.decoding = { kind: "map" })],
    ["input.height", (told) => (told.input.height = 1e6)],
    ["input.width", (told) => (told.input.width = -1)],
    ["input.channels", (told) => (told.input.channels = 2)],
    ["input.type", (told) => (told.input.type = "int8")],
    ["input.values", (told) => (told.input.values = "bytes")],
    ["input.values", (told) => (told.input.type = "uint8")],
    ["decoding.palette", (told) => (told.decoding.palette = [[1, 2, 3]])],
    [
      "decoding.palette",
      (told) =>
        (told.decoding.palette = [
          [1, 2, 3],
          [1, 2, 300],
        ]),
    ],
    ["input.mean", (told) => (told.input.mean = [1, 2])],
    ["input.std", (told) => (told.input.std = 0)],
    ["input.resize", (told) => (told.input.resize = "fill")],
    ["input.crop_fraction", (told) => (told.input.crop_fraction = 2)],
    ["format", (told) => (told.format = "1")],
  ];
  for (const [field, change] of broken) {
    assert.throws(() => read(change), { key: "badMetadata", values: { field } });
  }
  assert.throws(() => read((told) => (told.format = 2)), { key: "newerMetadata" });
});

test("numbers of a detector that no detector has are refused, as in the Android demo", () => {
  const { description } = golden.normalised[0];
  const decoding = { kind: "codes", ...golden.selections[0].spec };
  const input = { ...description.input, resize: "stretch" };
  const fine = { ...description, task: "detection", input, decoding };
  const read = (change) => {
    const told = structuredClone(fine);
    change(told.decoding, told.decoding.anchors.levels[0], told);
    return describe(stored(told));
  };
  assert.deepEqual(read(() => {}).decoding.anchors, decoding.anchors);
  const wrong = [undefined, null, "1", [], {}, -1, 0, 1.5];
  const broken = [
    ["anchors.levels.rows", (_, level) => Object.assign(level, { rows: 1e9, columns: 1e9 })],
    ["anchors", (_, level) => Object.assign(level, { rows: 4096, columns: 4096 })],
    ["anchors", (told) => (told.anchors.levels = Array(30).fill({ rows: 400, columns: 100, sizes: [[1, 1]] }))],
    ["anchors", (told) => (told.anchors.levels = [])],
    ["anchors", (told) => delete told.anchors],
    ["anchors.levels", (told) => (told.anchors.levels = [null])],
    ["anchors.levels.sizes", (_, level) => (level.sizes = [])],
    ["anchors.levels.sizes", (_, level) => (level.sizes = [[0.5]])],
    ["anchors.levels.sizes", (_, level) => (level.sizes = [[0.5, -0.5]])],
    ["anchors.levels.sizes", (_, level) => (level.sizes = [[0.5, 1e60]])],
    ["anchors.levels.offset", (_, level) => (level.offset = 1.5)],
    ["anchors.levels.offset", (_, level) => (level.offset = "0.5")],
    ["box_scales", (told) => (told.box_scales = [10, 10, 5])],
    ["box_scales", (told) => (told.box_scales = [10, 10, 5, 0])],
    ["box_scales", (told) => (told.box_scales = [10, 10, 5, 1e-60])],
    ["score_threshold", (told) => (told.score_threshold = 2)],
    ["iou_threshold", (told) => (told.iou_threshold = 0)],
    ["background", (told) => (told.background = 1)],
    ["candidates", (told) => (told.candidates = 2 ** 31)],
    ["suppression", (told) => (told.suppression = "softer")],
    ["soft_nms_sigma", (told) => (told.soft_nms_sigma = 0)],
    ["class_agnostic", (told) => (told.class_agnostic = 1)],
  ];
  for (const name of ["rows", "columns"]) {
    for (const value of wrong) broken.push([`anchors.levels.${name}`, (_, level) => (level[name] = value)]);
  }
  for (const name of ["max_detections", "candidates"]) {
    for (const value of wrong) broken.push([name, (told) => (told[name] = value)]);
  }
  for (const [field, change] of broken) {
    const values = { field: `decoding.${field}` };
    assert.throws(() => read(change), { key: "badMetadata", values }, String(change));
  }
  const told = (change) => () => read((_decoding, _level, whole) => change(whole));
  for (const [field, change] of [
    ["input.resize", (whole) => (whole.input.resize = "crop")], // what is cut off is never found
    ["input.std", (whole) => (whole.input.std = 1e-60)],
    ["input.mean", (whole) => (whole.input.mean = 1e60)],
    ["input.crop_fraction", (whole) => (whole.input.crop_fraction = "1")],
    ["model", (whole) => (whole.model = { toString: 1 })],
  ]) {
    assert.throws(told(change), { key: "badMetadata", values: { field } }, field);
  }
});
