/**
 * The page without network, and with threads wherever it is served from.
 *
 * While there is a network, files come from there, so that a new page is seen at once; without one
 * they come from the cache, which has the page whole and what was opened of models and runtimes.
 * An entry's key has the file's SHA-256: another table below makes another worker, which fetches
 * what has changed, keeps what has not, and throws away the rest.
 *
 * Answers say that the page is isolated from other sites, which is what browsers ask of it before
 * they give it threads; servers of plain files cannot say so.
 */
const PAGE = {}; // SHA-256 by place: written by `kerascnn web`, fetched at once,
const LATER = {}; // and fetched when the page says so
const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const OURS = '<meta name="application-name" content="kerascnn" />';
const SCOPE = self.registration.scope;
const opened = caches.open(`kerascnn ${SCOPE}`);

self.addEventListener("install", (event) => {
  const whole = Promise.all(Object.keys(PAGE).map(keep));
  event.waitUntil(whole.then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(tidy().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const place = placeOf(request.url);
  if (request.method === "GET" && digestOf(place)) event.respondWith(answer(request, place));
});

/** Asked {keep: addresses}; answers whether all of them are kept. */
self.addEventListener("message", (event) => {
  const [port] = event.ports;
  const places = event.data.keep.map(placeOf).filter(digestOf);
  const kept = Promise.all(places.map(keep)).then(
    () => port.postMessage(true),
    (error) => {
      console.warn(error); // no room, or another file by now
      port.postMessage(false);
    },
  );
  event.waitUntil(kept);
});

/** Where a file is in the page's folder; undefined elsewhere. */
function placeOf(address) {
  const url = new URL(address);
  url.search = url.hash = "";
  if (!url.href.startsWith(SCOPE)) return undefined;
  return decodeURIComponent(url.href.slice(SCOPE.length)) || "index.html";
}

function digestOf(place) {
  for (const table of [PAGE, LATER]) if (Object.hasOwn(table, place)) return table[place];
  return undefined;
}

function keyOf(place) {
  return `${new URL(place, SCOPE).href}?${digestOf(place)}`;
}

async function answer(request, place) {
  const cache = await opened;
  const kept = await cache.match(keyOf(place));
  // A model's name has its own hash, so that the one that is kept is the one that is asked for.
  if (kept && place.startsWith("models/")) return kept;
  try {
    // Servers of plain files say nothing of how long a copy holds, and browsers then take one for
    // good for a tenth of the file's age: what a server has not changed it says in a few bytes.
    const answered = await fetch(request, { cache: "no-cache" });
    if (answered.type === "opaqueredirect") return await notOurs(answered);
    if (kept && !answered.ok) return kept;
    if (request.mode === "navigate") return await ownPage(answered);
    return isolated(answered.body, answered);
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

async function ownPage(answered) {
  const text = await answered.text();
  if (text.includes(OURS)) return isolated(text, answered);
  return notOurs(new Response(text, answered));
}

/** Another site at the page's address, as localhost has many: left alone from then on. */
async function notOurs(answer) {
  await self.registration.unregister();
  return answer;
}

function isolated(body, { status, statusText, headers }) {
  const more = new Headers(headers);
  for (const [name, value] of Object.entries(ISOLATED)) more.set(name, value);
  return new Response(body, { status, statusText, headers: more });
}

/** Put a file into the cache; what is not the one of the table is an error. */
async function keep(place) {
  const cache = await opened;
  if (await cache.match(keyOf(place))) return;
  let answered = await fetch(new URL(place, SCOPE));
  let bytes = await answered.arrayBuffer();
  if ((await sha256(bytes)) !== digestOf(place)) {
    // The browser's own store may have an older one.
    answered = await fetch(new URL(place, SCOPE), { cache: "reload" });
    bytes = await answered.arrayBuffer();
  }
  if ((await sha256(bytes)) !== digestOf(place)) throw new Error(`${place} is another file`);
  const headers = new Headers();
  const type = answered.headers.get("Content-Type");
  if (type) headers.set("Content-Type", type);
  await cache.put(keyOf(place), isolated(bytes, { status: 200, statusText: "OK", headers }));
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function tidy() {
  const cache = await opened;
  const wanted = new Set([PAGE, LATER].flatMap((table) => Object.keys(table).map(keyOf)));
  for (const { url } of await cache.keys()) if (!wanted.has(url)) await cache.delete(url);
}
