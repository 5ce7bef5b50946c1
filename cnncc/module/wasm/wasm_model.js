// @NAME@, compiled by cnncc to WebAssembly. Generated; do not edit.
//
//   import { load } from "./@NAME@.js";
//   const model = await load();
//   const output = model.run(@EXAMPLE_SIZES@input);          // @EXAMPLE@
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

/** The sizes that a run is told, where the network is for a range of them. */
const RANGES = info.ranges ?? [];

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
  #exports;
  #weights;
  #room;

  constructor(exports) {
    this.#exports = exports;
    this.#weights = aligned(exports.__heap_base.value >>> 0);
    grow(exports.memory, this.#weights + info.weightBytes);
    if (!RANGES.length) this.#room = this.#place(ports({}), {}, info.maxImages);
  }

  /** The weights, in the layout that the code reads. */
  get weights() {
    return new Uint8Array(this.#exports.memory.buffer, this.#weights, info.weightBytes);
  }

  /** Bytes of linear memory that the model takes. */
  get memoryBytes() {
    return this.#exports.memory.buffer.byteLength;
  }

  /**
   * Runs the network on one array per input, of the type in TYPES, with 1 to `info.maxImages` images one after the
   * other; gives a new one, or an array of them for several outputs. An object of arrays by the names of the inputs may
   * stand for them all: then one by the names of the outputs comes back. If sizes are of a range (`info.ranges`), an
   * object of them by name comes first.
   */
  run(...given) {
    const sizes = RANGES.length ? checkSizes(given.shift()) : {};
    if (given.length !== 1 || !isObject(given[0])) return this.#run(sizes, given);
    const results = [this.#run(sizes, inOrder(given[0]))].flat();
    return Object.fromEntries(info.outputs.map((output, i) => [output.name, results[i]]));
  }

  #run(sizes, arrays) {
    const inputs = info.inputs.length;
    if (arrays.length !== inputs) throw new RangeError(`@NAME@ takes ${inputs} array(s), got ${arrays.length}`);
    const known = RANGES.length ? ports(sizes) : this.#room.ports;
    arrays.forEach((array, i) => checkType(known[i], array));
    const images = countImages(known[0], arrays[0]);
    arrays.forEach((array, i) => check(known[i], array, images));
    const room = RANGES.length ? this.#place(known, sizes, images) : this.#room;
    arrays.forEach((array, i) => room.views[i].set(array));
    const pointers = [...room.starts, room.arena, this.#weights];
    this.#exports["@NAME@_run"](...pointers, images, 1, 0, 0, room.steps); // one thread, and nobody to start others
    const results = known.slice(inputs).map((port, i) => room.views[inputs + i].slice(0, port.count * images));
    return results.length === 1 ? results[0] : results;
  }

  /** Memory behind the weights for runs of so many images of a size. */
  #place(known, sizes, images) {
    const { memory } = this.#exports;
    let top = this.#weights + info.weightBytes;
    const place = (bytes) => {
      const start = aligned(top);
      top = start + bytes;
      return start;
    };
    const starts = known.map((port) => place(port.type.BYTES_PER_ELEMENT * port.count * images));
    const arena = place(arenaBytes(sizes, images));
    const steps = place(4 * RANGES.length);
    grow(memory, top);
    const chosen = new Int32Array(memory.buffer, steps, RANGES.length);
    chosen.set(RANGES.map(({ name, least, step }) => (sizes[name] - least) / step));
    const views = known.map((port, i) => new port.type(memory.buffer, starts[i], port.count * images));
    return { ports: known, starts, views, arena, steps };
  }
}

/** The shape of an input or output of `info` where sizes are of a range, for sizes by name. */
export function shapeAt(port, sizes) {
  return port.shape.map((extent) => value(extent, sizes));
}

/** Inputs, then outputs, for sizes by name, with the numbers of one image and the type of their arrays. */
function ports(sizes) {
  return [...info.inputs, ...info.outputs].map((port) => {
    const shape = shapeAt(port, sizes);
    const count = shape.slice(1).reduce((product, side) => product * side, 1);
    return { ...port, shape, count, type: TYPES[port.dtype] };
  });
}

const OPERATORS = {
  "+": (a, b) => a + b,
  "*": (a, b) => a * b,
  "//": (a, b) => Math.floor(a / b),
  max: (a, b) => Math.max(a, b),
  min: (a, b) => Math.min(a, b),
};

/** A number that may depend on sizes: a number, the name of a size, or an operator before what it works on. */
function value(extent, sizes, parts) {
  if (typeof extent === "number") return extent;
  if (typeof extent === "string") return sizes[extent];
  const [sign, ...of] = extent;
  if (sign === "part") return parts[of[0]];
  return of.map((one) => value(one, sizes, parts)).reduce((a, b) => OPERATORS[sign](a, b));
}

function arenaBytes(sizes, images) {
  if (!RANGES.length) return info.arenaBytes;
  const parts = [];
  for (const part of info.arena.parts) parts.push(value(part, sizes, parts));
  const { firstImage, furtherImage } = info.arena;
  return value(firstImage, sizes, parts) + (images - 1) * value(furtherImage, sizes, parts);
}

function checkSizes(sizes) {
  for (const { name, least, most, step } of RANGES) {
    const size = isObject(sizes) ? sizes[name] : undefined;
    if (size === undefined) {
      throw new TypeError(`@NAME@.run takes sizes first: { ${RANGES.map((range) => range.name).join(", ")} }`);
    }
    if (!Number.isInteger(size) || size < least || size > most || (size - least) % step) {
      throw new RangeError(`@NAME@: ${name} = ${size} is not in ${least}..${most}${step > 1 ? ` step ${step}` : ""}`);
    }
  }
  return sizes;
}

function aligned(address) {
  return Math.ceil(address / info.arenaAlign) * info.arenaAlign;
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

/** How many images an array holds: 1 to `info.maxImages`. If it holds no whole number of them, `check` says so. */
function countImages(input, array) {
  const images = Math.floor(array.length / input.count);
  if (info.maxImages > 1 && (images < 1 || images > info.maxImages)) {
    const wanted = `must hold 1 to ${info.maxImages} images of ${input.count} numbers`;
    throw new RangeError(`input "${input.name}" ${wanted}, got ${array.length}`);
  }
  return Math.min(Math.max(images, 1), info.maxImages);
}

function check(input, array, images) {
  if (array.length === input.count * images) return;
  const shape = [images, ...input.shape.slice(1)].join("x");
  const wanted = `must hold ${input.count * images} numbers (${shape})`;
  throw new RangeError(`input "${input.name}" ${wanted}, got ${array.length}`);
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
