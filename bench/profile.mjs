/**
 * Where the CPU time of the receive path goes: one build (or `workers/javascript.js`) under load while `perf` samples it, with V8's map
 * of its own code, so that JavaScript and wasm functions have names:
 *
 *   npm run build
 *   node_modules/.bin/node bench/profile.mjs build 1000  body size in bytes
 *   node_modules/.bin/node bench/profile.mjs javascript 1000
 */

import { spawn, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { body, headers, SECRET } from "./bodies.mjs";
import { load, post } from "./load.mjs";
import { GATEWAY } from "./receive.mjs";
import { root, start, startWorker } from "./server.mjs";
import { startSink } from "./sink.mjs";

const [what, size] = [process.argv[2] ?? "build", Number(process.argv[3] ?? 1_000)];
const sink = await startSink();
const common = { secrets: { S: SECRET }, sinkPort: sink.port, v8Flags: ["--perf-basic-prof", "--interpreted-frames-native-stack"] };
const server =
  what === "javascript"
    ? await startWorker({ files: { "index.js": join(root, "bench", "workers", "javascript.js") }, ...common })
    : await start({ build: resolve(root, what), gateway: GATEWAY, ...common });
const data = join(tmpdir(), `gateway-bench-${server.pid}.data`);
try {
  const { bytes } = body(size);
  const run = (count) => load({ port: server.port, request: post("/webhook/a", headers(bytes), bytes), count, connections: size >= 1_000_000 ? 4 : 8 });
  const count = Math.max(40, Math.round(160_000_000 / (size + 25_000)));
  await run(count);
  const perf = spawn("perf", ["record", "-F", "4999", "-g", "-o", data, "-p", String(server.pid)], { stdio: "ignore" });
  await new Promise((done) => setTimeout(done, 500));
  await run(count);
  perf.kill("SIGINT");
  await new Promise((done) => perf.once("exit", done));
  for (const flag of ["--no-children", "--children"]) {
    const { stdout } = spawnSync("perf", ["report", "-i", data, flag, "--stdio", "-g", "none", "--percent-limit", "0.5"], { encoding: "utf8", maxBuffer: 1e8 });
    console.log(flag, stdout.split("\n").filter((line) => /^ +[0-9]/.test(line)).map((line) => line.slice(0, 150)).slice(0, flag === "--children" ? 140 : 70).join("\n"));
  }
} finally {
  await server.stop();
  sink.stop();
  rmSync(data, { force: true });
  rmSync(`/tmp/perf-${server.pid}.map`, { force: true });
}
