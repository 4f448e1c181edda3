// Outputs become the answers that Python gives.
import assert from "node:assert/strict";
import { test } from "node:test";

import * as decoding from "../../export/deploy/web_page/decode.js";
import { golden, near, numbers, picture, same } from "./golden.mjs";

const INPUT = { height: 4, width: 6, resize: "stretch" };

test("softmax", () => {
  for (const { logits, wanted } of golden.softmax) {
    near(decoding.softmax(Float32Array.from(logits)), wanted, 1e-6);
  }
});

test("sigmoid", () => {
  for (const { logits, wanted } of golden.sigmoid) {
    near(decoding.sigmoid(Float32Array.from(logits)), wanted, 1e-6);
  }
});

test("a score for each class on its own", () => {
  const description = { labels: ["a", "b", "c"], decoding: { kind: "sigmoid", threshold: 0.4 } };
  const data = Float32Array.of(0, -9, NaN);
  const size = { width: 2, height: 2 };
  const outputs = { logits: { data: data.subarray(0, 3), shape: [1, 3] } };
  assert.throws(() => decoding.decode(outputs, description, size));
  data[2] = 9;
  const { kind, scores, threshold } = decoding.decode(outputs, description, size);
  assert.deepEqual([kind, threshold], ["scores", 0.4]);
  near(scores, [0.5, 1.234e-4, 1 - 1.234e-4], 1e-6);
});

test("the largest come first", () => {
  assert.deepEqual(decoding.largest([0.1, 0.5, 0.3, 0.5], 3), [1, 3, 2]);
});

test("anchors are equal to the last bit", () => {
  for (const { anchors, wanted } of golden.anchors) {
    same(decoding.anchorBoxes(anchors), numbers(wanted));
  }
});

test("suppression keeps what Python keeps", () => {
  let kept = 0;
  for (const { spec, classes, codes, scores, wanted } of golden.selections) {
    const anchors = decoding.anchorBoxes(spec.anchors);
    const found = decoding.select(spec, numbers(codes), numbers(scores), anchors, classes);
    assert.deepEqual(
      found.map(({ label }) => label),
      [...numbers(wanted.labels)],
    );
    near(
      found.map(({ score }) => score),
      numbers(wanted.scores),
      spec.suppression === "soft" ? 1e-6 : 0, // powers differ in the last bit
    );
    near(
      found.flatMap(({ box }) => box),
      numbers(wanted.boxes),
      1e-5,
    );
    kept += found.length;
  }
  assert.ok(kept > 100);
});

// Four anchors: the quarters of the input.
const QUARTERS = decoding.anchorBoxes({ levels: [{ rows: 2, columns: 2, sizes: [[0.5, 0.5]] }] });
const SPEC = {
  box_scales: [1, 1, 1, 1],
  background: false,
  score_threshold: 0.1,
  iou_threshold: 0.5,
  max_detections: 6,
  candidates: 100,
};

test("equal scores go by label, then by anchor", () => {
  const halves = new Float32Array(8).fill(0.5);
  const found = decoding.select(SPEC, new Float32Array(16), halves, QUARTERS, 2);
  assert.deepEqual(
    found.map(({ label }) => label),
    [0, 0, 0, 0, 1, 1],
  );
  near(
    found.flatMap(({ box }) => box),
    [...QUARTERS, ...QUARTERS.slice(0, 8)],
    0,
  );
});

test("boxes are clipped after suppression, which compares whole ones", () => {
  const codes = new Float32Array(16);
  // Two with an IoU of 1/3, of which the same is left: both stay.
  [codes[0], codes[2], codes[5]] = [-1, Math.log(3), -1];
  codes[9] = -9; // outside of the picture
  [codes[14], codes[15]] = [9, 9];
  const found = decoding.select(SPEC, codes, [0.9, 0.8, 0.7, 0.6], QUARTERS, 1);
  const quarter = [0, 0, 0.5, 0.5];
  near(
    found.flatMap(({ box }) => box),
    [...quarter, ...quarter, 0.5, 0, 1, 0, 0, 0, 1, 1],
    1e-6,
  );
});

test("raw detectors are decoded by the file's description", () => {
  const { spec, classes, codes, scores, wanted } = golden.selections[0];
  const labels = Array.from({ length: classes }, (_, i) => `class ${i}`);
  const description = { labels, decoding: { kind: "codes", ...spec }, input: INPUT };
  const outputs = { boxes: { data: numbers(codes) }, scores: { data: numbers(scores) } };
  const { kind, objects } = decoding.decode(outputs, description, { width: 60, height: 40 });
  assert.equal(kind, "boxes");
  const clipped = numbers(wanted.boxes).map((share) => Math.min(1, Math.max(0, share)));
  near(
    objects.flatMap(({ box }) => box),
    clipped,
    1e-5,
  );
  // A million anchors a frame are not made twice.
  const { levels } = description.decoding.anchors;
  Object.defineProperty(description.decoding.anchors, "levels", {
    get: () => assert.fail("made again"),
  });
  assert.equal(decoding.decode(outputs, description, { width: 60, height: 40 }).objects.length, objects.length);
  Object.defineProperty(description.decoding.anchors, "levels", { value: levels });
  const short = { ...outputs, scores: { data: new Float32Array(7) } };
  assert.throws(() => decoding.decode(short, description, INPUT), { key: "badOutput" });
  const broken = { ...outputs, boxes: { data: numbers(codes).fill(NaN, 0, 1) } };
  assert.throws(() => decoding.decode(broken, description, INPUT), { key: "noNumbers" });
});

test("boxes on the picture", () => {
  for (const { input, size, boxes, wanted } of golden.boxes) {
    const [height, width] = size;
    boxes.forEach((box, i) => {
      near(decoding.fromInput(box, { height, width }, input), wanted[i], 1e-6);
    });
  }
});

test("masks of boxes that hang over a letterboxed picture", () => {
  for (const { mask, side, box, frame, wanted } of golden.reframed) {
    near(decoding.reframed({ side, data: numbers(mask) }, box, frame).data, numbers(wanted), 1e-6);
  }
});

test("detections of a file with post-processing inside", () => {
  const description = { labels: ["a", "b"], decoding: { kind: "detections" }, input: INPUT };
  const outputs = {
    boxes: { data: Float32Array.of(0, 0.25, 0.5, 1.5, 0, 0, NaN, 1, 0, 0, 1, 1) },
    labels: { data: Float32Array.of(1, 0, 0) },
    scores: { data: Float32Array.of(0.75, 0.5, 0.25) },
    count: { data: Float32Array.of(2) },
    masks: { data: Float32Array.from({ length: 12 }, (_, i) => i), shape: [1, 3, 2, 2] },
  };
  const { objects } = decoding.decode(outputs, description, { width: 5, height: 5 });
  // The mask is that of what is left of the box, whose right part lies outside of the picture.
  const [{ mask, ...object }, ...others] = objects;
  assert.deepEqual(object, { box: [0, 0.25, 0.5, 1], label: 1, score: 0.75 });
  assert.equal(others.length, 0);
  near(mask.data, [0, 0.4, 2, 2.4], 1e-6);
  for (const label of [2, 0.5]) {
    outputs.labels.data[0] = label;
    assert.throws(() => decoding.decode(outputs, description, INPUT), { key: "badOutput" });
  }
  assert.throws(() => decoding.decode(outputs, description, INPUT), { key: "badOutput" });
  delete outputs.count;
  assert.throws(() => decoding.decode(outputs, description, INPUT), { key: "badOutput" });
});

test("logits of other classes than labels, or of no numbers, are refused", () => {
  const description = { labels: ["a", "b"], decoding: { kind: "logits" }, input: INPUT };
  const of = (...logits) =>
    decoding.decode({ logits: { data: Float32Array.from(logits) } }, description, INPUT);
  near(of(0, Math.log(3)).probabilities, [0.25, 0.75], 1e-7);
  assert.throws(() => of(1, 2, 3), { key: "badOutput" });
  assert.throws(() => of(1, NaN), { key: "noNumbers" });
});

test("label maps, from classes and from logits", () => {
  const labels = ["background", "a", "b"];
  const classes = { map: { data: Int32Array.of(0, 2, 1, 1), shape: [1, 2, 2] } };
  const description = { labels, decoding: { kind: "map" }, input: INPUT };
  const { map, areas } = decoding.decode(classes, description, { width: 6, height: 4 });
  assert.deepEqual([...map.data], [0, 2, 1, 1]);
  const [voids, ...others] = areas; // the output is the middle of the input
  assert.deepEqual(voids, { label: decoding.VOID, pixels: 20 });
  assert.deepEqual(
    others.map(({ label, pixels }) => [label, pixels]),
    [
      [1, 2],
      [0, 1],
      [2, 1],
    ],
  );
  const data = Float32Array.of(5, 1, 1, 0, 1, 9, -3, -1, -2, 1, 1, 0);
  const logits = { logits: { data, shape: [1, 2, 2, 3] } };
  const raw = { ...description, decoding: { kind: "map_logits" } };
  assert.deepEqual([...decoding.decode(logits, raw, INPUT).map.data], [0, 2, 1, 0]);
  classes.map.data[3] = 3;
  assert.throws(() => decoding.decode(classes, description, INPUT), { key: "badOutput" });
});

test("label maps on the picture", () => {
  for (const { input, size, map, wanted } of golden.maps) {
    const [height, width] = size;
    const found = decoding.mapOnPicture(picture(map), { height, width }, input);
    same(found.data, numbers(wanted));
    const counts = new Map();
    for (const label of found.data) counts.set(label, (counts.get(label) ?? 0) + 1);
    const areas = decoding.areasOnPicture(picture(map), { height, width }, input);
    assert.deepEqual(new Map(areas.map(({ label, pixels }) => [label, pixels])), counts);
    assert.ok(areas.every(({ pixels }, i) => i === 0 || pixels <= areas[i - 1].pixels));
  }
});

test("masks cover what they cover in Python", () => {
  let some = 0;
  for (const { mask, box, size, wanted } of golden.masks) {
    const [height, width] = size;
    const small = { side: mask.shape[0], data: numbers(mask) };
    const found = decoding.pasted(small, box, { height, width });
    const whole = new Uint8Array(height * width);
    found.covered.forEach((one, i) => {
      const [row, column] = [Math.floor(i / found.width), i % found.width];
      whole[(found.top + row) * width + found.left + column] = one;
      some += one;
    });
    same(whole, numbers(wanted));
  }
  assert.ok(some > 1000);
});

test("probabilities and scores of a file are answers as they are", () => {
  const size = { width: 2, height: 2 };
  const labels = ["a", "b"];
  const data = Float32Array.of(0.25, 0.75);
  const one = decoding.decode(
    { probabilities: { data, shape: [1, 2] } },
    { labels, decoding: { kind: "probabilities" } },
    size,
  );
  assert.deepEqual([one.kind, ...one.probabilities], ["labels", 0.25, 0.75]);
  const outputs = { scores: { data, shape: [1, 2] } };
  const told = { labels, decoding: { kind: "scores", threshold: 0.5 } };
  const each = decoding.decode(outputs, told, size);
  assert.deepEqual([each.kind, each.threshold, ...each.scores], ["scores", 0.5, 0.25, 0.75]);
  assert.throws(() =>
    decoding.decode(outputs, { labels, decoding: { kind: "probabilities" } }, size),
  );
});
