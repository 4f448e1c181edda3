/**
 * Networks run here, so that the page goes on answering to fingers.
 *
 * A classic worker: LiteRT's loader needs importScripts, which module workers lack.
 * Asked {id, bytes, accelerator} it opens a file and tells what it is and where it runs; asked
 * {id, picture}, or {id, frame} of the camera, it answers; asked {id, timed} it runs on noise.
 */
const ready = import("./runtime.js");
let network;

async function answer({ bytes, accelerator, picture, frame, timed }) {
  const { loadedFiles, open } = await ready;
  if (picture) return network.run(picture);
  if (frame) return network.run((await import("./frames.js")).framePixels(frame));
  if (timed) return (await network.outputsOf((await import("./faster.js")).noise)).milliseconds;
  network?.close();
  network = undefined;
  const files = await loadedFiles();
  const begin = performance.now();
  network = await open(bytes, accelerator);
  await network.warmUp();
  return {
    description: network.description,
    setup: {
      accelerator: network.accelerator,
      threads: network.threads,
      compared: network.compared,
      selfTests: network.selfTests,
      milliseconds: performance.now() - begin,
      files,
    },
  };
}

// One after the other, whatever arrives meanwhile.
let last = Promise.resolve();
self.addEventListener("message", ({ data }) => {
  last = last
    .then(() => answer(data))
    .then((result) => self.postMessage({ id: data.id, result }))
    .catch((error) => {
      const { key = "unexpected", values = { reason: String(error?.message ?? error) } } = error;
      self.postMessage({ id: data.id, problem: { key, values } });
    });
});
