// What is drawn looks as in Python, and every word is there in every language.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { overlay } from "../../export/deploy/web_page/map_looks.js";
import { CLASS_COLOURS, contrast } from "../../export/deploy/web_page/palette.js";
import { chosenLanguage, LANGUAGES, text } from "../../export/deploy/web_page/texts.js";
import { golden, near, numbers, picture } from "./golden.mjs";

const page = new URL("../../export/deploy/web_page/", import.meta.url);
const source = (name) => readFileSync(new URL(name, page), "utf8");
const sources = readdirSync(page).filter((name) => name.endsWith(".js"));

test("colours are those of training", () => {
  assert.deepEqual(CLASS_COLOURS, golden.colours);
  assert.equal(contrast("#0072b2"), "#ffffff");
  assert.equal(contrast("#f0e442"), "#1d2430");
});

test("label maps look as in Python", () => {
  for (const { map, picture: coded, labels, palette, wanted } of golden.overlays) {
    const { data } = overlay(picture(map), labels, palette ?? undefined);
    const below = numbers(coded);
    const blended = below.map((byte, i) => {
      const [pixel, channel] = [Math.floor(i / 3), i % 3];
      const share = data[4 * pixel + 3] / 255;
      return Math.round(byte * (1 - share) + data[4 * pixel + channel] * share);
    });
    near(blended, numbers(wanted), 1); // alpha is in 255 steps here
  }
});

test("languages have the same texts", () => {
  const paths = (texts, before = "") =>
    Object.entries(texts).flatMap(([key, value]) =>
      typeof value === "object" ? paths(value, `${before}${key}.`) : [before + key],
    );
  const [first, ...others] = Object.values(LANGUAGES).map((texts) => paths(texts).sort());
  for (const other of others) assert.deepEqual(other, first);
});

test("every problem and every label of the page has a text, and no text is idle", () => {
  const used = new Set();
  const html = source("index.html");
  for (const [, key] of html.matchAll(/data-(?:text|aria|title)="(\w+)"/g)) used.add(key);
  for (const name of sources) {
    for (const [, key] of source(name).matchAll(/new Problem\(\s*"(\w+)"/g))
      used.add(`problems.${key}`);
    for (const [, key] of source(name).matchAll(/tell\("(\w+)"/g)) used.add(key);
  }
  // Chosen by a condition, or by a name that another file gives.
  for (const key of ["cameraDenied", "noCamera", "unexpected"]) used.add(`problems.${key}`);
  for (const key of used) assert.ok(text("en", key), key);
  const there = Object.keys(LANGUAGES.en).filter(
    (key) => !["fields", "tasks", "problems"].includes(key),
  );
  assert.deepEqual(
    there.filter((key) => !used.has(key)),
    [],
  );
  const problems = Object.keys(LANGUAGES.en.problems);
  assert.deepEqual(
    problems.filter((key) => !used.has(`problems.${key}`)),
    [],
  );
});

test("the user's languages are asked in their order", () => {
  assert.equal(chosenLanguage(["ko-KR", "en"]), "ko");
  assert.equal(chosenLanguage(["fr", "en-GB", "ko"]), "en");
  assert.equal(chosenLanguage(["de"]), "en");
  assert.equal(chosenLanguage(["toString"]), "en");
});

test("nothing comes from elsewhere", () => {
  const address = /["'(](?:https?:)?\/\/(?!www\.w3\.org\/2000\/svg)/;
  for (const name of [...sources, "index.html", "style.css", "icon.svg", "page.webmanifest"]) {
    assert.doesNotMatch(source(name), address, name);
  }
});
