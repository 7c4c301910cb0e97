/**
 * Memory behind the queue: 40 deliveries of 5 MB are accepted and wait; then the consumer hands all of them on to a destination that
 * reads slowly. Told is what the isolate holds at most (`inspector.mjs`), what the process has resident, and how much of fetched
 * bodies is in the gateway at once: what the bucket began to send and the destination has not answered yet. Each with all of them
 * in one batch and with as many batches at once as the queue's stand-in hands over; as it is, and with garbage collected before
 * each look at the isolate, which tells what cannot be freed.
 *
 *   npm run build && node_modules/.bin/node bench/memory-behind.mjs [build]
 *
 * Promise: fails unless each delivery arrives exactly once by identifier, with the bytes that were sent and a signature that is
 * right, within `LIMIT_MS`; unless the budget is kept, in bodies and in the isolate, however many batches there are; and where bodies
 * stay behind in the bucket. Loopback only, ends by itself. Out of scope: memory while deliveries arrive (`memory.mjs`), a limit on
 * the isolate (workerd here has none).
 */

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { createServer } from "node:http";
import { resolve } from "node:path";
import { body, headers, numbered, SECRET } from "./bodies.mjs";
import { startBucket } from "./bucket.mjs";
import { watchIsolate } from "./inspector.mjs";
import { load, post } from "./load.mjs";
import { freePort, listen, memoryMb, root, startSystem } from "./server.mjs";

const [COUNT, SIZE] = [40, 5_000_000];
/** How long the destination takes to read one body, in milliseconds. */
const READ_MS = 1_000;
/** By then everything has to have arrived, in milliseconds from when the queue begins to hand over. */
const LIMIT_MS = 120_000;
/** `HELD_BYTES` of `crates/core/src/turns.rs`: what the attempts of an isolate may have fetched at once, in megabytes. */
const BUDGET_MB = 16;
const KEY = Buffer.alloc(32, 7);
const SECRETS = { S: SECRET, D: `whsec_${KEY.toString("base64")}` };

const sleep = (ms) => new Promise((done) => setTimeout(done, Math.max(0, ms)));
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** A destination that reads slowly and notes what came under which identifier. */
async function startDestination(onAnswer) {
  const arrivals = [];
  const server = createServer({ keepAliveTimeout: 120_000 }, async (request, response) => {
    const started = performance.now();
    const id = request.headers["webhook-id"];
    const hash = createHash("sha256");
    const signature = createHmac("sha256", KEY).update(`${id}.${request.headers["webhook-timestamp"]}.`);
    let bytes = 0;
    try {
      for await (const chunk of request) {
        hash.update(chunk);
        signature.update(chunk);
        bytes += chunk.length;
        await sleep(started + (bytes / SIZE) * READ_MS - performance.now());
      }
    } catch {
      // The sender gave up: nothing has arrived.
      return;
    }
    const isSigned = request.headers["webhook-signature"] === `v1,${signature.digest("base64")}`;
    arrivals.push({ id, sha256: hash.digest("hex"), isSigned });
    onAnswer(bytes);
    response.writeHead(200, { "content-length": 2 });
    response.end("ok");
  });
  const { port, stop } = await listen(server);
  return { url: `http://127.0.0.1:${port}/`, arrivals, stop };
}

/** The most memory that a process has resident until the function that is answered is called, in megabytes. */
function watchProcess(pid) {
  let mostMb = 0;
  const ask = () => (mostMb = Math.max(mostMb, memoryMb(pid).now));
  ask();
  const timer = setInterval(ask, 20);
  return () => {
    clearInterval(timer);
    return mostMb;
  };
}

/** Has all deliveries accepted, one after the other so that none is refused; answers what was sent under which identifier. */
async function send(port) {
  const template = body(SIZE).bytes;
  const digests = [];
  const sent = new Map();
  const request = (number) => {
    const bytes = numbered(template, number);
    digests.push(sha256(bytes));
    return post("/webhook/a", headers(bytes), bytes);
  };
  await load({ port, request, count: COUNT, connections: 1, onAnswer: (text) => sent.set(JSON.parse(text).id, digests[sent.size]) });
  return sent;
}

async function measure(build, batch, collects) {
  let [heldBytes, mostHeldBytes] = [0, 0];
  const hold = (bytes) => (mostHeldBytes = Math.max(mostHeldBytes, (heldBytes += bytes)));
  const bucket = await startBucket({ onGet: hold });
  const destination = await startDestination((bytes) => (heldBytes -= bytes));
  const inspectorPort = await freePort();
  const sources = [{ name: "a", profile: "webhooks", secrets: ["S"], destination: { url: destination.url, secret: "D" } }];
  const gateway = { allow_private_addresses: true, sources };
  const args = [`--inspector-addr=127.0.0.1:${inspectorPort}`];
  let server;
  try {
    server = await startSystem({ build, gateway, secrets: SECRETS, batch, isHeld: true, bucketPort: bucket.port, args });
    const sent = await send(server.port);
    assert.deepEqual([sent.size, bucket.objects.size], [COUNT, COUNT]);
    const waiting = { isolate: await watchIsolate(inspectorPort, { collects }), process: watchProcess(server.pid) };
    await sleep(1_000);
    const before = { isolate: await waiting.isolate(), processMb: waiting.process() };

    const working = { isolate: await watchIsolate(inspectorPort, { collects }), process: watchProcess(server.pid) };
    const released = performance.now();
    await server.release();
    const isDone = () => destination.arrivals.length >= COUNT && bucket.objects.size === 0;
    while (!isDone() && performance.now() - released < LIMIT_MS) await sleep(20);
    const tookS = (performance.now() - released) / 1_000;
    // Whatever should arrive a second time has a moment to do so.
    await sleep(1_000);
    const most = { isolate: await working.isolate(), processMb: working.process() };

    const { batches, redelivered } = await server.seen();
    const wrong = destination.arrivals.filter((arrival) => !arrival.isSigned || sent.get(arrival.id) !== arrival.sha256);
    const missing = [...sent.keys()].filter((id) => !destination.arrivals.some((arrival) => arrival.id === id));
    const health = (await fetch(`http://127.0.0.1:${server.port}/healthz`)).status;
    return {
      before,
      most,
      heldMb: mostHeldBytes / 1_000_000,
      tookS,
      queue: { batches, redelivered },
      outcome: { arrived: destination.arrivals.length, missing: missing.length, wrong: wrong.length, leftInBucket: bucket.objects.size, health },
      calls: bucket.calls,
    };
  } catch (error) {
    throw new Error(`${error.message}; the server: ${server?.errors() ?? "not started"}`, { cause: error });
  } finally {
    await server?.stop();
    destination.stop();
    bucket.stop();
  }
}

const build = resolve(root, process.argv[2] ?? "build");
const mb = (number) => `${number.toFixed(0)} MB`;
for (const [name, batch] of [
  ["one batch of 40", 50],
  ["8 batches of 5 at once", 5],
]) {
  for (const collects of [false, true]) {
    const { before, most, heldMb, tookS, queue, outcome, calls } = await measure(build, batch, collects);
    const { heapMb, buffersMb, wasmMb, togetherMb, samples } = most.isolate;
    console.log(`${name}, ${collects ? "garbage collected" : "as it is"}: ${JSON.stringify({ ...outcome, ...queue, ...calls })} in ${tookS.toFixed(0)} s`);
    console.log(`  fetched and not yet answered: at most ${mb(heldMb)}`);
    console.log(`  isolate: waiting ${mb(before.isolate.togetherMb)} (wasm ${mb(before.isolate.wasmMb)}), then heap ${mb(heapMb)}, buffers ${mb(buffersMb)}, wasm ${mb(wasmMb)}, together at most ${mb(togetherMb)} (${samples} samples)`);
    console.log(`  process: waiting ${mb(before.processMb)}, then at most ${mb(most.processMb)}`);
    assert.deepEqual(outcome, { arrived: COUNT, missing: 0, wrong: 0, leftInBucket: 0, health: 200 });
    assert.ok(heldMb <= BUDGET_MB, `${name} held ${mb(heldMb)}`);
    const addedMb = togetherMb - before.isolate.togetherMb;
    // A body and the copy that is being made of it.
    assert.ok(!collects || addedMb <= 2 * BUDGET_MB, `${name} added ${mb(addedMb)} to the isolate`);
  }
}
