/**
 * How label maps look: a tint and a contour a class, as training/segmentation/drawing.py draws them.
 *
 * Seven colours are what colour-blind people tell apart: the next seven classes have stripes of
 * them, the next dots. What is no object's, where maps are made of objects, stays as it is.
 */
import { VOID } from "./decode.js";
import { CLASS_COLOURS, MUTED, rgb } from "./palette.js";

const [SOLID, STRIPES, DOTS] = [0, 1, 2];
const TINT = 0.65; // the colour's share in a solid tint,
const [STRONG, WEAK] = [0.85, 0.25]; // and on and between stripes or dots

/** Whether a class is drawn by leaving the picture as it is. */
export function isBare(label, labels) {
  return label === 0 && labels[0] === "background";
}

/**
 * What is laid over a picture.
 *
 * @param {object} map (height, width) classes, a picture of one channel.
 * @param {string[]} labels
 * @param {number[][] | undefined} colours the data's own, one (red, green, blue) a class.
 * @returns {{data: Uint8ClampedArray, width: number, height: number}} RGBA, alpha the tint's share.
 */
export function overlay({ data, width, height }, labels, colours) {
  const line = Math.max(1, Math.round(Math.sqrt(width * height) / 320));
  const edge = outlines({ data, width, height }, line);
  const looks = new Map();
  const made = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      const label = data[at];
      if (isBare(label, labels)) continue;
      if (!looks.has(label)) looks.set(label, lookOf(label, labels, colours));
      const { colour, look } = looks.get(label);
      const share = edge[at] ? 1 : shareOf(look, y, x, 4 * line);
      made.set(colour, 4 * at);
      made[4 * at + 3] = Math.round(255 * share);
    }
  }
  return { data: made, width, height };
}

/** The tint's share at a pixel, 0 to 1. */
export function shareOf(look, row, column, period) {
  if (look === SOLID) return TINT;
  const on =
    look === STRIPES
      ? (row + column) % (2 * period) < period
      : row % period < period / 2 && column % period < period / 2;
  return on ? STRONG : WEAK;
}

/** Colour (red, green, blue) and look of a class. */
export function lookOf(label, labels, colours) {
  if (label === VOID) return { colour: rgb(MUTED), look: STRIPES };
  if (colours) return { colour: colours[label], look: SOLID };
  const number = label - (labels[0] === "background" ? 1 : 0);
  return {
    colour: rgb(CLASS_COLOURS[number % CLASS_COLOURS.length]),
    look: Math.floor(number / CLASS_COLOURS.length) % (DOTS + 1),
  };
}

/** 1 where another class is within `line` pixels up, down, left or right. */
function outlines({ data, width, height }, line) {
  const edge = new Uint8Array(data.length);
  for (let step = 1; step <= line; step++) {
    for (let at = 0; at < data.length; at++) {
      const [below, right] = [at + step * width, at + step];
      if (below < data.length && data[at] !== data[below]) edge[at] = edge[below] = 1;
      if ((at % width) + step < width && data[at] !== data[right]) edge[at] = edge[right] = 1;
    }
  }
  return edge;
}
