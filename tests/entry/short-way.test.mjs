/** The short way of a delivery in `src/short.js`: it can only accept, and everything else takes the general way with its body. */

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { beforeEach, test } from "node:test";

import { load } from "./load.mjs";

beforeEach((context) => context.mock.method(console, "error", () => {}));

const TEXT = '{"events":[]}';
/** `load.mjs` has bodies of 100 bytes hashed outside of the wasm, and 1,000 bytes of smaller ones in flight. */
const LARGE = `{"events":["${"x".repeat(100)}"]}`;
const URL = "https://gateway.example/webhook/a";
const KEYS = ["current", "previous"];
const NO_SHA256 = "0".repeat(64);
/** Secret and number of events, as the wasm gives them and gets them back. */
const TOLD = [1, 70_000];
/** The source `a`, as the wasm knows it. */
const SOURCE = 3;
const LIMIT_BYTES = 5_000;
/** Half the share of small bodies. */
const HALF = { body: `"${"y".repeat(97)}"`, times: 5 };

const post = (text = TEXT, headers = { "content-length": String(text.length) }) => new Request(URL, { method: "POST", headers, body: text });
const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (text) => new TextEncoder().encode(text);
const four = (number) => [...new Uint8Array(new Uint32Array([number]).buffer)];
/** As `short_inspect` gives it: an answer and a header line. */
const reply = (answer, header) => [answer.length, ...bytes(answer), ...bytes(header)];
/** As `short_at_once` gives it. */
const whole = (answer, message) => new Uint8Array([answer.length, ...TOLD.flatMap(four), ...bytes(answer), ...bytes(message)]);
/** As `short_inspect` gives it for a body to be stored. */
const stored = (key, answer, header) => {
  const rest = bytes(header).length - bytes(header.slice(0, header.lastIndexOf(NO_SHA256))).length;
  return new Uint8Array([0, key.length, ...bytes(key), rest, ...reply(answer, header)]);
};
const cryptoKey = (secret) => crypto.subtle.importKey("raw", bytes(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);

/** An entry whose wasm takes every delivery, and what happened, in order. */
async function accepting({ send = async () => undefined, put = async () => undefined } = {}) {
  const log = [];
  const { handlers, wasm } = await load();
  const keys = await Promise.all(KEYS.map(cryptoKey));
  wasm.short = {
    sources: () => [SOURCE, "a", LIMIT_BYTES],
    atOnce: (_env, source, head, body) => log.push(["at once", source, head.split("\n")[0], text(body)]) && whole("accepted", `header\n${text(body)}`),
    counted: (_env, ...told) => log.push(["counted", ...told.slice(0, 4)]) && 1,
    begin: (_env, source, head, size) => log.push(["begin", source, head.split("\n")[0], size]) && [7, ...keys],
    inspect: (ticket, body, tags) => log.push(["inspect", ticket, text(body), [...tags]]) && new Uint8Array(reply("accepted", "header\n")),
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

/** The same, with bodies that have to be stored. */
async function storing(options) {
  const it = await accepting(options);
  it.wasm.short.inspect = () => stored("payloads/a/1", "accepted and stored", `é ${NO_SHA256} ${NO_SHA256}"}\n`);
  return it;
}

test("a delivery is answered after it was sent, and counted once", async () => {
  const { log, call } = await accepting();
  const answer = await call();
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), "accepted");
  assert.equal(answer.headers.get("content-type"), "application/json");
  assert.equal(answer.headers.get("cache-control"), "no-store");
  assert.deepEqual(log, [
    ["at once", SOURCE, URL, TEXT],
    ["send", `header\n${TEXT}`, { contentType: "bytes" }],
    ["counted", SOURCE, ...TOLD, TEXT.length],
  ]);
});

test("headers cross as they are, a line each, and the time of receipt with them", async (context) => {
  context.mock.timers.enable({ apis: ["Date"], now: 1_764_000_000_123 });
  const { wasm, call } = await accepting();
  const seen = [];
  wasm.short.atOnce = (_env, _source, head, _body, receivedAtMs) => void seen.push([head, receivedAtMs]);
  wasm.short.begin = (_env, _source, head, _size, receivedAtMs) => void seen.push([head, receivedAtMs]);
  for (const body of [TEXT, LARGE]) await call(post(body, { "content-length": String(body.length), "x-kept": "a: b, c" }));
  for (const [n, [head, receivedAtMs]] of seen.entries()) {
    assert.deepEqual(head.split("\n").slice(0, 3), [URL, "content-length", String([TEXT, LARGE][n].length)]);
    assert.ok(head.includes("\nx-kept\na: b, c"));
    assert.equal(receivedAtMs, 1_764_000_000_123);
  }
  assert.equal(seen.length, 2);
});

test("counts are sent when the wasm says that they are due", async () => {
  for (const body of [TEXT, LARGE]) {
    const { log, wasm, call } = await accepting();
    wasm.short.sent = wasm.short.counted = () => 2;
    assert.equal((await call(post(body))).status, 200);
    assert.deepEqual(log.at(-1), ["flush"]);
  }
});

test("a large body is hashed by the runtime, with every key, over the bytes that arrived", async () => {
  const { log, call } = await accepting();
  assert.equal(await (await call(post(LARGE))).text(), "accepted");
  const tags = KEYS.map((secret) => [...createHmac("sha256", secret).update(LARGE).digest()]).flat();
  assert.deepEqual(log, [
    ["begin", SOURCE, URL, LARGE.length],
    ["inspect", 7, LARGE, tags],
    ["send", `header\n${LARGE}`, { contentType: "bytes" }],
    ["sent", 7],
  ]);
});

test("a body that fits into no message is stored before its message, which has its digest, is sent", async () => {
  const { log, call } = await storing();
  assert.equal(await (await call(post(LARGE))).text(), "accepted and stored");
  const sha256 = createHash("sha256").update(LARGE).digest("hex");
  assert.deepEqual(log.slice(1), [
    ["put", "payloads/a/1", LARGE],
    ["send", `é ${NO_SHA256} ${sha256}"}\n`, { contentType: "bytes" }],
    ["sent", 7],
  ]);
});

test("what is not accepted takes the general way with its body and its ticket", async () => {
  const { log, wasm, call } = await accepting();
  wasm.short.inspect = () => undefined;
  assert.equal(await (await call(post(LARGE))).text(), "general");
  assert.deepEqual(log.slice(1), [["fetch", LARGE, 7]]);
  wasm.short.atOnce = () => new Uint8Array([0, ...four(70_000)]);
  assert.equal(await (await call()).text(), "general");
  assert.deepEqual(log.slice(2), [["fetch", TEXT, 70_000]]);
  wasm.short.atOnce = () => undefined;
  assert.equal(await (await call()).text(), "general");
  assert.deepEqual(log.slice(3), [["fetch", TEXT, 0]]);
});

test("what has no place, no length or one that cannot be takes the general way unread", async () => {
  const { log, wasm, call } = await accepting();
  await call(post(TEXT, {}));
  await call(post(TEXT, { "content-length": String(LIMIT_BYTES + 1) }));
  await call(post(TEXT, { "content-length": "many" }));
  wasm.short.begin = () => undefined;
  await call(post(LARGE));
  assert.deepEqual(log, Array(4).fill(["fetch", undefined, 0]));
});

test("what is not for a source that this way is open to takes the general way unread", async () => {
  const { log, call } = await accepting();
  const to = (url) => call(new Request(url, { method: "POST", headers: { "content-length": "13" }, body: TEXT }));
  const others = ["", "/", "/api/explain", "/api/webhook/a", "/x?/webhook/a", "/webhook/b", "/webhook/a/", "/webhook/A", "/webhook/toString"];
  for (const path of others) await to(`http://g${path}`);
  assert.deepEqual(log, Array(others.length).fill(["fetch", undefined, 0]));
  for (const path of ["/webhook/a", "/webhook/a?x=/y"]) {
    await to(`http://g${path}`);
    assert.deepEqual(log.at(-3), ["at once", SOURCE, `http://g${path}`, TEXT]);
  }
});

test("the sources are asked for once, and again where the wasm could not tell them", async () => {
  const { log, wasm, call } = await accepting();
  const answers = [() => { throw new Error("through Rust's frames"); }, wasm.short.sources];
  let asked = 0;
  wasm.short.sources = () => answers[asked++]();
  for (let n = 0; n < 3; n += 1) await call();
  assert.deepEqual([log[0], asked, wasm.starts], [["fetch", undefined, 0], 2, 2]);
  assert.equal(log.filter(([what]) => what === "counted").length, 2);
});

test("small bodies are counted before they are read, and what has no room goes the general way", async () => {
  let release;
  const { log, call } = await accepting({ send: () => new Promise((resolve) => (release ??= resolve)) });
  const waiting = Array.from({ length: 2 * HALF.times }, () => call(post(HALF.body)));
  await new Promise(setImmediate);
  while (log.filter(([what]) => what === "send").length < waiting.length) await new Promise(setImmediate);
  await call(post(HALF.body));
  assert.deepEqual(log.at(-1), ["fetch", undefined, 0]);
  // One that ends gives its bytes back.
  release();
  await Promise.race(waiting);
  call(post(HALF.body));
  while (log.filter(([what]) => what === "send").length < waiting.length + 1) await new Promise(setImmediate);
});

test("a small body gives its bytes back however it ends", async () => {
  const { log, wasm, call } = await accepting();
  const ends = [
    () => undefined,
    () => new Uint8Array([0, ...four(1)]),
    () => {
      throw new Error("through Rust's frames");
    },
  ];
  for (let n = 0; n < 6 * HALF.times; n += 1) {
    wasm.short.atOnce = ends[n % ends.length];
    await call(post(HALF.body));
  }
  assert.ok(!log.some(([what, body]) => what === "fetch" && body === undefined));
});

test("what a request that vanished held is forgotten with its minute", async (context) => {
  context.mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  const { log, call } = await accepting({ send: () => new Promise(() => {}) });
  const fill = async () => {
    for (let n = 0; n < 2 * HALF.times; n += 1) call(post(HALF.body));
    await new Promise(setImmediate);
  };
  const refused = async () => {
    const before = log.filter(([what]) => what === "fetch").length;
    call(post(HALF.body));
    await new Promise(setImmediate);
    return log.filter(([what]) => what === "fetch").length > before;
  };
  await fill();
  assert.ok(await refused());
  context.mock.timers.tick(60_000);
  assert.ok(await refused());
  context.mock.timers.tick(60_000);
  assert.ok(!(await refused()));
});

test("a body that cannot be read takes the general way, which ends its ticket", async () => {
  for (const [body, ticket] of [[TEXT, 0], [LARGE, 7]]) {
    const { log, call } = await accepting();
    const request = post(body);
    await request.text();
    assert.equal((await call(request)).status, 503);
    assert.deepEqual(log.at(-1), ["fetch", undefined, ticket]);
  }
});

test("a message that could not be sent is never answered 200: the general way decides", async () => {
  for (const [body, ticket] of [[TEXT, 0], [LARGE, 7]]) {
    const { log, call } = await accepting({ send: () => Promise.reject(new Error("queue")) });
    assert.equal((await call(post(body))).status, 503);
    assert.deepEqual(log.at(-1), ["fetch", body, ticket]);
  }
});

test("a body that could not be stored is never sent: the general way decides", async () => {
  const { log, call } = await storing({ put: () => Promise.reject(new Error("bucket")) });
  assert.equal((await call(post(LARGE))).status, 503);
  assert.deepEqual(log.slice(1), [["put", "payloads/a/1", LARGE], ["fetch", LARGE, 7]]);
});

test("a body that a failed call took with it is not looked at again: its sender repeats", async () => {
  const { log, call } = await storing({ put: (body) => (structuredClone(body.buffer, { transfer: [body.buffer] }), Promise.reject(new Error("bucket"))) });
  assert.equal((await call(post(LARGE))).status, 503);
  assert.ok(!log.some(([what]) => what === "fetch"));
});

test("the runtime may take the buffer of a message", async () => {
  const { call } = await storing({ send: (message) => structuredClone(message.buffer, { transfer: [message.buffer] }) });
  assert.equal(await (await call()).text(), "accepted");
  assert.equal(await (await call(post(LARGE))).text(), "accepted and stored");
});

test("what the runtime cannot hash is no crash", async () => {
  const { log, wasm, call } = await accepting();
  wasm.short.begin = () => [7, "no key"];
  assert.equal((await call(post(LARGE))).status, 503);
  assert.deepEqual(log.at(-1), ["fetch", LARGE, 7]);
  assert.equal(wasm.starts, 1);
});

for (const [name, body] of [["atOnce", TEXT], ["counted", TEXT], ["flush", TEXT], ["begin", LARGE], ["inspect", LARGE], ["sent", LARGE], ["flush", LARGE]]) {
  test(`an exception out of ${name} replaces the instance and is answered 503: ${body.length} bytes`, async () => {
    for (const error of [new WebAssembly.RuntimeError("unreachable"), new Error("through Rust's frames")]) {
      const { wasm, call } = await accepting();
      if (name === "flush") wasm.short.sent = wasm.short.counted = () => 2;
      wasm.short[name] = () => {
        throw error;
      };
      const answer = await call(post(body));
      assert.equal(answer.status, 503);
      assert.equal((await answer.json()).code, "interrupted");
      assert.equal(wasm.starts, 2);
    }
  });
}

test("a delivery that the wasm does not know is not answered 200", async () => {
  const { wasm, call } = await accepting();
  wasm.short.sent = wasm.short.counted = () => 0;
  assert.equal((await call()).status, 503);
  assert.equal((await call(post(LARGE))).status, 503);
});

test("a delivery whose instance was replaced while it was sent is not counted by another", async () => {
  for (const body of [TEXT, LARGE]) {
    const { log, wasm, call } = await accepting({ send: async () => wasm.reset() });
    assert.equal((await call(post(body))).status, 503);
    assert.ok(!log.some(([what]) => ["sent", "counted", "fetch"].includes(what)));
  }
});

test("no instance that has crashed is asked, even where its successor did not start", async () => {
  for (const body of [TEXT, LARGE]) {
    const { log, wasm, call } = await accepting({ send: async () => (wasm.state.criticalError = true) });
    assert.equal((await call(post(body))).status, 503);
    assert.ok(!log.some(([what]) => what === "sent" || what === "counted"));
  }
});

test("one whose instance was replaced earlier goes on in the new one, without its ticket", async () => {
  const { log, wasm, call } = await storing({ put: async () => wasm.reset() });
  assert.equal((await call(post(LARGE))).status, 503);
  assert.deepEqual(log.at(-1), ["fetch", LARGE, 0]);
  const sent = await accepting({ send: () => (sent.wasm.reset(), Promise.reject(new Error("queue"))) });
  assert.equal((await sent.call(post(LARGE))).status, 503);
  assert.deepEqual(sent.log.at(-1), ["fetch", LARGE, 0]);
});
