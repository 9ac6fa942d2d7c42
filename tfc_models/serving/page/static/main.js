// The page: compresses a chosen image with a model and with other codecs, and compares them.

import * as figures from "./figures.js";
import * as server from "./server.js";
import { Viewer } from "./viewer.js";

const OURS = "tfc-models";
const PEERS = [["jpeg", "JPEG"], ["webp", "WebP"], ["avif", "AVIF"]];
const BITSTREAM = [0xf1, 0x54, 0x43]; // First bytes of a .tfcm file.
const PAUSE = 150; // Milliseconds without a change after which a setting is applied.

const element = (id) => document.getElementById(id);
const viewer = new Viewer();
let models = [];
let largest = Infinity; // Maximum bytes of a request.
let file = null; // The image file that is shown,
let compressed = null; // or the .tfcm file.
let arriving = null; // The chosen file, until it is read.
let opening = new AbortController();
let coding = new AbortController();
let bitstreamUrl = "";
let timer = 0;
let pending = null; // Job to run after the pause.
let idle = false; // Whether all other codecs are done.

function say(text) {
  element("status").textContent = text;
}

function complain(text) {
  element("error").textContent = text;
  element("error").hidden = !text;
}

/** Runs a job and shows its error, unless a later job has aborted it. */
async function attempt(job) {
  try {
    await job();
  } catch (error) {
    if (error.name === "AbortError") return;
    say("");
    complain(error.message);
  }
}

/** Opens a chosen file: an image or a .tfcm file. */
function open(chosen, isSample = false) {
  clearTimeout(timer);
  pending = null;
  arriving = chosen;
  opening.abort();
  opening = new AbortController();
  const { signal } = opening;
  complain("");
  return attempt(async () => {
    const named = (message) => new Error(`${chosen.name}: ${message}`);
    if (!chosen.size) throw named("the file is empty.");
    if (chosen.size > largest) {
      const limit = (largest / 2 ** 20).toLocaleString("en", { maximumFractionDigits: 1 });
      throw named(`the file is larger than this server's limit of ${limit} MiB.`);
    }
    const start = new Uint8Array(await chosen.slice(0, BITSTREAM.length).arrayBuffer());
    const isBitstream = BITSTREAM.every((byte, i) => start[i] === byte);
    say(isBitstream ? "Decompressing…" : "Reading…");
    let opened;
    try {
      opened = isBitstream
        ? await server.decompress(chosen, element("model").value, decoding(), signal)
        : await server.picture(chosen, signal);
    } catch (error) {
      throw error.name === "AbortError" ? error : named(error.message);
    }
    coding.abort();
    if (!isSample) press(null);
    viewer.reset(opened.width, opened.height);
    figures.setSize(opened.width, opened.height);
    element("result").hidden = false;
    arriving = null;
    await (isBitstream ? showDecoded(chosen, opened) : showOriginal(chosen, opened));
  });
}

async function showDecoded(chosen, opened, signal = opening.signal) {
  file = null;
  compressed = chosen;
  await viewer.set("decoded", "Decompressed", opened.picture, signal);
  viewer.choose("decoded", "decoded");
  figures.wait([["model", OURS]]);
  figures.fill("model", OURS, opened.model, { bytes: opened.bytes, bpp: opened.bpp });
  offer(null, chosen.name, "decoded");
  const sharp = opened.realism ? ` Realism ${opened.realism}.` : "";
  const fast = opened.decoder === "fast" ? " Fast decoder." : "";
  element("note").textContent = `${opened.width} × ${opened.height} pixels.${sharp}${fast}`;
  element("shell").hidden = true;
  say(`Decompressed ${chosen.name}.`);
}

async function showOriginal(chosen, opened) {
  file = chosen;
  compressed = null;
  await viewer.set("original", "Original", opened.picture, opening.signal);
  viewer.choose("original", "original");
  const notes = [`${opened.width} × ${opened.height} pixels.`, ...opened.notes];
  notes.push("The other codecs use the quality with the nearest file size.");
  element("note").textContent = notes.join(" ");
  await code();
}

/** Returns the settings of the decoder, as far as the model has these decoders. */
function decoding() {
  const model = models.find((one) => one.name === element("model").value);
  if (model?.fast && element("fast").checked) return { decoder: "fast", realism: 0 };
  return { decoder: "full", realism: model?.realism ? element("realism").value / 100 : 0 };
}

/** Compresses the image with the model, then with the other codecs (none: model only). */
async function code(peers = PEERS) {
  if (!file) return;
  coding.abort();
  coding = new AbortController();
  const { signal } = coding;
  const model = models.find((one) => one.name === element("model").value);
  if (!model) throw new Error("The server has no image compression model.");
  const quality = model.many_rates ? element("quality").value : null;
  say("Compressing…");
  complain("");
  idle = idle && !peers.length;
  if (peers.length) figures.wait([["model", OURS], ...peers]);
  const decoder = decoding();
  const coded = await server.compress(file, model.name, quality, decoder, signal);
  const first = !viewer.url("model");
  await viewer.set("model", OURS, coded.picture, signal);
  if (first) viewer.choose("original", "model");
  const settings = [model.name];
  if (quality !== null) settings.push(`quality ${quality}`);
  if (decoder.realism) settings.push(`realism ${decoder.realism}`);
  if (decoder.decoder === "fast") settings.push("fast decoder");
  figures.fill("model", OURS, settings.join(", "), coded);
  offer(coded.bitstream, file.name, "model");
  showCommand(model.name, quality, decoder);
  if (peers.length) {
    say(`Compressing with other codecs to about ${coded.bytes.toLocaleString("en")} bytes…`);
  }
  await Promise.all(peers.map((peer) => codeWith(...peer, coded.bytes, signal)));
  idle = true;
  say(`Compressed ${file.name} to ${coded.bytes.toLocaleString("en")} bytes.`);
}

async function codeWith(name, title, size, signal) {
  try {
    const coded = await server.peer(file, name, size, signal);
    await viewer.set(name, title, coded.picture, signal);
    figures.fill(name, title, coded.label, coded);
  } catch (error) {
    if (signal.aborted) throw new DOMException("", "AbortError");
    viewer.remove(name);
    figures.fail(name, title, error.message);
  }
}

/** Sets the download links. */
function offer(bitstream, name, shown) {
  const stem = name.replace(/\.[^.]*$/, "");
  URL.revokeObjectURL(bitstreamUrl);
  bitstreamUrl = bitstream ? URL.createObjectURL(bitstream) : "";
  element("bitstream").hidden = !bitstream;
  element("bitstream").href = bitstreamUrl;
  element("bitstream").download = `${stem}.tfcm`;
  element("png").href = viewer.url(shown);
  element("png").download = `${stem}.png`;
}

function showCommand(model, quality, decoder) {
  const client = `python -m serving.client --server ${location.origin} --model ${model}`;
  const there = quality === null ? "" : ` --quality ${quality}`;
  let back = decoder.realism ? ` --realism ${decoder.realism}` : "";
  if (decoder.decoder === "fast") back = " --decoder fast";
  element("command").textContent =
    `${client}${there} compress photo.png\n${client}${back} decompress photo.tfcm`;
  element("shell").hidden = false;
}

function press(pressed) {
  for (const button of element("samples").children) {
    button.ariaPressed = String(button === pressed);
  }
}

async function chooseSample(button, name) {
  press(button);
  await attempt(async () => open(await server.sample(name), true));
}

function showRate() {
  const model = models.find((one) => one.name === element("model").value);
  element("quality-label").hidden = element("quality-row").hidden = !model?.many_rates;
  element("realism-label").hidden = element("realism-row").hidden = !model?.realism;
  element("fast-label").hidden = element("fast-row").hidden = !model?.fast;
  element("realism").disabled = Boolean(model?.fast) && element("fast").checked;
}

/** Runs a job after a pause without changes. A pending `refresh` has priority over other jobs. */
function settle(job) {
  clearTimeout(timer);
  pending = pending === refresh ? refresh : job;
  timer = setTimeout(() => {
    const last = pending;
    pending = null;
    attempt(() => last());
  }, PAUSE);
}

/** Applies all settings. */
async function refresh() {
  if (arriving) return open(arriving);
  return compressed ? showAgain() : code();
}

/** Applies the decoder's settings. */
async function decodeAgain() {
  if (arriving || compressed) return refresh();
  // If the other codecs were not done, they start again.
  return code(idle ? [] : PEERS);
}

/** Decompresses the .tfcm file again. Zoom and divider do not change. */
async function showAgain() {
  coding.abort();
  coding = new AbortController();
  const { signal } = coding;
  say("Decompressing…");
  complain("");
  const opened = await server.decompress(compressed, element("model").value, decoding(), signal);
  await showDecoded(compressed, opened, signal);
}

function listen() {
  element("file").addEventListener("change", (event) => {
    const [chosen] = event.target.files;
    event.target.value = ""; // So that choosing the same file again is a change.
    if (chosen) open(chosen);
  });
  element("quality").addEventListener("input", () => {
    element("quality-value").textContent = element("quality").value;
    settle(refresh);
  });
  element("realism").addEventListener("input", () => {
    element("realism-value").textContent = (element("realism").value / 100).toFixed(2);
    settle(decodeAgain);
  });
  element("fast").addEventListener("change", () => {
    showRate();
    settle(decodeAgain);
  });
  element("model").addEventListener("change", () => {
    showRate();
    settle(refresh);
  });
  const dragging = (on) => document.body.classList.toggle("dragging", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    dragging(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) dragging(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dragging(false);
    const [dropped] = event.dataTransfer.files;
    if (dropped) open(dropped);
  });
  document.addEventListener("paste", (event) => {
    const [pasted] = event.clipboardData.files;
    if (pasted) open(pasted);
  });
}

async function start() {
  listen();
  const answer = await server.served();
  models = answer.models;
  largest = answer.max_bytes;
  figures.setMetrics(answer.metrics);
  element("model").replaceChildren(...models.map((one) => new Option(one.name)));
  showRate();
  if (!models.length) throw new Error("The server has no image compression model.");
  const names = await server.sampleNames();
  const buttons = names.map((name) => {
    const button = document.createElement("button");
    const image = new Image();
    image.src = server.sampleAddress(name);
    image.alt = `Sample image ${name}`;
    button.type = "button";
    button.append(image);
    button.addEventListener("click", () => chooseSample(button, name));
    return button;
  });
  element("samples").replaceChildren(...buttons);
  element("samples").hidden = !buttons.length;
  press(null);
  // Shows a sample immediately, unless the user has chosen a file already.
  if (buttons.length && !file) await chooseSample(buttons[0], names[0]);
}

attempt(start);
