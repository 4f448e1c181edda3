/**
 * From a picture to what the network is given, as in training (see kerascnn/preprocessing.py).
 *
 * `input` is that of a description (metadata.js), a picture that of resample.js.
 */
import { RAW } from "./metadata.js";
import { resized } from "./resample.js";

const LETTERBOX_GREY = 114; // kerascnn/preprocessing.py

/** RGB, or grey by ITU-R 601 luma as Pillow rounds it, of a canvas's RGBA. */
export function withChannels({ data, width, height }, channels) {
  const made = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; to < made.length; from += 4) {
    const [red, green, blue] = [data[from], data[from + 1], data[from + 2]];
    if (channels === 1) {
      made[to++] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    } else {
      made[to++] = red;
      made[to++] = green;
      made[to++] = blue;
    }
  }
  return { data: made, width, height, channels };
}

/** The picture at the network's geometry: bytes of `input.height` x `input.width`. */
export function fit(picture, input) {
  const { height, width } = input;
  if (input.resize === "crop") return cropped(picture, input);
  if (input.resize === "centre") return centre(picture, input);
  const place = placement(picture, input);
  const sized = resized(picture, place.width, place.height, input.interpolation);
  return place.width === width && place.height === height ? sized : placed(sized, place, input);
}

/** Numbers in the type that the file takes. */
export function toInput({ data, channels }, input) {
  if (input.values === RAW) return input.type === "uint8" ? data : Float32Array.from(data);
  const reversed = input.order === "bgr" && channels === 3;
  const table = Array.from({ length: channels }, (_, c) => {
    const [mean, std] = [Math.fround(input.mean[c]), Math.fround(input.std[c])];
    return Float32Array.from({ length: 256 }, (_, byte) => Math.fround(byte - mean) / std);
  });
  const values = new Float32Array(data.length);
  for (let at = 0; at < data.length; at += channels) {
    for (let c = 0; c < channels; c++) {
      values[at + c] = table[c][data[at + (reversed ? channels - 1 - c : c)]];
    }
  }
  return values;
}

/**
 * Where `fit` puts a picture in the input, in pixels: kerascnn/geometry.py in whole numbers.
 *
 * @returns {{top: number, left: number, height: number, width: number}}
 */
export function placement(picture, input) {
  let { width, height } = input;
  const smaller = picture.width <= width && picture.height <= height;
  if (input.resize === "letterbox") ({ width, height } = fitting(picture, input));
  else if (input.resize === "pad" && smaller) ({ width, height } = picture);
  // An odd pixel that is left over lies below, and to the right.
  const [top, left] = [(input.height - height) >> 1, (input.width - width) >> 1];
  return { top, left, height, width };
}

/** The largest picture of a shape within the input, rounded to pixels, half of one up. */
function fitting({ width, height }, { width: wide, height: high }) {
  const rounded = (share, whole) => Math.max(1, Math.floor((2 * share + whole) / (2 * whole)));
  if (width * high <= height * wide) return { width: rounded(width * high, height), height: high };
  return { width: wide, height: rounded(height * wide, width) };
}

function frame(input) {
  return [input.width, input.height].map((side) => halfEven(side / input.crop_fraction));
}

/** Pillow's ImageOps.fit to a larger frame, of which the middle is taken. */
function cropped(picture, input) {
  const [wide, high] = frame(input);
  const [given, wanted] = [picture.width / picture.height, wide / high];
  let [width, height] = [picture.width, picture.height];
  if (given > wanted) width = wanted * picture.height;
  else if (given < wanted) height = picture.width / wanted;
  const [left, top] = [(picture.width - width) * 0.5, (picture.height - height) * 0.5];
  const box = [left, top, left + width, top + height];
  const framed = resized(picture, wide, high, input.interpolation, box);
  return copied(framed, (wide - input.width) >> 1, (high - input.height) >> 1, input);
}

/** torchvision's Resize and CenterCrop: see `covering` in training/datasets/pictures.py. */
function centre(picture, input) {
  let [width, height] = frame(input);
  const upright = picture.width * height <= picture.height * width;
  if (upright) height = Math.max(height, Math.trunc((width * picture.height) / picture.width));
  else width = Math.max(width, Math.trunc((height * picture.width) / picture.height));
  const covered = resized(picture, width, height, input.interpolation);
  const [left, top] = [(width - input.width) / 2, (height - input.height) / 2].map(halfEven);
  return copied(covered, left, top, input);
}

function copied(picture, left, top, { width, height }) {
  const { channels } = picture;
  const made = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const begin = ((top + y) * picture.width + left) * channels;
    made.set(picture.data.subarray(begin, begin + width * channels), y * width * channels);
  }
  return { data: made, width, height, channels };
}

/** On black, or letterboxed on grey. */
function placed(picture, { top, left }, input) {
  const { channels } = picture;
  const made = new Uint8Array(input.width * input.height * channels);
  if (input.resize === "letterbox") made.fill(LETTERBOX_GREY);
  const step = picture.width * channels;
  for (let y = 0; y < picture.height; y++) {
    const row = picture.data.subarray(y * step, (y + 1) * step);
    made.set(row, ((top + y) * input.width + left) * channels);
  }
  return { data: made, width: input.width, height: input.height, channels };
}

/** Python's round: of two equally near whole numbers the even one. */
function halfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}
