// Reads a handwritten digit with LeNet-5, compiled to WebAssembly.
//
//     cnncc compile lenet5 --target wasm32 -o lenet5
//     node classify.mjs lenet5 digit.pgm          (binary PGM, 32 x 32 pixels, white on black)
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [, , folder, image] = process.argv;
if (!image) {
  console.error("usage: node classify.mjs FOLDER_OF_LENET5 digit.pgm");
  process.exit(2);
}

const { load, info } = await import(pathToFileURL(resolve(folder, "lenet5.js")));
const [, , height, width] = info.inputs[0].shape;

/** The pixels of a binary PGM file, 0 to 255. */
async function readPgm(path) {
  const bytes = await readFile(path);
  const head = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString("latin1", 0, 64));
  if (!head || Number(head[1]) !== width || Number(head[2]) !== height) {
    throw new Error(`${path}: not a binary PGM of ${width} x ${height} pixels`);
  }
  return Float32Array.from(bytes.subarray(head[0].length, head[0].length + width * height));
}

try {
  const model = await load();
  const probabilities = model.run(await readPgm(image));
  const ranked = [...probabilities.entries()].sort((a, b) => b[1] - a[1]);
  console.log("class  probability");
  for (const [digit, share] of ranked) console.log(`${String(digit).padStart(5)}  ${share.toFixed(9)}`);
} catch (error) {
  console.error(`classify: ${error.message}`);
  process.exit(1);
}
