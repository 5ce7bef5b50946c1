// node run_model.mjs SCRIPT: inputs from standard input, one after the other; the outputs of two runs to standard output.
import { readFileSync, writeSync } from "node:fs";

const { load, info } = await import(process.argv[2]);
const bytes = readFileSync(0);
const all = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
let start = 0;
const inputs = info.inputs.map(({ shape }) => all.slice(start, (start += shape.reduce((a, b) => a * b, 1))));
const model = await load();
for (let i = 0; i < 2; i++) {
  for (const output of [model.run(...inputs)].flat()) {
    const data = new Uint8Array(output.buffer);
    for (let done = 0; done < data.length; ) done += writeSync(1, data, done);
  }
}
