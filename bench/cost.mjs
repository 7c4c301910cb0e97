/**
 * What a million deliveries cost: operations are counted while deliveries go through the whole system, and multiplied by prices.
 *
 *   npm run build && node_modules/.bin/node bench/cost.mjs [build]
 *
 * Calls of Durable Objects and the rows of their statements (`rowsRead`, `rowsWritten`: what the platform bills) are counted in the
 * objects, by a module in front of the build; messages and batches by the queue's stand-in. CPU time is that of the server process
 * on this machine, the queue's stand-in included. For bodies over the message limit the way through the bucket is added as the
 * code has it: one put, one get, one delete.
 *
 * Promise: bounded in count and time, loopback only, ends by itself. Out of scope: storage, and the time for which the platform
 * bills an object's memory, which depends on how deliveries are spread over the day.
 */

import { measureSystem } from "./throughput.mjs";
import { resolve } from "node:path";
import { root } from "./server.mjs";

/** US dollars a million, Workers Paid, beyond what the plan includes (Cloudflare's price list as known in 2026-11; check it). */
const PRICES = {
  workerRequests: 0.3,
  cpuMs: 0.02,
  queueOperations: 0.4,
  objectRequests: 0.15,
  rowsRead: 0.001,
  rowsWritten: 1.0,
  r2ClassA: 4.5,
  r2ClassB: 0.36,
};

/** Operations of a queue for one message: written, read, acknowledged; each counts once for every 64 KB. */
const OPERATIONS_A_MESSAGE = 3;

/** `max_batch_timeout` of wrangler.toml, in milliseconds. */
const GATHER_MS = 1_000;

const CLASSES = ["Counters", "DeliveryLedger", "DeadLetterStore", "AuditLog", "Lifecycle", "Destination", "Monitor"];

const MAIN = `import gateway, * as built from "./index.js";
let calls = {};
let cursors = [];
let patched = false;
const counted = (name) => class extends built[name] {
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
    calls[name] = (calls[name] ?? 0) + 1;
    return super.fetch(request);
  }
};
${CLASSES.map((name) => `export const ${name} = counted("${name}");`).join("\n")}
export default {
  ...gateway,
  async fetch(request, env, context) {
    if (!request.url.endsWith("/bench")) return gateway.fetch(request, env, context);
    const sum = (what) => cursors.reduce((all, cursor) => all + cursor[what], 0);
    const answer = Response.json({ calls, rowsRead: sum("rowsRead"), rowsWritten: sum("rowsWritten") });
    calls = {};
    cursors = [];
    return answer;
  },
};
`;

async function count(build, run) {
  let counted;
  const figures = await measureSystem({
    build,
    ...run,
    main: MAIN,
    gatherMs: GATHER_MS,
    onEnd: async (port) => (counted = await (await fetch(`http://127.0.0.1:${port}/bench`)).json()),
  });
  const each = (n) => n / figures.deliveries;
  const objectRequests = Object.values(counted.calls).reduce((all, n) => all + n, 0);
  return {
    deliveries: figures.deliveries,
    perS: figures.perS,
    batch: figures.deliveries / figures.batches,
    calls: counted.calls,
    a: {
      workerRequests: 1 + each(figures.batches),
      cpuMs: figures.cpuUs / 1_000,
      queueOperations: OPERATIONS_A_MESSAGE,
      objectRequests: each(objectRequests),
      rowsRead: each(counted.rowsRead),
      rowsWritten: each(counted.rowsWritten),
      r2ClassA: 0,
      r2ClassB: 0,
    },
  };
}

const WHAT = {
  workerRequests: "Worker requests (deliveries and batches)",
  cpuMs: "CPU ms",
  queueOperations: "queue operations",
  objectRequests: "Durable Object requests",
  rowsRead: "rows read",
  rowsWritten: "rows written",
  r2ClassA: "R2 class A (put)",
  r2ClassB: "R2 class B (get)",
};

const build = resolve(root, process.argv[2] ?? "build");
const columns = [];
for (const [name, run] of [
  ["1 KB, 2/s", { forS: 30, perS: 2 }],
  ["1 KB, 200/s", { forS: 20, perS: 200 }],
]) {
  const counted = await count(build, run);
  console.error(`${name}: ${counted.deliveries} deliveries, ${counted.batch.toFixed(1)} a batch, calls ${JSON.stringify(counted.calls)}`);
  columns.push([name, counted.a]);
}
// The message of a stored body is about a kilobyte too; the bucket is what comes on top.
columns.push(["200 KB, 200/s", { ...columns.at(-1)[1], r2ClassA: 1, r2ClassB: 1 }]);

const number = (n) => (n >= 100 ? Math.round(n) : Number(n.toPrecision(2))).toLocaleString("en-US");
console.log(`| in millions, for a million deliveries | price a million | ${columns.map(([name]) => name).join(" | ")} |`);
console.log(`|---|---|${"---|".repeat(columns.length)}`);
for (const [key, what] of Object.entries(WHAT)) {
  console.log(`| ${what} | $${PRICES[key]} | ${columns.map(([, a]) => number(a[key])).join(" | ")} |`);
}
const total = (a) => Object.entries(PRICES).reduce((all, [key, price]) => all + price * a[key], 0);
console.log(`| **together** | | ${columns.map(([, a]) => `**$${total(a).toFixed(2)}**`).join(" | ")} |`);
