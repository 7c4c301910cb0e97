/**
 * How fast envelopes are scanned in wasm, by size of the body; with the modules of several commits, which are taken in turn.
 *
 *   cargo build --release --package genesys-webhook --example scan --target wasm32-unknown-unknown
 *   node_modules/.bin/node bench/envelope.mjs target/wasm32-unknown-unknown/release/examples/scan.wasm [other.wasm…]
 */

import { readFileSync } from "node:fs";

import { body } from "./bodies.mjs";
import { median } from "./load.mjs";

const ROUNDS = 300;
const SIZES = [1_000, 16_000, 128_000, 1_000_000];

const modules = process.argv.slice(2).map((file) => new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file))).exports);

function megabytesPerSecond({ scan }, size, events) {
  const times = Math.max(1, Math.round(500_000 / size));
  const before = process.hrtime.bigint();
  const found = scan(times);
  const nanoseconds = Number(process.hrtime.bigint() - before);
  if (found !== times * events) throw new Error(`${found} events of ${times * events}`);
  return (size * times * 1_000) / nanoseconds;
}

console.log("size_bytes  MB/s of each module; ratio to the first (medians of rounds)");
for (const size of SIZES) {
  const { bytes, events } = body(size);
  for (const { clear, push } of modules) {
    clear();
    for (const byte of bytes) push(byte);
  }
  const round = () => modules.map((module) => megabytesPerSecond(module, bytes.length, events));
  for (let warm = 0; warm < ROUNDS / 10; warm += 1) round();
  const rounds = Array.from({ length: ROUNDS }, round);
  const columns = modules.map((_, index) => {
    const speed = median(rounds.map((speeds) => speeds[index]));
    const ratio = median(rounds.map((speeds) => speeds[index] / speeds[0]));
    return `${speed.toFixed(0)} (${ratio.toFixed(2)})`;
  });
  console.log(`${size}  ${columns.join("  ")}`);
}
