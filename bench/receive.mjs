/**
 * The receive path side by side: (a) the gateway, (b) the same in JavaScript, (c) the floor, (d) Express. One process each, run in
 * turn A B C D A B C D…: servers that share a process cannot be told apart by its CPU time.
 *
 *   node_modules/.bin/node bench/receive.mjs BUILD [BUILD...] [--quick] [--sizes 1000,16000]
 *
 * More than one build: each is measured in the same turns, for before and after.
 */

import { createHmac } from "node:crypto";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { quantile, requestBytes, send } from "./load.mjs";
import { cpuUs, median, root, start } from "./server.mjs";

export const SIZES = [1_000, 16_000, 128_000, 1_000_000, 5_000_000];
const SECRET = "0123456789abcdef0123";
const CONNECTIONS = 8;
/** Of the largest bodies fewer at a time, so that all fit into the gateway's budget in flight (`gateway_core::in_flight`). */
const CONNECTIONS_LARGE = 4;

/** A body of `size` bytes as Genesys' events look: an array of small objects with strings and numbers. */
export function deliveryBody(size) {
  const events = [];
  const envelope = (padding) => `{"events":[${events.join(",")}],"padding":"${padding}"}`;
  let length = envelope("").length;
  for (let n = 0; ; n += 1) {
    const event = `{"id":"5f0c7d7e-4c0e-4a55-9a53-${String(n).padStart(12, "0")}","eventType":"call:created","timestamp":"2026-11-24T02:00:00.${String(n % 1000).padStart(3, "0")}Z","conversationId":"c9b1a1c2-7f1b-4c35-8a43-${String(n * 7).padStart(12, "0")}","data":{"direction":"inbound","ani":"+4930${n}","queue":"Kündigung","priority":${n % 10},"attributes":[true,null,${n}.5]}}`;
    const bytes = Buffer.byteLength(event) + 1;
    if (length + bytes > size) break;
    length += bytes;
    events.push(event);
  }
  // The first event has no comma before it.
  return Buffer.from(envelope("x".repeat(Math.max(0, size - Buffer.byteLength(envelope(""))))));
}

/** Headers as a delivery has them behind Cloudflare. */
export function deliveryHeaders(body, secret = SECRET) {
  return {
    "content-type": "application/json",
    accept: "*/*",
    "user-agent": "Genesys-Cloud-Webhooks/1.0",
    "accept-encoding": "gzip, br",
    "cf-connecting-ip": "192.0.2.10",
    "cf-ipcountry": "DE",
    "cf-ray": "8f1d0c0e8b3a0f2c-FRA",
    "cf-visitor": '{"scheme":"https"}',
    "x-forwarded-for": "192.0.2.10",
    "x-forwarded-proto": "https",
    "inin-correlation-id": "8a4b7a2e-36fb-4d2f-b7a1-0f7e6f0d9f31",
    "x-genesys-signature": createHmac("sha256", secret).update(body).digest("hex"),
  };
}

const gateway = { sources: [{ name: "a", profile: "webhooks", secrets: ["S"] }] };

async function measure(server, size, body, bytes, count) {
  const before = cpuUs(server.pid);
  const { statuses, latenciesMs, seconds } = await send({ port: server.port, next: () => bytes, count, connections: size > 2_000_000 ? CONNECTIONS_LARGE : CONNECTIONS });
  if (statuses[200] !== count) throw new Error(`${server.name}, ${size} bytes: unexpected answers ${JSON.stringify(statuses)} ${server.errors()}`);
  const cpu = (cpuUs(server.pid) - before) / count;
  return { cpu_us: cpu, per_s: count / seconds, p50_ms: quantile(latenciesMs, 0.5), p99_ms: quantile(latenciesMs, 0.99) };
}

/** Requests of one turn: enough for the scheduler's clock, few enough that a turn is short. */
const countOf = (size, quick) => Math.round(Math.max(quick ? 20 : 30, Math.min(3_000, 90_000_000 / (size + 30_000))) * (quick ? 0.6 : 1));

const spread = (values) => ({ median: median(values), min: Math.min(...values), max: Math.max(...values) });

/** Runs everything; `builds` are folders, the first of them is (a) of the report. */
export async function run({ builds, sizes = SIZES, quick = false, log = () => {} }) {
  const kinds = [...builds.map((build, n) => ({ name: n === 0 ? "a" : `a${n + 1}`, build })), { name: "b", kind: "javascript" }, { name: "c", kind: "floor" }, { name: "d", kind: "express" }];
  const servers = [];
  const rows = [];
  try {
    for (const [n, { name, ...kind }] of kinds.entries()) {
      servers.push({ name, ...(await start({ ...kind, port: 18_720 + n, gateway, secrets: { S: SECRET }, sinks: kind.kind !== "express" && kind.kind !== "floor" })) });
    }
    const rounds = quick ? 5 : 11;
    for (const size of sizes) {
      const body = deliveryBody(size);
      const bytes = requestBytes({ path: "/webhook/a", headers: deliveryHeaders(body), body });
      const count = countOf(size, quick);
      for (const server of servers) await measure(server, size, body, bytes, Math.max(20, Math.round(count / 2)));
      const figures = Object.fromEntries(servers.map((server) => [server.name, []]));
      for (let round = 0; round < rounds; round += 1) {
        for (const server of servers) figures[server.name].push(await measure(server, size, body, bytes, count));
      }
      const row = { size_bytes: size, count_per_round: count, rounds, servers: {}, ratios: {} };
      for (const { name } of servers) {
        const of = (key) => figures[name].map((figure) => figure[key]);
        row.servers[name] = { cpu_us: spread(of("cpu_us")), per_s: spread(of("per_s")), p50_ms: median(of("p50_ms")), p99_ms: median(of("p99_ms")) };
        for (const to of ["b", "c", "d", "a"]) {
          if (!name.startsWith("a") || name === to) continue;
          row.ratios[`${name}/${to}`] = spread(figures[name].map((figure, round) => figure.cpu_us / figures[to][round].cpu_us));
        }
      }
      rows.push(row);
      log(line(row));
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
  return rows;
}

function line(row) {
  const cpu = Object.entries(row.servers).map(([name, { cpu_us }]) => `${name} ${cpu_us.median.toFixed(0)}`);
  const ratios = Object.entries(row.ratios).map(([name, { median, min, max }]) => `${name} ${median.toFixed(2)} (${min.toFixed(2)}..${max.toFixed(2)})`);
  return `${row.size_bytes} bytes, CPU µs: ${cpu.join("  ")}; ${ratios.join("  ")}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const list = process.argv.slice(2);
  const sizesAt = list.indexOf("--sizes");
  const sizes = sizesAt < 0 ? undefined : list.splice(sizesAt, 2)[1].split(",").map(Number);
  const builds = list.filter((argument) => !argument.startsWith("--")).map((build) => resolve(root, build));
  await run({ builds: builds.length ? builds : [resolve(root, "build")], sizes, quick: list.includes("--quick"), log: console.log });
}
