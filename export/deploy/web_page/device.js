/** What a browser says of the device that it runs on, for a table of times. */

/**
 * Model, or else system, and browser; Android's version where it is Android.
 *
 * @returns {Promise<{device: string, android: string}>}
 */
export async function deviceName() {
  const data = navigator.userAgentData;
  if (!data) return fromAgent(navigator.userAgent);
  const asked = ["model", "platformVersion"];
  const found = await data.getHighEntropyValues(asked).catch(() => ({}));
  const { brand, version } =
    data.brands.find((one) => !/not.?a.?brand|^chromium$/i.test(one.brand)) ??
    data.brands.find((one) => one.brand === "Chromium") ?? { brand: "browser", version: "" };
  const android = data.platform === "Android" ? (found.platformVersion ?? "") : "";
  const device = `${found.model || data.platform || "unknown"}, ${brand} ${version}`;
  return { device, android };
}

/** Of Safari's and Firefox's words, which tell less. */
export function fromAgent(agent) {
  const system = /\(([^;)]+)/.exec(agent)?.[1] ?? "unknown";
  const android = /Android (\d+)/.exec(agent)?.[1] ?? "";
  const [, browser, version] = /(Firefox|FxiOS|CriOS|Version|Chrome)\/(\d+)/.exec(agent) ?? [];
  const name = browser === "Version" ? "Safari" : (browser ?? "browser");
  return { device: `${system}, ${name} ${version ?? ""}`.trim(), android };
}
