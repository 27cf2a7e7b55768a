// The service worker: keeps the page on the device, so that it opens and runs without a network.
//
// Small files are asked of the server first, so that a page that was built again shows at once. Large ones
// have addresses that change with their content, so a kept one is never asked for again.

importScripts("files.js"); // written by deploy/web/offline.py

const { version, small, large, later } = self.FILES;
const SCOPE = self.registration.scope;
// Pages of one host share its caches: names begin with the page's address.
const SMALL = `${SCOPE} ${version}`;
const LARGE = `${SCOPE} large`;

const full = (names) => new Set(names.map((name) => new URL(name, SCOPE).href));
const smallFiles = full(small);
const largeFiles = full([...large, ...later]);

// Browsers may hold an old copy of a file from before the page was built again.
const fresh = (url) => new Request(url, { cache: "no-cache" });

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));

async function install() {
  await (await caches.open(SMALL)).addAll([...smallFiles].map(fresh));
  await keep(full(large));
  await self.skipWaiting();
}

async function keep(urls) {
  const cache = await caches.open(LARGE);
  for (const url of urls) if (!(await cache.match(url))) await cache.add(fresh(url));
}

async function activate() {
  for (const name of await caches.keys()) {
    if (name.startsWith(`${SCOPE} `) && name !== SMALL && name !== LARGE) await caches.delete(name);
  }
  const cache = await caches.open(LARGE);
  for (const { url } of await cache.keys()) if (!largeFiles.has(url)) await cache.delete(url);
  await self.clients.claim();
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(SCOPE)) return;
  event.respondWith(largeFiles.has(request.url) ? fromCache(request) : fromNetwork(request));
});

// An answer is given where there is no room to keep it, too.
const put = (cache, url, answer) => cache.put(url, answer).catch(() => {});

async function fromCache(request) {
  const cache = await caches.open(LARGE);
  const kept = await cache.match(request.url);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) await put(cache, request.url, answer.clone());
  return answer;
}

async function fromNetwork(request) {
  const cache = await caches.open(SMALL);
  // One page stands at all addresses that differ in ?task=NAME alone.
  const url = new URL(request.url);
  url.search = url.hash = "";
  try {
    const answer = await fetch(request);
    if (answer.ok && !answer.redirected && smallFiles.has(url.href)) await put(cache, url.href, answer.clone());
    return answer;
  } catch (error) {
    const kept = await cache.match(url.href);
    if (kept) return kept;
    throw error;
  }
}

// At the first visit files are loaded before this worker runs. The page says which ones of ``later`` it uses.
self.addEventListener("message", (event) => {
  const { used, webgpu } = event.data;
  const runtime = webgpu ? later.filter((name) => name.startsWith("ort/")) : [];
  event.waitUntil(keep([...full([...used, ...runtime])].filter((url) => largeFiles.has(url))));
});
