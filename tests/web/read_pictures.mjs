// node read_pictures.mjs LENET5.js digit.mjs WIDTH HEIGHT: RGBA pictures from standard input; prints the digits read.
import { readFileSync } from "node:fs";

const [, , script, page, width, height] = process.argv;
const { load } = await import(script);
const { inkOf, toInput } = await import(page);
const model = await load();
const bytes = readFileSync(0);
const size = 4 * width * height;
for (let start = 0; start < bytes.length; start += size) {
  const input = toInput(inkOf(bytes.subarray(start, start + size), +width, +height), +width, +height);
  const scores = model.run(input);
  console.log(scores.indexOf(Math.max(...scores)));
}
