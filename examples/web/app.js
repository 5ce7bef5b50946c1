// The page: a pad to draw on, pictures to open, and what LeNet-5 makes of them.
import { inkOf, SIDE, toInput } from "./digit.js";
import { info, load } from "./lenet5/lenet5.js";

const SAMPLES = [..."0123456789"].map((digit) => `digits/${digit}_a.png`);
const MOST_PIXELS = 560; // a picture is shown at this size at most
const SURE = 0.6; // the probability from which on a digit is said without doubt
const PEN = 44; // MNIST's strokes are about a tenth as wide as its digits are high

const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const bars = makeBars();
let model = null;
let inkNow = null; // how to get the ink of what is shown
let asked = false;

start();

async function start() {
  listen();
  makeSamples();
  try {
    model = await load(undefined, { onProgress: (done, total) => ($("progress").value = done / total) });
  } catch (error) {
    $("share").textContent = error.message;
    document.body.classList.add("failed");
    return;
  }
  document.body.classList.add("ready");
  clear();
  const size = Math.round(info.weightBytes / 1024).toLocaleString("en");
  $("facts").textContent = `${info.name}: ${info.params.toLocaleString("en")} parameters, ${size} KiB of weights, ` +
    `compiled to WebAssembly by cnncc ${info.compiler.cnncc}.`;
  const wanted = new URLSearchParams(location.search).get("image"); // ?image=URL opens a picture at once
  if (wanted) await openUrl(wanted);
}

// ---- drawing ----

function listen() {
  let last = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (inkNow !== drawnInk) clear();
    inkNow = drawnInk;
    last = place(event);
    stroke(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) {
      const next = place(step);
      stroke(last, next);
      last = next;
    }
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));
  $("clear").addEventListener("click", clear);
  $("file").addEventListener("change", ({ target }) => {
    if (target.files.length) openBlob(target.files[0]);
    target.value = ""; // so that the same file can be opened again
  });
  const pad = canvas.parentElement;
  pad.addEventListener("dragover", (event) => {
    event.preventDefault();
    pad.classList.add("over");
  });
  pad.addEventListener("dragleave", () => pad.classList.remove("over"));
  pad.addEventListener("drop", (event) => {
    event.preventDefault();
    pad.classList.remove("over");
    if (event.dataTransfer.files.length) openBlob(event.dataTransfer.files[0]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => inkNow === drawnInk && clear());
}

function stroke(from, to) {
  pen.strokeStyle = getComputedStyle(canvas).getPropertyValue("color");
  pen.lineWidth = PEN;
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(to[0] + 0.01, to[1]); // a line without length would leave no dot
  pen.stroke();
  document.body.classList.add("drawn");
  ask();
}

/** What the pen has covered; its colour does not matter. */
function drawnInk() {
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  return Float32Array.from({ length: canvas.width * canvas.height }, (_, i) => data[4 * i + 3]);
}

function clear() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  document.body.classList.remove("drawn");
  inkNow = null;
  show(null, null);
}

// ---- pictures ----

function makeSamples() {
  for (const url of SAMPLES) {
    const button = document.createElement("button");
    button.type = "button";
    const image = document.createElement("img");
    Object.assign(image, { src: url, alt: `A handwritten ${url.match(/\d/)[0]}` });
    button.append(image);
    button.addEventListener("click", () => openUrl(url));
    $("samples").append(button);
  }
}

async function openUrl(url) {
  const response = await fetch(url).catch((error) => ({ ok: false, statusText: error.message }));
  if (response.ok) await openBlob(await response.blob());
  else failed(`cannot read ${url}: ${response.statusText}`);
}

async function openBlob(blob) {
  let picture;
  try {
    picture = await createImageBitmap(blob);
  } catch {
    failed("this is not a picture that the browser can read");
    return;
  }
  const scale = Math.min(1, MOST_PIXELS / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const plain = new OffscreenCanvas(width, height).getContext("2d");
  plain.imageSmoothingQuality = "high";
  plain.drawImage(picture, 0, 0, width, height);
  const { data } = plain.getImageData(0, 0, width, height);
  clear();
  fit(plain.canvas);
  inkNow = () => inkOf(data, width, height);
  inkNow.size = [width, height];
  document.body.classList.add("drawn");
  ask();
}

/** Shows a picture as large as the pad allows. */
function fit(picture) {
  const scale = canvas.width / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  pen.imageSmoothingEnabled = scale < 4;
  pen.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}

function failed(message) {
  clear();
  $("share").textContent = message;
}

// ---- the network ----

/** Asks the network once for each frame that is shown, however many strokes there were. */
function ask() {
  if (asked || !model) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (!inkNow) return;
    const [width, height] = inkNow.size ?? [canvas.width, canvas.height];
    const input = toInput(inkNow(), width, height);
    if (!input) {
      // Either the pen has touched the pad outside its edge, or the picture is blank.
      const blank = inkNow === drawnInk ? "the drawing is empty" : "nothing that looks like a digit";
      failed(`not sure: ${blank}`);
      return;
    }
    const start = performance.now();
    const probabilities = model.run(input);
    show(probabilities, input, performance.now() - start);
  });
}

function makeBars() {
  return [..."0123456789"].map((digit) => {
    const row = document.createElement("li");
    row.innerHTML = `<b>${digit}</b><span><i></i></span><data></data>`;
    $("bars").append(row);
    return row;
  });
}

function verdict(best, share, sure, milliseconds) {
  const time = `in ${milliseconds.toFixed(1)} ms`;
  return sure ? `${(100 * share).toFixed(1)} % sure, ${time}` : `not sure, maybe ${best}, ${time}`;
}

function show(probabilities, input, milliseconds) {
  const best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
  const sure = best >= 0 && probabilities[best] >= SURE;
  $("digit").value = sure ? String(best) : "?";
  $("share").textContent = best < 0 ? "waiting for a digit" : verdict(best, probabilities[best], sure, milliseconds);
  bars.forEach((row, digit) => {
    const share = probabilities?.[digit] ?? 0;
    row.classList.toggle("best", digit === best);
    row.querySelector("i").style.width = `${100 * share}%`;
    const number = row.querySelector("data");
    number.value = String(share);
    number.textContent = probabilities ? `${(100 * share).toFixed(1)} %` : "";
  });
  const seen = $("seen").getContext("2d");
  seen.clearRect(0, 0, SIDE, SIDE);
  if (!input) return;
  const pixels = new ImageData(SIDE, SIDE);
  input.forEach((value, i) => pixels.data.set([value, value, value, 255], 4 * i));
  seen.putImageData(pixels, 0, 0);
}
