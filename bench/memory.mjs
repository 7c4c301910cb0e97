/**
 * Memory with 50 deliveries of 5 MB at once: what the isolate holds at most (`inspector.mjs`), what the process has resident, and
 * how they were answered. All bodies are sent slowly, side by side, so that they are really in flight together. There is no bucket
 * here, so whoever gets as far as storing is answered 503 `storage_failed`; what matters is that everybody is answered and the
 * process lives. Out of scope: what is behind the queue (`memory-behind.mjs`).
 *
 *   npm run build && node_modules/.bin/node bench/memory.mjs [build]
 */

import { createHmac } from "node:crypto";
import { request } from "node:http";
import { resolve } from "node:path";
import { watchIsolate } from "./inspector.mjs";
import { freePort, memoryMb, root, start } from "./server.mjs";

const [COUNT, SIZE, CHUNK, PAUSE_MS] = [50, 5_000_000, 250_000, 50];
const secret = "0123456789abcdef0123";
const gateway = { sources: [{ name: "a", profile: "webhooks", secrets: ["S"], quarantine: { letters_per_minute: 0 } }] };
const inspectorPort = await freePort();
const server = await start({ args: [`--inspector-addr=127.0.0.1:${inspectorPort}`], build: resolve(root, process.argv[2] ?? "build"), gateway, secrets: { S: secret } });

const body = Buffer.from(`{"events":["${"a".repeat(SIZE - 15)}"]}`);
const signature = createHmac("sha256", secret).update(body).digest("hex");

function deliver(lengthKnown) {
  return new Promise((done) => {
    const headers = { "x-genesys-signature": signature, ...(lengthKnown ? { "content-length": body.length } : {}) };
    const call = request({ host: "127.0.0.1", port: server.port, path: "/webhook/a", method: "POST", headers }, (answer) => {
      let text = "";
      answer.on("data", (data) => (text += data));
      answer.on("end", () => done(`${answer.statusCode} ${JSON.parse(text).code ?? "accepted"}`));
    });
    // A sender that is answered before it has sent everything sees its connection closed.
    call.on("error", (error) => done(error.code));
    let offset = 0;
    const write = () => {
      if (offset >= body.length) return call.end();
      call.write(body.subarray(offset, (offset += CHUNK)));
      setTimeout(write, PAUSE_MS);
    };
    write();
  });
}

try {
  const idle = memoryMb(server.pid).now;
  for (const lengthKnown of [true, false]) {
    const answers = {};
    const isolate = await watchIsolate(inspectorPort);
    for (const answer of await Promise.all(Array.from({ length: COUNT }, () => deliver(lengthKnown)))) {
      answers[answer] = (answers[answer] ?? 0) + 1;
    }
    const after = await fetch(`http://127.0.0.1:${server.port}/healthz`);
    const { peak } = memoryMb(server.pid);
    const { heapMb, buffersMb, wasmMb, togetherMb, samples } = await isolate();
    console.log(`isolate: heap ${heapMb.toFixed(0)} MB, buffers ${buffersMb.toFixed(0)} MB, wasm ${wasmMb.toFixed(0)} MB, together at most ${togetherMb.toFixed(0)} MB (${samples} samples)`);
    console.log(`${lengthKnown ? "Content-Length" : "chunked"}: ${JSON.stringify(answers)}, idle ${idle.toFixed(0)} MB, at most ${peak.toFixed(0)} MB, then ${after.status}`);
  }
} finally {
  await server.stop();
}
