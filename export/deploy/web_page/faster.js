/** Of two networks of the same file, on CPU and GPU, the one that answers sooner. */
const RUNS = 9;
const LONGEST = 400; // milliseconds of either, after which one comparison is enough
const APART = 0.01; // share of an output's range by which answers may differ

/**
 * Run both by turns on the same noise; the slower one, or one with other answers, is closed.
 *
 * @param {Network} cpu
 * @param {Network} gpu
 * @returns {Promise<Network>} with `compared`: {CPU, WebGPU}, medians in milliseconds; WebGPU is null
 *     where it answers something else.
 */
export async function faster(cpu, gpu) {
  const times = { CPU: [], WebGPU: [] };
  let same = true;
  try {
    const wanted = await cpu.outputsOf(noise); // which warms both up, too
    same = agree(wanted.outputs, (await gpu.outputsOf(noise)).outputs);
    const sum = (list) => list.reduce((a, b) => a + b, 0);
    for (let i = 0; same && i < RUNS; i++) {
      if (i > 0 && Math.max(sum(times.CPU), sum(times.WebGPU)) > LONGEST) break;
      for (const one of [cpu, gpu]) {
        times[one.accelerator].push((await one.outputsOf(noise)).milliseconds);
      }
    }
  } catch (error) {
    console.warn(error);
    same = false;
  }
  const [onCpu, onGpu] = [median(times.CPU), median(times.WebGPU)];
  const [chosen, other] = same && onGpu < onCpu ? [gpu, cpu] : [cpu, gpu];
  other.close();
  chosen.compared = { CPU: onCpu, WebGPU: same ? onGpu : null };
  return chosen;
}

/** Bytes without order, the same every time (Knuth's multiplicative hash). */
export function noise(at) {
  return Math.imul(at + 1, 2654435761) >>> 24;
}

/** Whether outputs are equal, but for what other arithmetic changes. */
export function agree(wanted, found) {
  return Object.entries(wanted).every(([name, { data }]) => {
    const other = found[name]?.data;
    if (other?.length !== data.length) return false;
    let [low, high, apart] = [Infinity, -Infinity, 0];
    for (let i = 0; i < data.length; i++) {
      low = Math.min(low, data[i]);
      high = Math.max(high, data[i]);
      apart = Math.max(apart, Math.abs(data[i] - other[i]));
    }
    return data.length === 0 || apart <= APART * (high - low); // false for what is no number
  });
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[sorted.length >> 1] : null;
}
