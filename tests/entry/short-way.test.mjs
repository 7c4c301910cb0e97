/** The short way of a delivery in `src/entry.js`: it can only accept, and everything else takes the general way with its body. */

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { beforeEach, test } from "node:test";

import { load } from "./load.mjs";

beforeEach((context) => context.mock.method(console, "error", () => {}));

const TEXT = '{"events":[]}';
/** `load.mjs` has bodies of 100 bytes hashed outside of the wasm. */
const LARGE = `{"events":["${"x".repeat(100)}"]}`;
const URL = "https://gateway.example/webhook/a";
const KEYS = ["current", "previous"];

const post = (text = TEXT, headers = { "content-length": String(text.length) }) => new Request(URL, { method: "POST", headers, body: text });
const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (text) => new TextEncoder().encode(text);
/** As `short_inspect` gives it: an answer and a header line. */
const reply = (answer, header) => new Uint8Array([answer.length, ...bytes(answer), ...bytes(header)]);
const cryptoKey = (secret) => crypto.subtle.importKey("raw", bytes(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);

/** An entry whose wasm takes every delivery, and what happened, in order. */
async function accepting({ send = async () => undefined, put = async () => undefined } = {}) {
  const log = [];
  const { handlers, wasm } = await load();
  const keys = await Promise.all(KEYS.map(cryptoKey));
  wasm.short = {
    begin: (_env, head, size) => log.push(["begin", head.split("\n")[0], size]) && 7,
    keys: (ticket) => log.push(["keys", ticket]) && keys,
    // What it hashes itself it puts into the message.
    inspect: (ticket, body, tags) =>
      log.push(["inspect", ticket, text(body), [...tags]]) && reply("accepted", `header\n${tags.length ? "" : text(body)}`),
    stored: (ticket, sha256) => log.push(["stored", ticket, [...sha256]]) && reply("accepted and stored", "stored\n"),
    sent: (ticket) => log.push(["sent", ticket]) && 1,
    flush: () => log.push(["flush"]),
  };
  wasm.fetch = async (_request, _env, _context, body, ticket) => {
    log.push(["fetch", body && text(body), ticket]);
    return new Response("general", { status: 503 });
  };
  const env = {
    DELIVERIES: { send: async (message, options) => log.push(["send", text(message), options]) && send(message) },
    PAYLOADS: { put: async (key, body) => log.push(["put", key, text(body)]) && put(body) },
  };
  return { log, wasm, call: (request = post()) => handlers.fetch(request, env, {}) };
}

test("a delivery is answered after it was sent, and counted once", async () => {
  const { log, call } = await accepting();
  const answer = await call();
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), "accepted");
  assert.equal(answer.headers.get("content-type"), "application/json");
  assert.equal(answer.headers.get("cache-control"), "no-store");
  assert.deepEqual(log, [
    ["begin", URL, TEXT.length],
    ["inspect", 7, TEXT, []],
    ["send", `header\n${TEXT}`, { contentType: "bytes" }],
    ["sent", 7],
  ]);
});

test("headers cross as they are, a line each", async () => {
  const { wasm, call } = await accepting();
  let head;
  wasm.short.begin = (_env, text) => ((head = text), 0);
  await call(post(TEXT, { "content-length": "13", "x-kept": "a: b, c" }));
  assert.deepEqual(head.split("\n").slice(0, 3), [URL, "content-length", "13"]);
  assert.ok(head.includes("\nx-kept\na: b, c"));
});

test("counts are sent when the wasm says that they are due", async () => {
  const { log, wasm, call } = await accepting();
  wasm.short.sent = () => 2;
  await call();
  assert.deepEqual(log.at(-1), ["flush"]);
});

test("a large body is hashed by the runtime, with every key, over the bytes that arrived", async () => {
  const { log, call } = await accepting();
  assert.equal(await (await call(post(LARGE))).text(), "accepted");
  const tags = KEYS.map((secret) => [...createHmac("sha256", secret).update(LARGE).digest()]).flat();
  assert.deepEqual(log.slice(1, 4), [["keys", 7], ["inspect", 7, LARGE, tags], ["send", `header\n${LARGE}`, { contentType: "bytes" }]]);
});

test("a body that fits into no message is stored before its message is sent", async () => {
  const { log, wasm, call } = await accepting();
  wasm.short.inspect = () => new Uint8Array([0, ...bytes("payloads/a/1")]);
  assert.equal(await (await call(post(LARGE))).text(), "accepted and stored");
  assert.deepEqual(log.slice(2), [
    ["put", "payloads/a/1", LARGE],
    ["stored", 7, [...createHash("sha256").update(LARGE).digest()]],
    ["send", "stored\n", { contentType: "bytes" }],
    ["sent", 7],
  ]);
});

test("what is not accepted takes the general way with its body and its ticket", async () => {
  const { log, wasm, call } = await accepting();
  wasm.short.inspect = () => undefined;
  assert.equal(await (await call()).text(), "general");
  assert.deepEqual(log.slice(1), [["fetch", TEXT, 7]]);
});

test("a large body whose keys are not there takes the general way", async () => {
  const { log, wasm, call } = await accepting();
  wasm.short.keys = () => undefined;
  assert.equal((await call(post(LARGE))).status, 503);
  assert.deepEqual(log.slice(1), [["fetch", LARGE, 7]]);
});

test("what has no place, no length or one that cannot be takes the general way unread", async () => {
  const { log, wasm, call } = await accepting();
  await call(post(TEXT, {}));
  await call(post(TEXT, { "content-length": "4294967309" }));
  await call(post(TEXT, { "content-length": "many" }));
  wasm.short.begin = () => 0;
  await call();
  assert.deepEqual(log, Array(4).fill(["fetch", undefined, 0]));
});

test("a body that cannot be read takes the general way, which ends its ticket", async () => {
  const { log, call } = await accepting();
  const request = post();
  await request.text();
  assert.equal((await call(request)).status, 503);
  assert.deepEqual(log.slice(1), [["fetch", undefined, 7]]);
});

test("a message that could not be sent is never answered 200: the general way decides", async () => {
  const { log, call } = await accepting({ send: () => Promise.reject(new Error("queue")) });
  assert.equal((await call()).status, 503);
  assert.deepEqual(log.at(-1), ["fetch", TEXT, 7]);
});

test("a body that could not be stored is never sent: the general way decides", async () => {
  const { log, wasm, call } = await accepting({ put: () => Promise.reject(new Error("bucket")) });
  wasm.short.inspect = () => new Uint8Array([0, 97]);
  assert.equal((await call(post(LARGE))).status, 503);
  assert.deepEqual(log.slice(2), [["put", "a", LARGE], ["fetch", LARGE, 7]]);
});

test("a body that a failed call took with it is not looked at again: its sender repeats", async () => {
  const { log, wasm, call } = await accepting({ put: (body) => (structuredClone(body.buffer, { transfer: [body.buffer] }), Promise.reject(new Error("bucket"))) });
  wasm.short.inspect = () => new Uint8Array([0, 97]);
  assert.equal((await call(post(LARGE))).status, 503);
  assert.ok(!log.some(([what]) => what === "fetch"));
});

test("the runtime may take the buffer of a message", async () => {
  const { call } = await accepting({ send: (message) => structuredClone(message.buffer, { transfer: [message.buffer] }) });
  assert.equal(await (await call()).text(), "accepted");
});

test("what the runtime cannot hash is no crash", async () => {
  const { log, wasm, call } = await accepting();
  wasm.short.keys = () => ["no key"];
  assert.equal((await call(post(LARGE))).status, 503);
  assert.deepEqual(log.at(-1), ["fetch", LARGE, 7]);
  assert.equal(wasm.starts, 1);
});

for (const name of ["begin", "keys", "inspect", "stored", "sent", "flush"]) {
  test(`an exception out of ${name} replaces the instance and is answered 503`, async () => {
    for (const error of [new WebAssembly.RuntimeError("unreachable"), new Error("through Rust's frames")]) {
      const { wasm, call } = await accepting();
      if (name === "stored") wasm.short.inspect = () => new Uint8Array([0, 97]);
      if (name === "flush") wasm.short.sent = () => 2;
      wasm.short[name] = () => {
        throw error;
      };
      const answer = await call(post(LARGE));
      assert.equal(answer.status, 503);
      assert.equal((await answer.json()).code, "interrupted");
      assert.equal(wasm.starts, 2);
    }
  });
}

test("a ticket the wasm does not know is not answered 200", async () => {
  const { wasm, call } = await accepting();
  wasm.short.sent = () => 0;
  assert.equal((await call()).status, 503);
});

test("a delivery whose instance was replaced while it was sent is not counted by another's ticket", async () => {
  const { log, wasm, call } = await accepting({ send: async () => wasm.reset() });
  assert.equal((await call()).status, 503);
  assert.ok(!log.some(([what]) => what === "sent" || what === "fetch"));
});

test("no instance that has crashed is asked, even where its successor did not start", async () => {
  const { log, wasm, call } = await accepting({ send: async () => (wasm.state.criticalError = true) });
  assert.equal((await call()).status, 503);
  assert.ok(!log.some(([what]) => what === "sent"));
});

test("one whose instance was replaced earlier goes on in the new one, without its ticket", async () => {
  const { log, wasm, call } = await accepting({ put: async () => wasm.reset() });
  wasm.short.inspect = () => new Uint8Array([0, 97]);
  assert.equal((await call(post(LARGE))).status, 503);
  assert.deepEqual(log.at(-1), ["fetch", LARGE, 0]);
  const sent = await accepting({ send: () => (sent.wasm.reset(), Promise.reject(new Error("queue"))) });
  assert.equal((await sent.call()).status, 503);
  assert.deepEqual(sent.log.at(-1), ["fetch", TEXT, 0]);
});
