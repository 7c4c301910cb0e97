/** The short way of small deliveries in `src/entry.js`: it can only accept, and everything else takes the general way with its body. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { load } from "./load.mjs";

beforeEach((context) => context.mock.method(console, "error", () => {}));

const TEXT = '{"events":[]}';
const post = (headers = { "content-length": String(TEXT.length) }) =>
  new Request("https://gateway.example/webhook/a", { method: "POST", headers, body: TEXT });

/** An entry whose wasm takes every small delivery, and what happened, in order. */
async function accepting({ send = async () => undefined } = {}) {
  const log = [];
  const { handlers, wasm } = await load();
  wasm.small = {
    admit: (size) => log.push(["admit", size]) && 7,
    inspect: (ticket, _env, head, body) => {
      log.push(["inspect", ticket, head.split("\n")[0], new TextDecoder().decode(body)]);
      return new Uint8Array([1, 2]);
    },
    sent: (ticket) => log.push(["sent", ticket]) && "accepted",
    release: (ticket) => log.push(["release", ticket]),
  };
  wasm.fetch = async (_request, _env, _context, body) => {
    log.push(["fetch", body && new TextDecoder().decode(body)]);
    return new Response("general", { status: 503 });
  };
  const env = { DELIVERIES: { send: async (message, options) => log.push(["send", [...message], options]) && send() } };
  return { log, wasm, call: (request = post()) => handlers.fetch(request, env, {}) };
}

test("a delivery is answered after it was sent, and counted once", async () => {
  const { log, call } = await accepting();
  const answer = await call();
  assert.equal(await answer.text(), "accepted");
  assert.equal(answer.headers.get("content-type"), "application/json");
  assert.equal(answer.headers.get("cache-control"), "no-store");
  assert.deepEqual(log, [
    ["admit", TEXT.length],
    ["inspect", 7, "https://gateway.example/webhook/a", TEXT],
    ["send", [1, 2], { contentType: "bytes" }],
    ["sent", 7],
  ]);
});

test("what is not accepted takes the general way with its body", async () => {
  const { log, wasm, call } = await accepting();
  wasm.small.inspect = () => undefined;
  assert.equal(await (await call()).text(), "general");
  assert.deepEqual(log, [["admit", TEXT.length], ["fetch", TEXT]]);
});

test("what has no place, no length or another address takes the general way unread", async () => {
  const { log, wasm, call } = await accepting();
  await call(post({}));
  await call(new Request("https://gateway.example/api/webhook/a", { method: "POST", headers: { "content-length": "2" }, body: "{}" }));
  wasm.small.admit = () => 0;
  await call();
  assert.deepEqual(log, Array(3).fill(["fetch", undefined]));
});

test("a message that could not be sent is never answered 200: its ticket is given back, the general way decides", async () => {
  const { log, call } = await accepting({ send: () => Promise.reject(new Error("queue")) });
  assert.equal((await call()).status, 503);
  assert.deepEqual(log.slice(-2), [["release", 7], ["fetch", TEXT]]);
});

for (const name of ["admit", "inspect", "sent"]) {
  test(`a trap in ${name} replaces the instance and is answered 503`, async () => {
    const { wasm, call } = await accepting();
    wasm.small[name] = () => {
      throw new WebAssembly.RuntimeError("unreachable");
    };
    const answer = await call();
    assert.equal(answer.status, 503);
    assert.equal((await answer.json()).code, "interrupted");
    assert.equal(wasm.starts, 2);
  });
}

test("a delivery whose instance was replaced while it was sent is not counted by another's ticket", async () => {
  const { log, wasm, call } = await accepting({ send: async () => wasm.reset() });
  assert.equal((await call()).status, 503);
  assert.ok(!log.some(([what]) => what === "sent" || what === "release"));
});
