/**
 * The receive path against what a user would write instead: CPU time per delivery, requests a second, time until the answer.
 *
 * Five servers, each in a process of its own, because CPU time can only be told apart by process: (a) the gateway, (b) a Worker in
 * JavaScript, (c) a Worker that only reads and answers, (d) Express on Node, (e) a Worker that checks nothing, the least that any could
 * cost. They are loaded in turn, a b c d e a b c d e …; figures are medians over the rounds, ratios are taken within a round. What they send to is in another process, so that its work is in no
 * figure. Before anything is measured, (a), (b) and (d) have to give the same answers and queue the same message.
 */

import assert from "node:assert/strict";
import { body, headers, SECRET } from "./bodies.mjs";
import { load, median, post, quantile } from "./load.mjs";
import { cpuUs, root, start, startNode, startWorker } from "./server.mjs";
import { startSink } from "./sink.mjs";
import { join } from "node:path";

export const SIZES = [1_000, 16_000, 128_000, 1_000_000, 5_000_000];
const COUNTS = { 1_000: 3_000, 16_000: 2_000, 128_000: 600, 1_000_000: 120, 5_000_000: 24 };
/** Few enough large bodies at a time that the gateway's budget in flight refuses none. */
const connections = (size) => (size >= 1_000_000 ? 4 : 8);

export const GATEWAY = { sources: [{ name: "a", profile: "webhooks", secrets: ["S"] }] };
const PATH = "/webhook/a";

/** The servers, by letter. */
async function startAll(build, sinkPort) {
  const secrets = { S: SECRET };
  const worker = (name) => ({ files: { "index.js": join(root, "bench", "workers", name) }, secrets, sinkPort });
  const servers = {};
  try {
    servers.a = await start({ build, gateway: GATEWAY, secrets, sinkPort });
    servers.b = await startWorker(worker("javascript.js"));
    servers.c = await startWorker(worker("floor.js"));
    servers.d = await startNode(join(root, "bench", "express", "server.mjs"), [sinkPort, SECRET]);
    servers.e = await startWorker(worker("unchecked.js"));
  } catch (error) {
    await stopAll(servers);
    throw error;
  }
  return servers;
}

const stopAll = (servers) => Promise.all(Object.values(servers).map((server) => server.stop()));

/** What a server answers to a delivery and what it sends: everything that has to be the same, without what cannot be. */
async function behaviour(server, sink, bytes, signature) {
  const before = { ...sink.seen };
  const sent = { ...headers(bytes), ...signature };
  const answer = await fetch(`http://127.0.0.1:${server.port}${PATH}`, { method: "POST", headers: sent, body: bytes });
  const { received, eventCount, code } = await answer.json();
  if (answer.status !== 200) return { status: answer.status, code };
  const message = sink.seen.message;
  const end = message.indexOf("\n");
  const header = JSON.parse(message.subarray(0, end).toString());
  const where = header.body.inline ?? header.body.stored;
  const inline = message.subarray(end + 1);
  return {
    status: 200,
    received,
    eventCount,
    messages: sink.seen.messages - before.messages,
    objects: sink.seen.objects - before.objects,
    names: Object.keys(header).sort(),
    events: header.event_count,
    headers: header.headers.map(([name]) => name).sort(),
    size: where.size_bytes,
    sha256: where.sha256,
    intact: Buffer.compare(where.key ? sink.seen.object : inline, bytes) === 0,
  };
}

/** Fails unless the competitors do the same work. */
export async function checkSameWork(build) {
  const sink = await startSink({ keep: true });
  const servers = await startAll(build, sink.port);
  try {
    for (const size of SIZES) {
      const { bytes, events } = body(size);
      const expected = await behaviour(servers.a, sink, bytes);
      assert.deepEqual([expected.status, expected.eventCount, expected.intact], [200, events, true]);
      for (const name of ["b", "d"]) assert.deepEqual(await behaviour(servers[name], sink, bytes), expected, `${name} at ${size} bytes`);
    }
    const { bytes } = body(1_000);
    for (const [bad, signature] of [[bytes, { "x-genesys-signature": "00".repeat(32) }], [Buffer.from('{"events":1}')], [Buffer.from("{")]]) {
      const expected = await behaviour(servers.a, sink, bad, signature);
      for (const name of ["b", "d"]) assert.deepEqual(await behaviour(servers[name], sink, bad, signature), expected);
    }
  } finally {
    await stopAll(servers);
    sink.stop();
  }
}

/** One server, one size, once. */
async function measure(server, sink, request, count, size, sends) {
  const before = { cpu: cpuUs(server.pid), messages: sink.seen.messages };
  const { latenciesMs, elapsedS } = await load({ port: server.port, request, count, connections: connections(size), expect: '"received":true' });
  assert.equal(sink.seen.messages - before.messages, sends ? count : 0, "every delivery is one message");
  return {
    cpuUs: (cpuUs(server.pid) - before.cpu) / count,
    perS: count / elapsedS,
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
  };
}

/** Rounds over some servers, by size: `{size: {name: [figures of each round]}}`. */
async function measureInTurn(servers, sink, { rounds, sizes = SIZES, share = 1, sends = () => true, after = () => {} }) {
  const results = {};
  for (const size of sizes) {
    const { bytes } = body(size);
    const request = post(PATH, headers(bytes), bytes);
    const count = Math.max(8, Math.round((COUNTS[size] ?? 1_000) * share));
    results[size] = Object.fromEntries(Object.keys(servers).map((name) => [name, []]));
    for (let round = -1; round < rounds; round += 1) {
      for (const [name, server] of Object.entries(servers)) {
        const figures = await measure(server, sink, request, count, size, sends(name));
        // The first round warms up.
        if (round >= 0) results[size][name].push(figures);
      }
    }
    after(size, results[size]);
  }
  return results;
}

/** All servers in turn. */
export async function measureReceiving({ build, log = () => {}, ...options }) {
  const sink = await startSink();
  const servers = await startAll(build, sink.port);
  const after = (size, rounds) => {
    const ratios = Object.entries(summary(rounds).ratios).map(([name, { median }]) => `${name} ${median.toFixed(2)}`);
    log(`${size} bytes: ${ratios.join(", ")}`);
  };
  try {
    return await measureInTurn(servers, sink, { ...options, after, sends: (name) => name !== "c" });
  } finally {
    await stopAll(servers);
    sink.stop();
  }
}

/** Two builds of the gateway in turn, as (a) and (b). */
export async function compareBuilds({ builds, ...options }) {
  const sink = await startSink();
  const servers = {};
  try {
    for (const [name, build] of Object.entries(builds)) {
      servers[name] = await start({ build, gateway: GATEWAY, secrets: { S: SECRET }, sinkPort: sink.port });
    }
    return await measureInTurn(servers, sink, options);
  } finally {
    await stopAll(servers);
    sink.stop();
  }
}

function ratio(ones, others) {
  const each = ones.map((figure, round) => figure.cpuUs / others[round].cpuUs);
  return { median: median(each), min: Math.min(...each), max: Math.max(...each), p25: quantile(each, 0.25), p75: quantile(each, 0.75) };
}

/** Medians of the figures by server, and ratios of CPU per delivery of (a) to each other server, and of (e) to (b), with their spread. */
export function summary(rounds) {
  const medians = {};
  const ratios = {};
  for (const [name, figures] of Object.entries(rounds)) {
    medians[name] = Object.fromEntries(Object.keys(figures[0]).map((key) => [key, median(figures.map((figure) => figure[key]))]));
    if (name !== "a") ratios[`a/${name}`] = ratio(rounds.a, figures);
  }
  if (rounds.e) ratios["e/b"] = ratio(rounds.e, rounds.b);
  return { medians, ratios };
}
