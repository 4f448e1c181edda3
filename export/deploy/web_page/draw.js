/** Answers drawn on a transparent canvas that lies on the picture. */
import { mapOnPicture, pasted } from "./decode.js";
import { overlay } from "./map_looks.js";
import { colourOf, contrast, INK, rgb } from "./palette.js";

const TINT = 0.45; // share of the class's colour in a mask
const LINE = 3; // CSS pixels
const LETTERS = 14;

/**
 * Draw boxes with names, the best on top.
 *
 * @param {HTMLCanvasElement} canvas of the size that is shown.
 * @param {object[]} objects {box, label, score, mask?}, the best first.
 * @param {string[]} labels
 * @param {number} scale canvas pixels a CSS pixel.
 */
export function drawBoxes(canvas, objects, labels, scale) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const reversed = [...objects].reverse();
  for (const one of reversed) if (one.mask) drawMask(context, one, scale);
  for (const { box, label } of reversed) drawBand(context, edges(box, canvas), label, scale);
  context.font = `600 ${LETTERS * scale}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const strips = [];
  for (const one of objects) {
    const strip = stripOf(context, one, labels, scale);
    const free = strip.places.find((place) => !strips.some((other) => overlap(place, other.place)));
    strips.push({ ...strip, place: free ?? strip.places[0] });
  }
  for (const strip of strips.reverse()) drawStrip(context, strip, scale);
}

/** Draw a label map: `answer` as decode.js gives it. */
export function drawMap(canvas, answer, size, description) {
  const { width, height } = canvas;
  const map = mapOnPicture(answer.map, size, description.input, { width, height });
  const laid = overlay(map, description.labels, description.decoding.palette);
  const context = canvas.getContext("2d");
  context.putImageData(new ImageData(laid.data, width, height), 0, 0);
}

function edges([top, left, bottom, right], { width, height }) {
  return { top: top * height, left: left * width, bottom: bottom * height, right: right * width };
}

/** A frame with thin dark edges, so that it shows on a ground of its own colour. */
function drawBand(context, { top, left, bottom, right }, label, scale) {
  for (const [colour, wide] of [
    [INK, LINE + 2],
    [colourOf(label), LINE],
  ]) {
    context.strokeStyle = colour;
    context.lineWidth = wide * scale;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

function stripOf(context, { box, label, score }, labels, scale) {
  const gap = 4 * scale;
  const high = (LETTERS + 6) * scale;
  const { width, height } = context.canvas;
  const { top, left, bottom } = edges(box, context.canvas);
  const text = fitting(context, labels[label], score.toFixed(2), width - 2 * gap);
  const wide = context.measureText(text).width + 2 * gap;
  const column = Math.max(0, Math.min(left, width - wide));
  const rows = [top - high, top, bottom, bottom - high];
  const places = rows
    .filter((row) => row >= 0 && row + high <= height)
    .map((row) => ({ top: row, left: column, wide, high }));
  if (!places.length) places.push({ top: 0, left: column, wide, high });
  return { text, places, colour: colourOf(label) };
}

function fitting(context, name, score, room) {
  for (let letters = Math.min(name.length, 24); letters > 0; letters--) {
    const text = `${letters < name.length ? `${name.slice(0, letters)}…` : name} ${score}`;
    if (context.measureText(text).width <= room) return text;
  }
  return score;
}

function overlap(one, other) {
  return (
    one.left < other.left + other.wide &&
    other.left < one.left + one.wide &&
    one.top < other.top + other.high &&
    other.top < one.top + one.high
  );
}

function drawStrip(context, { place, text, colour }, scale) {
  context.fillStyle = colour;
  context.fillRect(place.left, place.top, place.wide, place.high);
  context.fillStyle = contrast(colour);
  context.fillText(text, place.left + 4 * scale, place.top + place.high / 2);
}

/** Tint the pixels of a mask; they end in a line of the colour and a dark edge. */
function drawMask(context, { mask, box, label }, scale) {
  const { top, left, width, height, covered } = pasted(mask, box, context.canvas);
  if (!width || !height) return;
  const line = Math.max(1, Math.round((LINE * scale) / 2));
  const inside = (y, x) => y >= 0 && x >= 0 && y < height && x < width && covered[y * width + x];
  const near = (y, x, far, wanted) =>
    [
      [y - far, x],
      [y + far, x],
      [y, x - far],
      [y, x + far],
    ].some(([row, column]) => Boolean(inside(row, column)) === wanted);
  const picture = new ImageData(width, height);
  const [paint, ink] = [rgb(colourOf(label)), rgb(INK)];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      if (inside(y, x)) {
        picture.data.set(paint, at);
        picture.data[at + 3] = near(y, x, line, false) ? 255 : Math.round(255 * TINT);
      } else if (near(y, x, 1, true)) {
        picture.data.set([...ink, 255], at);
      }
    }
  }
  // By way of a canvas of its own: putImageData would wipe out what lies below.
  const layer = new OffscreenCanvas(width, height);
  layer.getContext("2d").putImageData(picture, 0, 0);
  context.drawImage(layer, left, top);
}
