// @NAME@, compiled by cnncc to WebAssembly. Generated; do not edit.
//
//   import { load } from "./@NAME@.js";
//   const model = await load();
//   const output = model.run(input);          // @EXAMPLE@
//
// For browsers, workers, Node and bundlers; it needs nothing else. See @NAME@.d.ts for the types.

/** What was compiled: names, shapes, sizes in bytes, versions. */
export const info = @INFO@;

/** The arrays of inputs and outputs by their `dtype`; numbers of 16 bits are given as their bits. */
const TYPES = {
  float32: Float32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
};

const MODULE = new URL("./@NAME@.wasm", import.meta.url);
const WEIGHTS = new URL("./@NAME@.weights", import.meta.url);

/**
 * Fetches code and weights and makes a model of them. Each call makes one with memory of its own.
 * @param url folder of the two files; by default that of this one. A relative one counts from this file.
 * @param options `onProgress(done, total)` is called with bytes of weights.
 */
export async function load(url, { onProgress = () => {} } = {}) {
  const [code, weights] = url === undefined ? [MODULE, WEIGHTS] : located(url);
  const [instance, source] = await Promise.all([instantiate(code), open(weights)]);
  const model = new Model(instance.exports);
  await receive(source, weights, model.weights, onProgress);
  await verify(weights, model.weights);
  return model;
}

/** A network with its weights, ready to run. Made by `load`. */
export class Model {
  #run;
  #inputs;
  #outputs;

  constructor(exports) {
    const { memory } = exports;
    let top = exports.__heap_base.value >>> 0;
    const place = (bytes) => {
      const start = Math.ceil(top / info.arenaAlign) * info.arenaAlign;
      top = start + bytes;
      return start;
    };
    const count = (port) => port.shape.slice(1).reduce((product, side) => product * side, 1); // of one image
    const weights = place(info.weightBytes);
    const ports = [...info.inputs, ...info.outputs].map((port) => ({ ...port, count: count(port), type: TYPES[port.dtype] }));
    const arrays = ports.map((port) => place(port.type.BYTES_PER_ELEMENT * port.count * info.maxImages));
    const arena = place(info.arenaBytes);
    grow(memory, top);

    const views = ports.map((port, i) => {
      return { ...port, values: new port.type(memory.buffer, arrays[i], port.count * info.maxImages) };
    });
    const run = exports["@NAME@_run"];
    this.#run = (images) => run(...arrays, arena, weights, images, 1, 0, 0); // one thread, and nobody to start others
    this.#inputs = views.slice(0, info.inputs.length);
    this.#outputs = views.slice(info.inputs.length);
    this.weights = new Uint8Array(memory.buffer, weights, info.weightBytes);
    this.memoryBytes = memory.buffer.byteLength;
  }

  /**
   * Runs the network on one array per input, of the type in TYPES, with 1 to `info.maxImages` images one after the
   * other; gives a new one, or an array of them for several outputs. An object of arrays by the names of the inputs may stand for them all: then one by the names of the outputs
   * comes back.
   */
  run(...arrays) {
    if (arrays.length === 1 && isObject(arrays[0])) {
      const results = [this.run(...inOrder(arrays[0]))].flat();
      return Object.fromEntries(info.outputs.map((output, i) => [output.name, results[i]]));
    }
    if (arrays.length !== this.#inputs.length) {
      throw new RangeError(`@NAME@ takes ${this.#inputs.length} array(s), got ${arrays.length}`);
    }
    this.#inputs.forEach((input, i) => checkType(input, arrays[i]));
    const images = countImages(this.#inputs[0], arrays[0]);
    this.#inputs.forEach((input, i) => fill(input, arrays[i], images));
    this.#run(images);
    const results = this.#outputs.map((output) => output.values.slice(0, output.count * images));
    return results.length === 1 ? results[0] : results;
  }
}

function located(url) {
  const folder = new URL(String(url).replace(/\/?$/, "/"), import.meta.url);
  return [new URL("@NAME@.wasm", folder), new URL("@NAME@.weights", folder)];
}

function isObject(value) {
  return typeof value === "object" && value !== null && !ArrayBuffer.isView(value) && !Array.isArray(value);
}

function inOrder(arrays) {
  const names = info.inputs.map((input) => input.name);
  for (const name of Object.keys(arrays)) {
    if (!names.includes(name)) throw new RangeError(`@NAME@ has no input "${name}", but ${names.join(", ")}`);
  }
  return names.map((name) => arrays[name]);
}

function checkType(input, array) {
  if (array instanceof input.type) return;
  throw new TypeError(`input "${input.name}" must be ${/^I/.test(input.type.name) ? "an" : "a"} ${input.type.name}`);
}

/** How many images an array holds: 1 to `info.maxImages`. If it holds no whole number of them, `fill` says so. */
function countImages(input, array) {
  const images = Math.floor(array.length / input.count);
  if (info.maxImages > 1 && (images < 1 || images > info.maxImages)) {
    const wanted = `must hold 1 to ${info.maxImages} images of ${input.count} numbers`;
    throw new RangeError(`input "${input.name}" ${wanted}, got ${array.length}`);
  }
  return Math.min(Math.max(images, 1), info.maxImages);
}

function fill(input, array, images) {
  if (array.length !== input.count * images) {
    const shape = [images, ...input.shape.slice(1)].join("x");
    const wanted = `must hold ${input.count * images} numbers (${shape})`;
    throw new RangeError(`input "${input.name}" ${wanted}, got ${array.length}`);
  }
  input.values.set(array);
}

function grow(memory, bytes) {
  const pages = Math.ceil((bytes - memory.buffer.byteLength) / 65536);
  if (pages <= 0) return;
  try {
    memory.grow(pages);
  } catch {
    throw new RangeError(`@NAME@: no memory for ${bytes} bytes`);
  }
}

async function instantiate(url) {
  const { bytes } = await open(url);
  const code = await whole(bytes);
  try {
    return (await WebAssembly.instantiate(code)).instance;
  } catch (error) {
    throw new Error(`${url}: no WebAssembly with SIMD here, or the file is damaged: ${error.message}`);
  }
}

/** The bytes of a file, as chunks that follow each other, and how many they are, where that is known. */
async function open(url) {
  if (url.protocol === "file:") {
    const files = "node:fs/promises"; // a name that bundlers do not see: in a browser nobody comes here
    const { readFile } = await import(/* @vite-ignore */ /* webpackIgnore: true */ files);
    return { bytes: [await readFile(url)] };
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return { bytes: chunks(response.body.getReader()) };
}

async function* chunks(reader) {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

async function whole(bytes) {
  const parts = [];
  for await (const chunk of bytes) parts.push(chunk);
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Straight into the memory of the module: the weights are never held twice. */
async function receive({ bytes }, url, target, onProgress) {
  let done = 0;
  for await (const chunk of bytes) {
    if (done + chunk.length > target.length) throw mismatch(url, `more than ${target.length} bytes`);
    target.set(chunk, done);
    done += chunk.length;
    onProgress(done, target.length);
  }
  if (done !== target.length) throw mismatch(url, `${done} bytes instead of ${target.length}`);
}

/** Holds the weights to their hash; where a page has no right to `crypto.subtle` (plain http), only to their size. */
async function verify(url, bytes) {
  if (!globalThis.crypto?.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const text = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (text !== info.weightsSha256) throw mismatch(url, "another hash");
}

function mismatch(url, what) {
  return new Error(`${url}: truncated, altered, or of another compilation (${what})`);
}
