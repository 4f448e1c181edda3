// Times become the table that Python reads, whatever names they have.
import assert from "node:assert/strict";
import { test } from "node:test";

import { COLUMNS, csv, measure, percentile } from "../../export/deploy/web_page/benchmark.js";
import { fromAgent } from "../../export/deploy/web_page/device.js";
import { agree, faster } from "../../export/deploy/web_page/faster.js";
import { Problem } from "../../export/deploy/web_page/problem.js";

test("percentiles are NumPy's", () => {
  const values = [4, 1, 3, 2];
  assert.equal(percentile(values, 0.5), 2.5);
  assert.equal(percentile(values, 0.9), 3.7);
  assert.equal(percentile([7], 0.99), 7);
});

test("a line of the table, with names that would break it", () => {
  const row = {
    file: { fileName: "a,b.tflite", sha256: "ab" },
    accelerator: "WebGPU",
    bytes: 1234,
    description: { model: '=HYPERLINK("x")', variant: "in\nt8\u200b" },
    setup: {
      ...{ milliseconds: 12.3456789, threads: 1, accelerator: "WebGPU" },
      selfTests: { CPU: { difference: 0, verified: true }, WebGPU: { difference: 0.03217, verified: false } },
    },
    times: [1, 2, 3],
    rounds: 2,
    ended: "",
  };
  const place = { device: "x".repeat(200), android: "", runtime: "LiteRT.js" };
  const [head, line, end] = csv([row], place).split("\n");
  assert.equal(head, COLUMNS.join(","));
  assert.equal(end, "");
  assert.ok(line.includes(`"'=HYPERLINK(""x"")",in t8,tflite,1234,,,2,2.9,1,ab,`));
  assert.ok(line.includes(`,${"x".repeat(79)},,WebGPU,,"a,b.tflite",2.8,2.98,12.3457,3,2/2,,WebGPU,LiteRT.js,differs by 3.2%`));
});

test("what fails is told of, and the others are measured", async () => {
  let now = 0;
  const clock = performance.now;
  performance.now = () => now;
  try {
    const files = ["good", "bad", "better"].map((name) => ({
      name,
      read: async () => new TextEncoder().encode(name),
    }));
    let opened = 0;
    const client = {
      open: async (bytes) => {
        const name = new TextDecoder().decode(bytes);
        if (name === "bad") throw new Problem("refused", { reason: "no" });
        opened++;
        return { description: { name }, setup: { milliseconds: opened } };
      },
      time: async () => {
        now += 100;
        return 100;
      },
    };
    const rows = [];
    const watch = { stopped: () => false, progress: () => {}, ready: (row) => rows.push(row) };
    await measure(files, ["CPU"], client, watch);
    assert.equal(opened, 4); // two rounds of two
    assert.deepEqual(rows.map(({ file }) => file.name).sort(), ["bad", "better", "good"]);
    for (const { file, problem, times } of rows) {
      assert.equal(problem?.key, file.name === "bad" ? "refused" : undefined);
      // A second of warm-up a round, and five of measuring in all.
      if (!problem) assert.equal(times.length, 50);
    }
    // Stopped in the first file's second round, or in the second file's: whole rounds stay.
    const begun = now;
    rows.length = 0;
    await measure(files, ["CPU"], client, {
      ...watch,
      stopped: () => (now - begun > 8_000 ? "background" : ""),
    });
    const left = rows.filter(({ problem }) => !problem);
    assert.equal(left.length, 2);
    for (const { times, rounds, ended } of left) {
      assert.deepEqual([times.length, rounds, ended], [25, 1, "background"]);
    }
  } finally {
    performance.now = clock;
  }
});

test("Safari and Firefox tell a little", () => {
  const iphone =
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";
  assert.equal(fromAgent(iphone).device, "iPhone, Safari 18");
  const firefox = "Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0";
  assert.deepEqual(fromAgent(firefox), {
    device: "Android 14, Firefox 130",
    android: "14",
  });
});

/** Of fixed times and answers. */
function network(accelerator, milliseconds, answer) {
  return {
    accelerator,
    closed: false,
    outputsOf: async () => ({ outputs: { logits: { data: Float32Array.from(answer) } }, milliseconds }),
    close() {
      this.closed = true;
    },
  };
}

test("the GPU is taken where it is faster and answers the same", async () => {
  for (const [cpuTime, gpuTime, gpuAnswer, chosen, told] of [
    [9, 3, [0, 1, 2], "WebGPU", { CPU: 9, WebGPU: 3 }],
    [3, 9, [0, 1, 2], "CPU", { CPU: 3, WebGPU: 9 }],
    [9, 3, [0, 1.5, 2], "CPU", { CPU: null, WebGPU: null }],
    [9, 3, [0, NaN, 2], "CPU", { CPU: null, WebGPU: null }],
  ]) {
    const [cpu, gpu] = [network("CPU", cpuTime, [0, 1, 2]), network("WebGPU", gpuTime, gpuAnswer)];
    const found = await faster(cpu, gpu);
    assert.equal(found.accelerator, chosen);
    assert.deepEqual(found.compared, told);
    assert.deepEqual([cpu.closed, gpu.closed], [chosen !== "CPU", chosen !== "WebGPU"]);
  }
  const broken = { ...network("WebGPU", 1, [0]), outputsOf: () => Promise.reject(new Error("lost")) };
  assert.equal((await faster(network("CPU", 9, [0]), broken)).accelerator, "CPU");
  assert.ok(!agree({ a: { data: [1] } }, {}));
});
