// Pictures reach the network as in Python, to the byte.
import assert from "node:assert/strict";
import { test } from "node:test";

import { describe } from "../../export/deploy/web_page/metadata.js";
import { fit, toInput, withChannels } from "../../export/deploy/web_page/preprocess.js";
import { resized } from "../../export/deploy/web_page/resample.js";
import { golden, numbers, picture, rgba, same, stored } from "./golden.mjs";

test("resizing is Pillow's", () => {
  for (const { picture: coded, box, interpolation, wanted } of golden.resizes) {
    const [height, width] = wanted.shape;
    const found = resized(picture(coded), width, height, interpolation, box ?? undefined);
    assert.deepEqual([found.height, found.width], [height, width]);
    same(found.data, numbers(wanted));
  }
});

test("every geometry is that of training", () => {
  assert.ok(golden.fits.length > 100);
  for (const { picture: coded, input: told, wanted } of golden.fits) {
    const input = { interpolation: "bilinear", ...told };
    same(fit(picture(coded), input).data, numbers(wanted), JSON.stringify(input));
  }
});

test("numbers are those of Preprocessing.normalise, to the last bit", () => {
  for (const { description, bytes, wanted } of golden.normalised) {
    const { input } = describe(stored(description));
    same(toInput(picture(bytes), input), numbers(wanted));
  }
});

test("raw bytes stay as they are", () => {
  const bytes = picture(golden.normalised[0].bytes);
  const input = { values: "raw bytes", order: "rgb" };
  same(toInput(bytes, { ...input, type: "uint8" }), bytes.data);
  same(toInput(bytes, { ...input, type: "float32" }), Float32Array.from(bytes.data));
});

test("grey is Pillow's", () => {
  const { picture: coded, wanted } = golden.luma;
  const colours = picture(coded);
  same(withChannels(rgba(colours), 1).data, numbers(wanted));
  same(withChannels(rgba(colours), 3).data, colours.data);
});
