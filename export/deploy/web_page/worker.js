/**
 * Networks run here, so that the page goes on answering to fingers.
 *
 * A classic worker: LiteRT's loader needs importScripts, which module workers lack.
 * Asked {id, bytes} it opens a file and tells its description; asked {id, picture} it answers.
 */
const ready = import("./runtime.js");
let network;

async function answer({ bytes, picture }) {
  const { open } = await ready;
  if (picture) return network.run(picture);
  network?.close();
  network = undefined;
  network = await open(bytes);
  await network.warmUp();
  return network.description;
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
