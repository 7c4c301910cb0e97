/**
 * What counting costs: calls of counter objects and rows that they write, per 1,000 accepted deliveries, at different rates.
 * Both are counted where they happen: a module in front of the build counts the calls of the class and keeps the cursors of
 * its statements, whose `rowsWritten` is what the platform bills. The queue is a service that takes everything.
 *
 *   npm run build && node_modules/.bin/node bench/flush.mjs [build]
 *
 * Promise: bounded in count and time, loopback only, ends by itself. Out of scope: latency, and several isolates: each of them
 * flushes for itself, so calls and rows grow with their number while traffic is thin, and do not when it is not.
 */

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { root } from "./server.mjs";

const PORT = 18_730;
const SECRET = "0123456789abcdef0123";

/** Deliveries a second, and for how many seconds. */
const RATES = [
  [1, 30],
  [100, 15],
  [2_000, 8],
];

/** Longer than a driver gathers. */
const SETTLE_MS = 4_000;

const CLASSES = {
  COUNTERS: "Counters",
  DELIVERY_LEDGER: "DeliveryLedger",
  DEAD_LETTER_STORE: "DeadLetterStore",
  AUDIT_LOG: "AuditLog",
  LIFECYCLE: "Lifecycle",
  DESTINATIONS: "Destination",
  MONITOR: "Monitor",
};

const MAIN = `import gateway, * as built from "./index.js";
let calls = 0;
let cursors = [];
let rows = 0;
let patched = false;
const settle = () => { for (const cursor of cursors) rows += cursor.rowsWritten; cursors = []; };
export class Counters extends built.Counters {
  constructor(state, env) {
    if (!patched) {
      patched = true;
      const prototype = Object.getPrototypeOf(state.storage.sql);
      const exec = prototype.exec;
      prototype.exec = function (...args) {
        const cursor = exec.apply(this, args);
        cursors.push(cursor);
        return cursor;
      };
    }
    super(state, env);
  }
  async fetch(request) {
    calls += 1;
    const answer = await super.fetch(request);
    settle();
    return answer;
  }
}
export const { ${Object.values(CLASSES).filter((name) => name !== "Counters").join(", ")} } = built;
export default {
  ...gateway,
  async fetch(request, env, context) {
    if (request.url.endsWith("/bench")) {
      settle();
      const answer = Response.json({ calls, rows });
      [calls, rows] = [0, 0];
      return answer;
    }
    return gateway.fetch(request, env, context);
  },
};
`;

/** The queue's side: what the runtime asks of it is an answer with figures. */
const TAKER = `export default {
  async fetch(request) {
    await request.arrayBuffer();
    return Response.json({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0, oldestMessageTimestamp: 0 } } });
  },
};
`;

function configuration(gateway) {
  const literal = (text) => JSON.stringify(text).replaceAll("\\u", "\\\\u");
  const objects = Object.entries(CLASSES).map(([name, of]) => `(name = "${name}", durableObjectNamespace = "${of}")`);
  const namespaces = Object.values(CLASSES).map((name) => `(className = "${name}", uniqueKey = "b-${name}", enableSql = true)`);
  const modules = [
    `(name = "main.js", esModule = embed "main.js")`,
    `(name = "./index.js", esModule = embed "index.js")`,
    `(name = "./index_bg.wasm", wasm = embed "index_bg.wasm")`,
  ];
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .gateway), (name = "taker", worker = .taker),
    (name = "storage", disk = (path = ${literal(join(folder, "storage"))}, writable = true))],
  sockets = [(name = "http", address = "127.0.0.1:${PORT}", http = (), service = "main")]);
const taker :Workerd.Worker = (compatibilityDate = "2026-11-01",
  modules = [(name = "taker.js", esModule = embed "taker.js")]);
const gateway :Workerd.Worker = (modules = [${modules.join(", ")}], compatibilityDate = "2026-11-01",
  bindings = [(name = "GATEWAY", json = ${literal(JSON.stringify(gateway))}), (name = "S", text = "${SECRET}"),
    (name = "DELIVERIES", queue = "taker"), (name = "DEAD_LETTERS", queue = "taker"), ${objects.join(", ")}],
  durableObjectNamespaces = [${namespaces.join(", ")}], durableObjectStorage = (localDisk = "storage"));
`;
}

const folder = mkdtempSync(join(tmpdir(), "gateway-flush-"));
const build = resolve(root, process.argv[2] ?? "build");
for (const name of ["index.js", "index_bg.wasm"]) copyFileSync(join(build, name), join(folder, name));
writeFileSync(join(folder, "main.js"), MAIN);
writeFileSync(join(folder, "taker.js"), TAKER);
mkdirSync(join(folder, "storage"));
const gateway = { sources: [{ name: "a", profile: "webhooks", secrets: ["S"] }] };
writeFileSync(join(folder, "config.capnp"), configuration(gateway));
const workerd = join(root, "node_modules", ".bin", "workerd");
const server = spawn(workerd, ["serve", "--experimental", join(folder, "config.capnp")], {
  stdio: ["ignore", "ignore", "pipe"],
  detached: true,
});
let errors = "";
server.stderr.on("data", (data) => (errors = (errors + data).slice(-2_000)));
const stop = () => {
  try {
    process.kill(-server.pid, "SIGKILL");
  } catch {
    // It has ended.
  }
  rmSync(folder, { recursive: true, force: true });
};
process.once("exit", stop);

const read = async () => (await fetch(`http://127.0.0.1:${PORT}/bench`)).json();
for (let tries = 0; ; tries += 1) {
  if (server.exitCode !== null || tries > 200) throw new Error(`workerd did not start: ${errors}`);
  if (await fetch(`http://127.0.0.1:${PORT}/healthz`).then((answer) => answer.ok, () => false)) break;
  await sleep(50);
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 });
let sent = 0;
function deliver() {
  sent += 1;
  const body = JSON.stringify({ events: [{ eventType: "call:created", n: sent }] });
  const signature = createHmac("sha256", SECRET).update(body).digest("hex");
  const headers = { "content-type": "application/json", "x-genesys-signature": signature, "content-length": Buffer.byteLength(body) };
  return new Promise((done, failed) => {
    const call = request({ host: "127.0.0.1", port: PORT, path: "/webhook/a", method: "POST", headers, agent }, (answer) => {
      answer.resume();
      answer.on("end", () => done(answer.statusCode));
    });
    call.on("error", failed);
    call.end(body);
  });
}

console.log("| deliveries/s | accepted | calls | rows written | calls per 1,000 | rows per 1,000 |\n|---|---|---|---|---|---|");
for (const [rate, seconds] of RATES) {
  await sleep(SETTLE_MS);
  await read();
  const [begun, total] = [performance.now(), rate * seconds];
  const answers = [];
  while (answers.length < total) {
    const due = Math.min(total, Math.floor(((performance.now() - begun) / 1_000) * rate) + 1);
    while (answers.length < due) answers.push(deliver());
    await sleep(rate > 100 ? 5 : 10);
  }
  const accepted = (await Promise.all(answers)).filter((status) => status === 200).length;
  const took = (performance.now() - begun) / 1_000;
  await sleep(SETTLE_MS);
  const { calls, rows } = await read();
  const per = (n) => ((n / accepted) * 1_000).toFixed(1);
  console.log(`| ${(accepted / took).toFixed(1)} | ${accepted} | ${calls} | ${rows} | ${per(calls)} | ${per(rows)} |`);
}
agent.destroy();
process.exit(0);
