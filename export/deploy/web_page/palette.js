/** Colours that colour-blind people tell apart (Okabe and Ito); see training/detection/drawing.py. */
export const CLASS_COLOURS = [
  "#d55e00",
  "#56b4e9",
  "#f0e442",
  "#0072b2",
  "#e69f00",
  "#009e73",
  "#cc79a7",
];
export const INK = "#1d2430";
export const MUTED = "#5b6675";
const BRIGHT = 140; // of 255, from which on letters on a colour are dark

/** Colour of a class of boxes. */
export function colourOf(label) {
  return CLASS_COLOURS[label % CLASS_COLOURS.length];
}

/** Colour of letters on a colour. */
export function contrast(colour) {
  const [red, green, blue] = rgb(colour);
  return 0.299 * red + 0.587 * green + 0.114 * blue >= BRIGHT ? INK : "#ffffff";
}

/** Bytes of "#rrggbb". */
export function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}
