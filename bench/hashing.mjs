/**
 * Where bodies are hashed: CPU time per delivery with every body hashed in wasm against every body hashed by WebCrypto, by
 * size. It decides `LARGE_BYTES` of src/platform/body.rs. The deliveries carry a wrong signature and nothing is kept of them, so
 * that reading, hashing and answering is all that happens.
 *
 *   GATEWAY_LARGE_BYTES=99999999 npm run build -- --out-dir build/hash-wasm
 *   GATEWAY_LARGE_BYTES=0        npm run build -- --out-dir build/hash-webcrypto
 *   node_modules/.bin/node bench/hashing.mjs build/hash-wasm build/hash-webcrypto
 */

import { load, median, post } from "./load.mjs";
import { cpuUs, root, start } from "./server.mjs";
import { resolve } from "node:path";

const ROUNDS = 7;
const SIZES = [1_000, 4_000, 8_000, 16_000, 32_000, 64_000, 256_000, 1_000_000];

const gateway = {
  sources: [{ name: "a", profile: "webhooks", secrets: ["S"], quarantine: { letters_per_minute: 0 } }],
};
const [wasm, web] = await Promise.all(
  process.argv.slice(2, 4).map((build) => start({ build: resolve(root, build), gateway, secrets: { S: "0123456789abcdef0123" } })),
);
const headers = { "x-genesys-signature": "00".repeat(32) };

async function costUs(server, size) {
  const body = Buffer.alloc(size, '{"events":[]} ');
  const count = Math.max(100, Math.min(3_000, Math.round(60_000_000 / (size + 20_000))));
  const before = cpuUs(server.pid);
  await load({ port: server.port, request: post("/webhook/a", headers, body), count, connections: 8, status: 401 });
  return (cpuUs(server.pid) - before) / count;
}

try {
  console.log("size_bytes  wasm_us  webcrypto_us  webcrypto/wasm (median, min..max of rounds)");
  for (const size of SIZES) {
    const pairs = [];
    await costUs(wasm, size);
    await costUs(web, size);
    for (let round = 0; round < ROUNDS; round += 1) pairs.push([await costUs(wasm, size), await costUs(web, size)]);
    const ratios = pairs.map(([a, b]) => b / a);
    const spread = `${Math.min(...ratios).toFixed(2)}..${Math.max(...ratios).toFixed(2)}`;
    const [a, b] = [median(pairs.map((pair) => pair[0])), median(pairs.map((pair) => pair[1]))];
    console.log(`${size}  ${a.toFixed(0)}  ${b.toFixed(0)}  ${median(ratios).toFixed(2)} (${spread})`);
  }
} finally {
  await Promise.all([wasm.stop(), web.stop()]);
}
