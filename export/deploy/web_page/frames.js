/** Pixels of the camera's frames, where the network runs: not on the page's own thread. */
const MOST_PIXELS = 640 * 480; // more than networks look at

const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true });

/**
 * The pixels of a frame, smaller where the camera gives more than networks look at.
 *
 * @param {VideoFrame | ImageBitmap} frame closed afterwards.
 * @returns {ImageData}
 */
export function framePixels(frame) {
  const [wide, high] = [frame.displayWidth ?? frame.width, frame.displayHeight ?? frame.height];
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (wide * high)));
  const [width, height] = [wide, high].map((side) => Math.max(1, Math.round(side * scale)));
  // Setting a size clears and allocates, even if it is the same.
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  try {
    context.drawImage(frame, 0, 0, width, height);
  } finally {
    frame.close();
  }
  return context.getImageData(0, 0, width, height);
}
