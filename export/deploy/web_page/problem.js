/** What a user can be told: a key of texts.js, and what belongs into that text. */
export class Problem extends Error {
  constructor(key, values = {}) {
    super(`${key} ${JSON.stringify(values)}`);
    this.name = "Problem";
    this.key = key;
    this.values = values;
  }
}
