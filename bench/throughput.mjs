/**
 * The whole system: receive → queue → consumer → destination, with the runtime's local queues, Durable Objects and bucket.
 * Every delivery has an id of its own, and the destination checks by it that each arrived exactly once.
 *
 *   node_modules/.bin/node bench/throughput.mjs BUILD [--rate N] [--seconds N] [--sources N]
 *
 * On Miniflare without its proxy (a direct socket), because `wrangler dev` puts two in front. Bounded: ends when all have arrived, or
 * half a minute after the last was sent. Out of scope: the network and the platform's own queues; the emulator keeps its queue in
 * one object in memory and hands on at most one batch at a time.
 */

import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join, resolve } from "node:path";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { quantile, requestBytes, send } from "./load.mjs";
import { cpuUs, root } from "./server.mjs";

const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const [rate, seconds, sources] = [option("rate", 200), option("seconds", 60), option("sources", 1)];
const build = resolve(root, process.argv[2] ?? "build");
const SECRET = "0123456789abcdef0123";
const WAIT_MS = 30_000;
const PORT = 18_750;

const arrivedAt = new Map();
let repeated = 0;
const destination = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const { id } = JSON.parse(Buffer.concat(chunks));
    if (arrivedAt.has(id)) repeated += 1;
    else arrivedAt.set(id, performance.now());
    response.end();
  });
});
await new Promise((done) => destination.listen(PORT + 1, "127.0.0.1", done));

const names = Array.from({ length: sources }, (_, n) => `s${n}`);
const gateway = {
  region: "mypurecloud.com",
  public_url: "https://hooks.example.com",
  allow_private_addresses: true,
  sources: names.map((name) => ({ name, profile: "webhooks", secrets: ["S"], destination: { url: `http://127.0.0.1:${PORT + 1}/` } })),
};
const classes = { COUNTERS: "Counters", DELIVERY_LEDGER: "DeliveryLedger", DEAD_LETTER_STORE: "DeadLetterStore", AUDIT_LOG: "AuditLog", LIFECYCLE: "Lifecycle" };
const read = (name) => readFileSync(join(build, name));
const miniflare = new Miniflare(
  convertV4MiniflareOptions({
  name: "gateway",
  modules: [
    { type: "ESModule", path: "index.js", contents: read("index.js").toString() },
    { type: "CompiledWasm", path: "index_bg.wasm", contents: read("index_bg.wasm") },
  ],
  modulesRoot: "/",
  compatibilityDate: "2026-11-01",
  bindings: { GATEWAY: gateway, S: SECRET, ADMIN_TOKEN: "bench-admin-token" },
  durableObjects: Object.fromEntries(Object.entries(classes).map(([name, className]) => [name, { className, useSQLite: true }])),
  queueProducers: { DELIVERIES: "genesys-deliveries", DEAD_LETTERS: "genesys-dead-letters" },
  queueConsumers: {
    "genesys-deliveries": { maxBatchSize: 50, maxBatchTimeout: 1, maxRetries: 100, deadLetterQueue: "genesys-dead-letters" },
    "genesys-dead-letters": { maxBatchSize: 50, maxBatchTimeout: 1, maxRetries: 100 },
  },
  r2Buckets: ["PAYLOADS"],
  unsafeDirectSockets: [{ host: "127.0.0.1", port: PORT }],
  }),
);

/** The process of the runtime: the child of this one. */
function runtimePid() {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, "utf8").trim().split(" ");
  const pid = children.map(Number).find((child) => /workerd/.test(readFileSync(`/proc/${child}/cmdline`, "utf8")));
  if (!pid) throw new Error("the runtime's process was not found");
  return pid;
}

try {
  await miniflare.ready;
  const direct = await miniflare.unsafeGetDirectURL("gateway");
  const port = Number(direct.port);
  const pid = runtimePid();
  const count = rate * seconds;
  const sentAt = [];
  const padding = "x".repeat(880);
  const cpuBefore = cpuUs(pid);
  const next = (index) => {
    const id = `d${index}`;
    const body = Buffer.from(JSON.stringify({ id, events: [{ eventType: "call:created", n: index }], padding }));
    sentAt[index] = performance.now();
    const signature = createHmac("sha256", SECRET).update(body).digest("hex");
    return requestBytes({ path: `/webhook/${names[index % sources]}`, headers: { "content-type": "application/json", "x-genesys-signature": signature }, body });
  };
  const { statuses, latenciesMs, seconds: took } = await send({ port, next, count, connections: 32, ratePerS: rate });
  const until = performance.now() + WAIT_MS;
  while (arrivedAt.size < count && performance.now() < until) await new Promise((done) => setTimeout(done, 100));
  const endToEnd = [...arrivedAt].map(([id, at]) => at - sentAt[Number(id.slice(1))]);
  const report = {
    sources,
    asked_per_s: rate,
    sent: count,
    statuses,
    answered_per_s: Math.round(count / took),
    arrived: arrivedAt.size,
    missing: count - arrivedAt.size,
    repeated,
    answer_ms: { p50: quantile(latenciesMs, 0.5), p99: quantile(latenciesMs, 0.99) },
    end_to_end_ms: { p50: quantile(endToEnd, 0.5), p99: quantile(endToEnd, 0.99) },
    cpu_us_per_delivery: (cpuUs(pid) - cpuBefore) / count,
  };
  console.log(JSON.stringify(report, (_, value) => (typeof value === "number" ? Math.round(value * 10) / 10 : value)));
  process.exitCode = report.missing === 0 && report.repeated === 0 ? 0 : 1;
} finally {
  await miniflare.dispose();
  destination.close();
  destination.closeAllConnections();
}
