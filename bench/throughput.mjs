/**
 * The whole system under load: receive, queue, consumer, ledger, destination, and a check by identifier that everything that was
 * answered 200 arrived at the destination exactly once. All in one process but the destination, which is here.
 */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { body, headers, numbered, SECRET } from "./bodies.mjs";
import { load, post, quantile } from "./load.mjs";
import { cpuUs, listen, startSystem } from "./server.mjs";

const SIZE = 1_000;
/** After the last answer everything has to arrive within, in milliseconds. */
const ARRIVAL_LIMIT_MS = 20_000;

/** A destination that notes when it saw which delivery. */
async function startDestination() {
  const arrivals = new Map();
  const twice = [];
  const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
    request.resume();
    request.on("end", () => {
      const id = request.headers["webhook-id"];
      if (arrivals.has(id)) twice.push(id);
      else arrivals.set(id, performance.now());
      response.writeHead(200, { "content-length": 2 });
      response.end("ok");
    });
  });
  const { port, stop } = await listen(server);
  return { url: `http://127.0.0.1:${port}/`, arrivals, twice, stop };
}

/**
 * One run: `forS` seconds at `perS` deliveries a second (0: as fast as answers come) over `sources` sources.
 *
 * `gatherMs`: how long the queue waits for a batch to fill; `main`: a module in front of the build (`startSystem`); `onEnd`: called with the port before the server ends.
 *
 * Every delivery has a body of its own, because the ledger would rightly take a repeated one for a duplicate.
 */
export async function measureSystem({ build, forS, perS = 0, sources = 1, connections = 16, main, gatherMs, onEnd }) {
  const destination = await startDestination();
  const list = Array.from({ length: sources }, (_, n) => ({ name: `source-${n}`, profile: "webhooks", secrets: ["S"], destination: { url: destination.url } }));
  const server = await startSystem({ build, gateway: { allow_private_addresses: true, sources: list }, secrets: { S: SECRET }, main, gatherMs });
  const template = body(SIZE).bytes;
  const request = (number) => {
    const bytes = numbered(template, number);
    return post(`/webhook/source-${number % sources}`, headers(bytes), bytes);
  };
  const sentAt = new Map();
  const onAnswer = (text, at) => sentAt.set(JSON.parse(text).id, at);
  try {
    const before = cpuUs(server.pid);
    const run = { port: server.port, request, count: perS ? Math.round(perS * forS) : Infinity, forMs: forS * 1_000, connections };
    const { latenciesMs, elapsedS } = await load({ ...run, paceMs: perS ? 1_000 / perS : 0, onAnswer });
    const answered = performance.now();
    while (destination.arrivals.size < sentAt.size && performance.now() - answered < ARRIVAL_LIMIT_MS) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const drainedMs = performance.now() - answered;
    // Whatever should arrive a second time has a moment to do so.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const missing = [...sentAt.keys()].filter((id) => !destination.arrivals.has(id));
    const foreign = [...destination.arrivals.keys()].filter((id) => !sentAt.has(id));
    const endToEndMs = [...sentAt].filter(([id]) => destination.arrivals.has(id)).map(([id, at]) => destination.arrivals.get(id) - at);
    const queue = await server.seen();
    await onEnd?.(server.port);
    return {
      sources,
      perS: latenciesMs.length / elapsedS,
      deliveries: sentAt.size,
      missing: missing.length,
      twice: destination.twice.length,
      foreign: foreign.length,
      redelivered: queue.redelivered,
      batches: queue.batches,
      cpuUs: (cpuUs(server.pid) - before) / sentAt.size,
      answerMs: { p50: quantile(latenciesMs, 0.5), p99: quantile(latenciesMs, 0.99) },
      endToEndMs: { p50: quantile(endToEndMs, 0.5), p99: quantile(endToEndMs, 0.99) },
      drainedMs,
    };
  } finally {
    await server.stop();
    destination.stop();
  }
}

/** Fails unless everything arrived exactly once. */
export function checkExactlyOnce({ deliveries, missing, twice, foreign }) {
  assert.ok(deliveries > 0);
  assert.deepEqual({ missing, twice, foreign }, { missing: 0, twice: 0, foreign: 0 });
}
