// The page: controls, a drawing, and the outputs of the networks. Only the latest drawing is run; older ones
// are skipped.

import { Camera } from "./camera.js";
import { Drawing } from "./drawing.js";
import { chooseProvider, Network, PROVIDERS, REMEMBERED } from "./network.js";
import { decode, encode } from "./share.js";

const $ = (id) => document.getElementById(id);

const TOOLS = {
  brush: ["Brush", "B", "m4 20 1-4L16 5l3 3L8 19zM14 7l3 3"],
  eraser: ["Eraser", "E", "m4 15 9-9 6 6-8 8H8zM9 10l6 6M11 20h9"],
  line: ["Line", "L", "M5 19 19 5"],
  rectangle: ["Rectangle", "R", "M4 6h16v12H4z"],
  fill: ["Fill", "F", "m11 4 7 7-7 7-7-7 7-7zM4 11h14M20 15c1.5 2 2 3 2 3.7a2 2 0 0 1-4 0c0-.7.5-1.700 2-3.700"],
};
const PALETTE_NAMES = { builtin: "Built-in maps", maps: "Web maps", colours: "General" };
// From this width in pixels on there is room for all networks side by side.
const WIDE = 900;
const SHARED = "#d="; // the end of an address that holds a drawing
// Initial stroke width as a fraction of the image width. On maps, streets are about ten metres wide.
const WIDTHS = { map: 0.05, photo: 0.03, edges: 0.008 };

let task, drawing, networks, camera;
let current; // the network on show
let together = false; // all networks side by side, instead of the current one alone
let pointer = null; // id of the pointer (finger, mouse or pen) that draws
let rateShown = 0; // when the camera's rate was written [ms]
let key = null; // {x, y, down}: the pen that the keyboard moves, in image pixels
let hiding; // timer of the sentence at the bottom
let told; // what the service worker was told last
let examplesAsked = 0; // of several that load, the last one is shown

// --------------------------------------------------------------------------------------------------------
// Frames

const working = () => networks.filter((network) => !network.failed);
const shown = () => (together ? working() : [current]);
const canvasOf = (network) => $(`output-${network.facts.name}`);

function drawingChanged() {
  for (const network of networks) {
    network.stale = true;
    network.counted = false;
  }
  for (const network of shown()) canvasOf(network).setAttribute("aria-busy", "true");
  showUndo();
  // A link in the address bar is that of one drawing.
  if (location.hash.startsWith(SHARED)) history.replaceState(null, "", location.pathname + location.search);
  nextFrames();
}

function showUndo() {
  $("undo").setAttribute("aria-disabled", String(!drawing.past.length && !drawing.stroke));
  $("redo").setAttribute("aria-disabled", String(!drawing.future.length));
}

function nextFrames() {
  shown().forEach(nextFrame);
}

// Starts a frame of a network, unless it is running one; the end of that frame calls this again. A frame
// that only measures time waits until nobody draws and no other network runs. Times of frames that overlap
// do not count.
async function nextFrame(network) {
  if (network.busy) return;
  const others = networks.filter((other) => other !== network && other.busy);
  if (!network.stale && (!network.measuring || others.length || camera.live || pointer !== null)) return;
  network.stale = false;
  network.crowded = others.length > 0;
  for (const other of others) other.crowded = true;
  const card = $(`card-${network.facts.name}`);
  try {
    if (!network.ready) {
      card.dataset.state = "loading";
      showSpeed();
    }
    const output = await network.run(drawing.pixels);
    if (card.dataset.state) say(`${network.facts.label}: ready`, true);
    delete card.dataset.state;
    if (network.why && network.why !== network.told) say(`WebGPU is not used: ${network.why}`, true);
    network.told = network.why;
    if (!network.crowded) network.count();
    if (shown().includes(network)) {
      const canvas = canvasOf(network);
      canvas.getContext("2d", { alpha: false }).putImageData(output, 0, 0);
      if (!network.stale) canvas.setAttribute("aria-busy", "false");
      if (camera.live && network === shown().at(-1)) camera.count(performance.now());
    }
    showSpeed();
    keepOffline();
  } catch (error) {
    failed(network, error);
    return;
  }
  nextFrames();
  showCamera();
}

function failed(network, error) {
  stopCamera();
  const { name, label, file } = network.facts;
  const reason = navigator.onLine ? error.message : "it is not on this device yet, and there is no network";
  const text = `${label}: could not run, ${reason}.`;
  network.failed = true;
  if (network === networks[0]) {
    // Without the first network there is nothing to show.
    window.showMessage([text, new URL(file, location.href).href, "Reload to try again. If that does not help, use a current browser."]);
    return;
  }
  $(`network-${name}`).disabled = true;
  $(`card-${name}`).dataset.state = "failed";
  say(text);
  if (current === network) choose(networks[0]);
  showView();
  showSpeed();
  nextFrames();
}

// --------------------------------------------------------------------------------------------------------
// Networks and their speed

const size = (bytes) => `${(bytes / 1e6).toPrecision(bytes < 1e7 ? 2 : 3)} MB`;
const digits = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(value >= 1 ? 3 : 2));

function facts({ parameters, macs, bytes, figures }) {
  const parts = [`${digits(parameters / 1e6)}M parameters`];
  if (macs) parts.push(`${digits(macs / 1e9)}G MACs`);
  parts.push(size(bytes));
  for (const [name, value] of Object.entries(figures)) parts.push(`${name.toUpperCase()} ${digits(value)}`);
  return parts.join(" · ");
}

function makeNetworks(model) {
  const choice = chooseProvider(model.webgpu);
  networks = task.networks.map((facts) => new Network(facts, model.runtime, choice));
  current = networks[0];
  if (networks.length > 1) addChoice("all", "All", "All side by side (V)", () => setTogether(true));
  for (const network of networks) {
    const { name, label, config } = network.facts;
    addChoice(name, label.split(" ")[0], label, () => choose(network));
    const canvas = element("canvas", { id: `output-${name}`, width: task.size, height: task.size });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Output: ${label}`);
    canvas.setAttribute("aria-busy", "true");
    const frame = element("div", { className: "frame" });
    frame.append(canvas);
    const card = element("label", { className: "card", id: `card-${name}`, htmlFor: `network-${name}`, title: config ?? "" });
    const [first, ...rest] = label.split(" ");
    const called = element("span", { className: "name", textContent: first });
    if (rest.length) called.append(element("span", { className: "rest", textContent: ` ${rest.join(" ")}` }));
    card.append(
      called,
      element("span", { className: "time", id: `time-${name}`, textContent: "–" }),
      element("span", { className: "fps", id: `fps-${name}` }),
      element("span", { className: "track" }),
      element("span", { className: "against", id: `against-${name}` }),
      element("span", { className: "provider", id: `provider-${name}` }),
      element("span", { className: "facts", textContent: facts(network.facts) }),
    );
    card.querySelector(".track").append(element("span", { className: "fill" }));
    const figure = element("div", { className: `network ${name === "teacher" ? "teacher" : ""}`, id: `figure-${name}` });
    figure.append(frame, card);
    $("outputs").append(figure);
  }
  $("app").style.setProperty("--networks", networks.length);
  $("view").hidden = networks.length < 2;
  // Whether all were shown last; for the visit alone.
  const stored = remembered();
  together = networks.length > 1 && innerWidth >= WIDE && (stored === "all" || (!stored && task.together));
  current = networks.find((network) => network.facts.name === stored) ?? networks[0];
  showView();
}

function addChoice(name, text, title, act) {
  const radio = element("input", { type: "radio", name: "network", id: `network-${name}` });
  radio.setAttribute("aria-label", name === "all" ? "All side by side" : title);
  radio.addEventListener("change", act);
  $("view").append(radio, element("label", { htmlFor: radio.id, title, textContent: text, className: name === "all" ? "all" : "" }));
}

// Browsers may forbid pages to store anything.
function remembered() {
  try {
    return sessionStorage.getItem("view");
  } catch {
    return null;
  }
}

function showView() {
  $("app").classList.toggle("together", together);
  const name = together ? "all" : current.facts.name;
  if ($(`network-${name}`)) $(`network-${name}`).checked = true;
  for (const network of networks) $(`figure-${network.facts.name}`).classList.toggle("shown", shown().includes(network));
  try {
    sessionStorage.setItem("view", name);
  } catch {
    // Then the next task starts anew.
  }
}

function choose(network) {
  if (network.failed || (!together && network === current)) return;
  current = network;
  together = false;
  showView();
  drawingChanged();
}

// The network ``step`` places after the current one, of those that run.
function chooseNext(step) {
  const all = working();
  choose(all[(all.indexOf(current) + step + all.length) % all.length]);
}

function setTogether(on) {
  if (networks.length < 2 || on === together) return;
  together = on;
  showView();
  drawingChanged();
}

function showSpeed() {
  const slowest = Math.max(...networks.map((network) => network.median ?? 0));
  const teacher = networks.find((network) => network.facts.name === "teacher");
  for (const network of networks) {
    const { name } = network.facts;
    const { median } = network;
    const { state } = $(`card-${name}`).dataset;
    const known = median !== undefined;
    $(`provider-${name}`).textContent = PROVIDERS[network.provider] ?? "";
    $(`time-${name}`).textContent = known ? `${digits(median)} ms` : state === "loading" ? "loading" : "–";
    $(`fps-${name}`).textContent = known ? `${(1000 / median).toFixed(median > 100 ? 1 : 0)} fps` : "";
    $(`card-${name}`).querySelector(".fill").style.width = known ? `${(100 * median) / slowest}%` : "0";
    let against = network === teacher && networks.length > 1 ? "the original" : "";
    if (state === "failed") against = "could not run";
    else if (teacher && network !== teacher && known && teacher.median !== undefined) {
      const ratio = teacher.median / median;
      against = ratio >= 1.05 ? `${ratio.toFixed(1)}× as fast` : "no faster here";
    }
    $(`against-${name}`).textContent = against;
  }
  const found = networks.find((network) => network.why);
  const note = found ? ` WebGPU is not used: ${found.why}.` : "";
  const sees = teacher && teacher.median === undefined && !together ? " Choose All to compare them." : "";
  $("measured").textContent = `Time per frame while it runs alone, median of the last ${REMEMBERED}.${sees}${note}`;
}

// --------------------------------------------------------------------------------------------------------
// Tools and colours

function makeTools() {
  const names = task.mode === "edges" ? ["brush", "eraser", "line"] : Object.keys(TOOLS);
  for (const name of names) {
    const [text, shortcut, path] = TOOLS[name];
    const button = element("button", { type: "button", id: `tool-${name}`, title: `${text} (${shortcut})` });
    button.setAttribute("aria-label", text);
    button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;
    button.addEventListener("click", () => setTool(name));
    $("tools").append(button);
  }
  setTool("brush");
  const width = $("width");
  width.max = Math.max(4, Math.round(task.size / 5));
  width.addEventListener("input", () => setWidth(width.valueAsNumber));
  setWidth(Math.max(1, Math.round(task.size * WIDTHS[task.mode])));
}

function setTool(name) {
  if (!$(`tool-${name}`)) return;
  liftKey();
  drawing.end();
  drawing.tool = name;
  for (const button of $("tools").children) button.setAttribute("aria-pressed", String(button.id === `tool-${name}`));
  placeCursor();
}

function setWidth(value) {
  const width = $("width");
  width.value = value;
  drawing.width = width.valueAsNumber;
  $("width-value").value = `${width.value} px`;
  placeCursor();
}

function makePalette() {
  $("palette-box").hidden = task.mode === "edges";
  const choice = $("palette-name");
  for (const [i, { name }] of task.palettes.entries()) choice.add(new Option(PALETTE_NAMES[name] ?? name, i));
  choice.hidden = task.palettes.length < 2;
  choice.addEventListener("change", () => setPalette(task.palettes[choice.value].colours));
  setPalette(task.palettes[0].colours);
}

function makePicker() {
  const picker = element("input", { type: "color", id: "any-colour", title: "Any colour" });
  picker.setAttribute("aria-label", "Any colour");
  picker.addEventListener("input", () => {
    const rgb = [1, 3, 5].map((at) => parseInt(picker.value.slice(at, at + 2), 16));
    setColour({ name: `Colour ${picker.value}`, rgb });
  });
  return picker;
}

function setPalette(colours) {
  drawing.background = colours[0].rgb;
  const picker = $("any-colour") ?? makePicker();
  $("palette").replaceChildren(
    ...colours.map((colour, i) => {
      const title = i < 9 ? `${colour.name} (${i + 1})` : colour.name;
      const button = element("button", { type: "button", title });
      button.setAttribute("aria-label", colour.name);
      button.style.setProperty("--colour", `rgb(${colour.rgb.join(" ")})`);
      if (colour.edge) button.style.setProperty("--edge", `rgb(${colour.edge.join(" ")})`);
      button.addEventListener("click", () => setColour(colour, button));
      return button;
    }),
    picker,
  );
  setColour(colours[1], $("palette").children[1]);
}

// button: the one in the palette; none for a colour from the picker.
function setColour(colour, button) {
  liftKey();
  drawing.colour = colour;
  for (const other of $("palette").querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
  $("colour-name").textContent = colour.name;
  $("any-colour").value = `#${colour.rgb.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  if (drawing.tool === "eraser") setTool("brush");
}

// --------------------------------------------------------------------------------------------------------
// The camera

function makeCamera() {
  for (const part of document.querySelectorAll(".photo")) part.hidden = task.mode !== "photo";
  camera = new Camera($("video"), showCamera, () => {
    cameraStopped();
    note("The camera was disconnected.");
  });
  $("camera").addEventListener("click", () => (camera.live ? stopCamera() : startCamera()));
  $("camera-stop").addEventListener("click", () => {
    stopCamera();
    $("camera").focus({ preventScroll: true });
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stopCamera();
  });
}

async function startCamera() {
  note("");
  liftKey();
  drawing.cancel();
  $("camera").disabled = true; // while the browser asks
  camera.first = true;
  try {
    if (!(await camera.start(task.size))) return;
    cameraShown(true);
    say("Camera started");
  } catch (error) {
    note(error.message);
  } finally {
    $("camera").disabled = false;
  }
}

function stopCamera() {
  const { live } = camera;
  camera.stop();
  if (!live) return;
  cameraStopped();
  say("Camera stopped");
}

function cameraStopped() {
  cameraShown(false);
  nextFrames(); // the measurement goes on
}

function cameraShown(live) {
  $("camera-label").textContent = live ? "Stop the camera" : "Camera";
  $("camera-stop").hidden = $("rate").hidden = !live;
  $("rate").textContent = "Camera: –";
  document.body.classList.toggle("live", live);
}

// Draws the latest frame, unless a network still runs an older one.
function showCamera() {
  if (!camera.fresh || shown().some((network) => network.busy || network.stale)) return;
  camera.fresh = false;
  drawing.showFrame(camera.video, camera.first);
  camera.first = false;
  // Twice a second can be read.
  if (!camera.rate || performance.now() - rateShown < 500) return;
  rateShown = performance.now();
  $("rate").textContent = `Camera: ${digits(camera.rate)} frames/s`;
}

function note(text) {
  $("camera-note").textContent = text;
  $("camera-note").hidden = !text;
}

// --------------------------------------------------------------------------------------------------------
// The pointer on the canvas

function position(event) {
  const box = $("input").getBoundingClientRect();
  const scale = task.size / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function makePointer() {
  const canvas = $("input");
  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    stopCamera();
    liftKey();
    key = null;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    document.body.classList.add("drawing");
    drawing.begin(...position(event));
    canvas.focus({ preventScroll: true });
    hover(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    hover(event);
    if (event.pointerId !== pointer) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    drawing.move((passed.length ? passed : [event]).map(position));
  });
  const lift = (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    document.body.classList.remove("drawing");
    if (event.type === "pointercancel") drawing.cancel();
    else drawing.end();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => {
    if (!key) $("cursor").hidden = true;
  });
}

function hover(event) {
  if (event.pointerType === "touch" || key?.down) return;
  key = null;
  cursorAt(...position(event), false);
}

// Shows the ring of the brush at (x, y), in image pixels.
function cursorAt(x, y, pressed) {
  const cursor = $("cursor");
  cursor.hidden = false;
  cursor.dataset.x = x;
  cursor.dataset.y = y;
  cursor.classList.toggle("key", key !== null);
  cursor.classList.toggle("down", pressed);
  placeCursor();
}

function placeCursor() {
  const cursor = $("cursor");
  if (cursor.hidden) return;
  const round = ["brush", "eraser", "line"].includes(drawing.tool);
  const part = (value) => `${(100 * value) / task.size}%`;
  cursor.style.left = part(cursor.dataset.x);
  cursor.style.top = part(cursor.dataset.y);
  cursor.style.width = round ? part(drawing.width) : "0";
}

// --------------------------------------------------------------------------------------------------------
// The keyboard

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function liftKey() {
  if (!key?.down) return;
  key.down = false;
  drawing.end();
  cursorAt(key.x, key.y, false);
  say("Pen up");
}

function canvasKey(event) {
  const arrow = ARROWS[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || !(arrow || event.key === " " || event.key === "Enter" || event.key === "Escape")) return;
  event.preventDefault();
  if (pointer !== null) return;
  key ??= { x: task.size / 2, y: task.size / 2, down: false };
  if (arrow) {
    const step = Math.max(1, task.size / (event.shiftKey ? 8 : 64));
    const inside = (value) => Math.min(task.size, Math.max(0, value));
    [key.x, key.y] = [inside(key.x + arrow[0] * step), inside(key.y + arrow[1] * step)];
    if (key.down) drawing.move([[key.x, key.y]]);
    cursorAt(key.x, key.y, key.down);
  } else if (event.key === "Escape") {
    drawing.cancel();
    key.down = false;
    cursorAt(key.x, key.y, false);
    say("Stroke cancelled");
  } else if (key.down) {
    liftKey();
  } else {
    stopCamera();
    drawing.begin(key.x, key.y);
    key.down = drawing.stroke !== null;
    cursorAt(key.x, key.y, key.down);
    say(key.down ? "Pen down" : "Filled");
  }
}

const SHORTCUTS = {
  b: () => setTool("brush"),
  e: () => setTool("eraser"),
  l: () => setTool("line"),
  r: () => setTool("rectangle"),
  f: () => setTool("fill"),
  "[": () => setWidth(drawing.width - 1),
  "]": () => setWidth(drawing.width + 1),
  c: () => choose(networks[0]),
  t: () => choose(networks.at(-1)),
  n: () => chooseNext(1),
  N: () => chooseNext(-1),
  v: () => setTogether(!together),
  k: () => share(),
  o: () => $("file").click(),
  p: () => task.mode === "photo" && $("camera").click(),
  s: () => save(false),
  S: () => save(true),
  Delete: () => $("clear").click(),
};

function pageKey(event) {
  const command = event.ctrlKey || event.metaKey;
  if (event.altKey || event.defaultPrevented || event.target.closest("select, [type=color]")) return;
  if (command && event.key.toLowerCase() === "z") (event.shiftKey ? $("redo") : $("undo")).click();
  else if (command && event.key.toLowerCase() === "y") $("redo").click();
  else if (command) return;
  else if (/^[1-9]$/.test(event.key)) $("palette").querySelectorAll("button")[event.key - 1]?.click();
  else if (SHORTCUTS[event.key] ?? SHORTCUTS[event.key.toLowerCase()]) (SHORTCUTS[event.key] ?? SHORTCUTS[event.key.toLowerCase()])();
  else return;
  event.preventDefault();
}

// --------------------------------------------------------------------------------------------------------
// Images in and out

async function openImage(blob, announced = true) {
  try {
    // Read the values in the file without colour conversion, as training does.
    const image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    // Of a pair side by side, take the half that this network reads, as deploy/web/folder.py does.
    const pair = image.width === 2 * image.height;
    const part = pair ? (task.mode === "map" ? "right" : "left") : "middle";
    stopCamera();
    drawing.show(image, part);
    if (announced) say(pair ? `This is a pair of images: took its ${part} half` : "Image opened");
    image.close();
  } catch {
    say("This browser cannot read that file as an image");
  }
}

function makeExamples() {
  for (const [i, { drawing: file, output }] of task.examples.entries()) {
    const name = `Example ${i + 1}`;
    const button = element("button", { type: "button", title: name });
    button.setAttribute("aria-label", name);
    for (const src of [file, output]) {
      button.append(element("img", { src, alt: "", width: 64, height: 64, loading: "lazy", decoding: "async" }));
    }
    button.addEventListener("click", () => openExample(i, true));
    $("examples").append(button);
  }
  document.querySelector(".gallery").hidden = !task.examples.length;
}

async function openExample(i, announced) {
  const mine = ++examplesAsked;
  const answer = await fetch(task.examples[i].drawing).catch(() => null);
  if (mine !== examplesAsked) return;
  if (answer?.ok) await openImage(await answer.blob(), announced);
  else say("The example could not be loaded. Reload the page to try again");
}

function makeFiles() {
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files[0]) openImage($("file").files[0]);
    $("file").value = "";
  });
  const imageOf = (transfer) => [...(transfer?.files ?? [])][0];
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = imageOf(event.dataTransfer);
    if (file) openImage(file);
  });
  document.addEventListener("paste", (event) => {
    const file = imageOf(event.clipboardData);
    if (file) openImage(file);
  });
  $("save").addEventListener("click", () => save(false));
  $("save-both").addEventListener("click", () => save(true));
  $("share").addEventListener("click", share);
}

// Saves the outputs on show side by side in one PNG, with the drawing before them if ``withDrawing``.
function save(withDrawing) {
  const { size } = task;
  const canvases = [...(withDrawing ? [$("input")] : []), ...shown().map(canvasOf)];
  const sheet = element("canvas", { width: canvases.length * size, height: size });
  const context = sheet.getContext("2d", { alpha: false });
  canvases.forEach((canvas, i) => context.drawImage(canvas, i * size, 0));
  const name = together ? "side-by-side" : current.facts.name;
  sheet.toBlob((blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: `${withDrawing ? "pair" : "output"}-${name}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Saved ${link.download}`);
  }, "image/png");
}

// Until the first network is loaded, its output for the first example is that of the gallery.
async function showPreview() {
  const answer = task.examples.length ? await fetch(task.examples[0].output).catch(() => null) : null;
  if (!answer?.ok) return;
  const image = await createImageBitmap(await answer.blob());
  if (!networks[0].ready) canvasOf(networks[0]).getContext("2d", { alpha: false }).drawImage(image, 0, 0, task.size, task.size);
  image.close();
}

// --------------------------------------------------------------------------------------------------------
// Links that hold a drawing

async function share() {
  liftKey();
  let text, reduced;
  try {
    ({ text, reduced } = await encode(drawing.pixels));
  } catch (error) {
    say(error.message);
    return;
  }
  const url = new URL(location.href);
  url.hash = SHARED + text;
  if ($("tasks").childElementCount) url.searchParams.set("task", task.name);
  history.replaceState(null, "", url);
  const merged = reduced ? `; its colours were reduced to ${reduced}` : "";
  const data = { title: document.title, url: url.href };
  try {
    if (navigator.canShare?.(data)) {
      await navigator.share(data);
      say(`Link shared${merged}`);
      return;
    }
  } catch (error) {
    if (error.name === "AbortError") return; // the visitor changed their mind
  }
  try {
    await navigator.clipboard.writeText(url.href);
    say(`Link copied${merged}`);
  } catch {
    say(`The link is in the address bar: copy it there${merged}`);
  }
}

// Shows the drawing of the address. Returns whether there was one.
async function openShared() {
  if (!location.hash.startsWith(SHARED)) return false;
  const { hash } = location;
  try {
    const image = await createImageBitmap(await decode(hash.slice(SHARED.length)));
    stopCamera();
    drawing.show(image);
    image.close();
    history.replaceState(null, "", hash); // it is still this drawing's
    say("This drawing came with the link");
    return true;
  } catch (error) {
    say(error.message);
    return false;
  }
}

// --------------------------------------------------------------------------------------------------------
// Without a network, and as an app

// Lets the service worker keep the page, once its networks are loaded, so that nobody waits for that.
async function keepOffline() {
  if (!shown().every((network) => network.ready) || !navigator.serviceWorker) return;
  const used = working().filter((network) => network.ready);
  const message = { used: used.map((network) => network.file), webgpu: used.some((network) => network.provider === "webgpu") };
  const names = JSON.stringify(message);
  if (names === told) return;
  told = names;
  try {
    await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
    const { active } = await navigator.serviceWorker.ready;
    active.postMessage(message);
    $("offline").hidden = false;
  } catch {
    // Browsers allow this to pages from https and localhost, and not in every private window.
  }
}

function makeInstall() {
  let prompt = null;
  // A page that was built again has a worker of its own, which was told nothing.
  navigator.serviceWorker?.addEventListener("controllerchange", () => {
    told = undefined;
    keepOffline();
  });
  window.addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    prompt = event;
    $("install").hidden = false;
  });
  $("install").addEventListener("click", () => {
    prompt?.prompt();
    $("install").hidden = true;
  });
  // A network that could not be loaded may be there now.
  window.addEventListener("online", () => {
    for (const network of networks.filter((network) => network.failed)) {
      network.failed = false;
      network.loaded = undefined;
      $(`network-${network.facts.name}`).disabled = false;
      delete $(`card-${network.facts.name}`).dataset.state;
    }
    showView();
    drawingChanged();
  });
}

// --------------------------------------------------------------------------------------------------------
// The start

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

// quiet: for screen readers alone
function say(text, quiet = false) {
  const status = $("status");
  status.textContent = text;
  clearTimeout(hiding);
  status.classList.toggle("visible", !quiet && text !== "");
  hiding = setTimeout(() => status.classList.remove("visible"), 6000);
}

function makeTasks(model) {
  const asked = new URLSearchParams(location.search).get("task");
  task = model.tasks.find(({ name }) => name === asked) ?? model.tasks[0];
  if (model.tasks.length > 1) {
    for (const { name, title } of model.tasks) {
      const url = new URL(location.href);
      url.searchParams.set("task", name);
      url.hash = "";
      const link = element("a", { href: url.href, textContent: title });
      if (name === task.name) link.setAttribute("aria-current", "page");
      $("tasks").append(link);
    }
    $("tasks").hidden = false;
    document.body.classList.add("several");
  }
  $("title").textContent = model.title;
  document.title = model.tasks.length > 1 ? `${task.title} · ${model.title}` : model.title;
  document.body.dataset.mode = task.mode;
  if (task.mode === "photo") $("draw-heading").textContent = "Photo";
  return asked !== null && asked !== task.name ? `This page has no task ${asked}: here is ${task.title}` : null;
}

// On phones all buttons are in one row, above the drawing.
function placeActions() {
  const narrow = matchMedia("(max-width: 620px)");
  const place = () => $(narrow.matches ? "draw-bar" : "output-bar").append($("actions"));
  narrow.addEventListener("change", place);
  place();
}

async function start() {
  const model = await (await fetch("model.json", { cache: "no-cache" })).json();
  const unknown = makeTasks(model);
  $("input").width = $("input").height = task.size;
  makeNetworks(model);
  placeActions();
  makeCamera();
  drawing = new Drawing($("input"), task.palettes[0].colours[0].rgb, () => drawing && drawingChanged()); // not during its constructor
  makeTools();
  makePalette();
  makePointer();
  makeFiles();
  makeInstall();
  $("input").addEventListener("keydown", canvasKey);
  $("input").addEventListener("blur", liftKey);
  document.addEventListener("keydown", pageKey);
  window.addEventListener("hashchange", openShared);
  for (const [id, act] of [["undo", () => drawing.undo()], ["redo", () => drawing.redo()], ["clear", () => drawing.clear()]]) {
    $(id).addEventListener("click", () => {
      stopCamera();
      liftKey();
      act();
    });
  }
  makeExamples();
  $("app").hidden = false;
  showSpeed();
  if (unknown) say(unknown);
  if (!(await openShared())) {
    showPreview();
    if (task.examples.length) await openExample(0, false);
  }
  for (const network of networks) network.sample ??= drawing.pixels;
  // What was drawn while the example loaded can be brought back.
  if (drawing.past.length < 2) drawing.past = [];
  showUndo();
  if (!networks.some((network) => network.busy || network.ready)) drawingChanged();
}

if (!window.cannotRun) {
  start().catch((error) => window.showMessage([`The page could not start: ${error.message}`, location.href, "Reload to try again."]));
}
