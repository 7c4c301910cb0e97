/**
 * Two builds against each other, in turn: did a change make the receive path cheaper?
 *
 *   node_modules/.bin/node bench/compare.mjs build/new build/old [rounds] [sizes]
 */

import { resolve } from "node:path";
import { compareBuilds, summary } from "./receive.mjs";
import { root } from "./server.mjs";

const [a, b, rounds = "7", sizes = "1000,16000,128000,1000000"] = process.argv.slice(2);
const after = (size, figures) => {
  const { medians, ratios } = summary(figures);
  const { median, p25, p75 } = ratios["a/b"];
  console.log(`${size}  ${medians.a.cpuUs.toFixed(0)} µs  ${medians.b.cpuUs.toFixed(0)} µs  ${median.toFixed(2)} (quartiles ${p25.toFixed(2)}..${p75.toFixed(2)})`);
};
console.log("size_bytes  CPU a delivery: a, b, a/b by round");
const builds = { a: resolve(root, a), b: resolve(root, b) };
await compareBuilds({ builds, rounds: Number(rounds), sizes: sizes.split(",").map(Number), after });
