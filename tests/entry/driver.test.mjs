/** What `src/receive/driver.js` does for what the wasm decides, in Node, with a wasm that the test controls. */

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { beforeEach, test } from "node:test";

import { load } from "./load.mjs";

beforeEach((context) => context.mock.method(console, "error", () => {}));

const URL = "https://gateway.example/webhook/a";
const SMALL = '{"events":[]}';
/** Hashed by the runtime. */
const LARGE = "x".repeat(1_000);
/** Read into a buffer that grows, and stored. */
const STORED = "y".repeat(60_000);
const LIMIT_BYTES = 100_000;
const ID = 7;
const KEYS = ["current", "previous"];

const bytes = (text) => new TextEncoder().encode(text);
const text = (array) => new TextDecoder().decode(array);
const hex = (array) => Buffer.from(array ?? []).toString("hex");
const tick = () => new Promise(setImmediate);

/** A body in pieces, whose size is announced where it is given. `ends`: when the last piece has come. */
function posted(pieces, { sizeBytes, ends = Promise.resolve() } = {}) {
  const body = new ReadableStream({
    type: "bytes",
    async start(controller) {
      for (const piece of pieces) controller.enqueue(bytes(piece));
      try {
        await ends;
        controller.close();
        controller.byobRequest?.respond(0);
      } catch (error) {
        controller.error(error);
      }
    },
  });
  const headers = sizeBytes === undefined ? {} : { "content-length": String(sizeBytes) };
  return new Request(URL, { method: "POST", headers, body, duplex: "half" });
}
const post = (body = SMALL) => posted([body], { sizeBytes: body.length });

/** An entry whose wasm accepts every request, and what happened, in order. */
async function accepting({ keys = [], around = ["", ""], queue, put, remove = async () => {}, limit } = {}) {
  const log = [];
  const said = (...event) => log.push(event);
  const { handlers, wasm } = await load();
  wasm.receive = {
    open: (_env, head, declared, _now, steps) => {
      said("open", head.split("\n")[0], declared);
      keys.forEach((_, at) => steps.hash(1, at));
      if (around.some((part) => part !== "")) steps.around(...around.map(bytes));
      steps.read(ID, LIMIT_BYTES);
    },
    key: (_env, source, secret) => said("key", source, secret) && bytes(keys[secret]),
    grew: (_id, size) => (said("grew", size), size > LIMIT_BYTES ? 1 : 0),
    overflowed: (_env, id, size, steps) => (said("overflowed", size), steps.answer(413, '{"code":"body_too_large"}')),
    arrived: (_env, id, body, tags, sha256, steps) => {
      said("arrived", id, text(body), hex(tags), hex(sha256));
      steps.answer(200, "accepted");
      const isStored = body.length >= wasm.limits[2];
      steps.send(ID, 0, bytes("header\n"), !isStored, isStored ? "payloads/a" : undefined);
    },
    rateLimited: (_env, id, body, _sha256, isWithin, steps) => {
      said("limited", body === undefined ? undefined : text(body), isWithin);
      steps.answer(isWithin ? 401 : 429, "{}", "retry-after\n5");
    },
    sent: (_env, id) => said("sent", id),
    failed: (_env, id, failure, error, _now, steps) => {
      said("failed", Object.keys(wasm.DriverFailure)[failure], error);
      steps.answer(503, '{"code":"failed"}', "retry-after\n5");
    },
    flush: (...args) => said("flush", ...args.slice(0, 2)),
  };
  const context = { waitUntil: () => undefined };
  const env = {
    DELIVERIES: {
      send: async (message, options) => {
        said("send", text(message), options.contentType);
        // The runtime takes the buffer.
        structuredClone(message.buffer, { transfer: [message.buffer] });
        await queue?.();
      },
    },
    PAYLOADS: {
      put: async (key, body) => (said("put", key, body.length), put?.()),
      delete: async (key) => (said("delete", key), remove()),
    },
    LIMIT: { limit: async ({ key }) => (said("limit", key), limit()) },
  };
  const call = async (request = post()) => {
    const answer = await handlers.fetch(request, env, context);
    await tick();
    return answer;
  };
  return { log, wasm, env, context, call, names: () => log.map(([name]) => name) };
}

const failing = (times) => () => {
  times -= 1;
  if (times >= 0) throw new Error("away");
};

async function assertInterrupted(answer) {
  assert.equal(answer.status, 503);
  assert.equal((await answer.json()).code, "interrupted");
}

test("a delivery is answered after its message was sent, and counted once", async () => {
  const { log, call } = await accepting();
  const answer = await call();
  assert.deepEqual([answer.status, await answer.text()], [200, "accepted"]);
  assert.equal(answer.headers.get("content-type"), "application/json");
  assert.equal(answer.headers.get("cache-control"), "no-store");
  assert.deepEqual(log, [
    ["open", `POST ${URL}`, SMALL.length],
    ["arrived", ID, SMALL, "", ""],
    ["send", `header\n${SMALL}`, "bytes"],
    ["sent", ID],
  ]);
});

test("headers cross as they are, a line each, and the time of receipt with them", async (context) => {
  context.mock.timers.enable({ apis: ["Date"], now: 1_764_000_000_123 });
  const { wasm, call } = await accepting();
  let seen;
  wasm.receive.open = (_env, head, declared, now, steps) => ((seen = [head.split("\n"), declared, now]), steps.answer(404, "{}"));
  await call(new Request(URL, { method: "PUT", headers: { "x-kept": "a: b, c" }, body: "" }));
  assert.equal(seen[0][0], `PUT ${URL}`);
  assert.equal(seen[0][seen[0].indexOf("x-kept") + 1], "a: b, c");
  assert.equal(seen[2], 1_764_000_000_123);
});

test("an answer has the headers and the body that the wasm gives it", async () => {
  const { wasm, call } = await accepting();
  wasm.receive.open = (_env, _head, _declared, _now, steps) => steps.answer(405, "{}", "allow\nGET, POST\nretry-after\n5");
  const refused = await call();
  assert.deepEqual([refused.status, refused.headers.get("allow"), refused.headers.get("retry-after")], [405, "GET, POST", "5"]);
  wasm.receive.open = (_env, _head, _declared, _now, steps) => steps.answer(204, "");
  const empty = await call(new Request(URL));
  assert.deepEqual([empty.status, empty.body, empty.headers.get("content-type")], [204, null, null]);
});

test("a large body is counted as it is read, and hashed with every key over what is signed", async () => {
  const { log, call } = await accepting({ keys: KEYS, around: ["before.", ".after"] });
  // What a buffer grows to is counted before there is memory for it, and what has arrived at the end.
  for (const [request, expected] of [
    [post(STORED), [60_000, 60_000]],
    [posted([STORED]), [32_768, 65_536, 60_000]],
  ]) {
    log.length = 0;
    assert.equal((await call(request)).status, 200);
    const tags = KEYS.map((key) => createHmac("sha256", key).update(`before.${STORED}.after`).digest("hex")).join("");
    const sha256 = createHash("sha256").update(STORED).digest("hex");
    assert.deepEqual(log.filter(([name]) => name === "grew"), expected.map((size) => ["grew", size]));
    const rest = log.filter(([name]) => !["grew", "key"].includes(name)).slice(1);
    assert.deepEqual(rest, [
      ["arrived", ID, STORED, tags, sha256],
      ["put", "payloads/a", STORED.length],
      ["send", "header\n", "bytes"],
      ["sent", ID],
    ]);
  }
});

test("a key is imported once, and no digest is computed of a body that is not stored", async () => {
  const { log, call } = await accepting({ keys: KEYS });
  for (const _ of [1, 2]) assert.equal((await call(post(LARGE))).status, 200);
  assert.deepEqual(log.filter(([name]) => name === "key"), [["key", 1, 0], ["key", 1, 1]]);
  for (const [, , , tags, sha256] of log.filter(([name]) => name === "arrived")) {
    assert.deepEqual([tags.length, sha256], [128, ""]);
  }
});

test("no body is an empty one", async () => {
  const { log, call } = await accepting();
  await call(new Request(URL, { method: "POST" }));
  assert.deepEqual(log[1], ["arrived", ID, "", "", ""]);
});

test("a body that passes the limit as it arrives is read no further", async () => {
  const { log, call } = await accepting();
  let isCancelled = false;
  const body = new ReadableStream({
    type: "bytes",
    pull: (controller) => controller.enqueue(new Uint8Array(50_000)),
    cancel: () => (isCancelled = true),
  });
  const answer = await call(new Request(URL, { method: "POST", body, duplex: "half" }));
  await tick();
  assert.deepEqual([answer.status, isCancelled], [413, true]);
  assert.deepEqual(log.at(-1)[0], "overflowed");
  assert.ok(log.at(-1)[1] > LIMIT_BYTES && log.at(-1)[1] < 3 * LIMIT_BYTES);
});

test("where there is no room for a body its sender is told to repeat", async () => {
  const { log, wasm, call } = await accepting();
  wasm.receive.grew = () => 2;
  assert.equal((await call(post(STORED))).status, 503);
  assert.deepEqual(log.at(-1).slice(0, 2), ["failed", "NoRoom"]);
});

for (const [name, pieces, sizeBytes] of [
  ["small", [], 10],
  ["large", ["x"], 50_000],
  ["of unknown size", ["x"], undefined],
]) {
  test(`a ${name} body that does not come in time is not waited for`, async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_764_000_000_000 });
    const { log, call } = await accepting();
    const answering = call(posted(pieces, { sizeBytes, ends: new Promise(() => {}) }));
    for (let n = 0; n < 4; n += 1) {
      await tick();
      assert.ok(log.every(([name]) => name !== "failed"), "not before its time");
      context.mock.timers.tick(2_500);
    }
    assert.equal((await answering).status, 503);
    assert.deepEqual(log.at(-1).slice(0, 2), ["failed", "BodyTimeout"]);
  });

  test(`a ${name} body whose sender goes away`, async () => {
    const { log, call } = await accepting();
    const answer = await call(posted(pieces, { sizeBytes, ends: Promise.reject(new Error("gone")) }));
    assert.equal(answer.status, 503);
    assert.deepEqual(log.at(-1), ["failed", "BodyUnreadable", "Error: gone"]);
  });
}

test("a thousand senders that send nothing are told to repeat after their deadline, and others are served meanwhile", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_764_000_000_000 });
  const timers = context.mock.method(globalThis, "setTimeout");
  const { log, call } = await accepting();
  const failures = () => log.filter(([name]) => name === "failed");
  const sizes = [10, 50_000, undefined];
  const stalled = Array.from({ length: 1_000 }, (_, n) => call(posted([], { sizeBytes: sizes[n % 3], ends: new Promise(() => {}) })));
  for (let passedMs = 0; passedMs < 10_000; passedMs += 2_500) {
    await tick();
    for (const body of [SMALL, STORED]) assert.equal((await call(post(body))).status, 200);
    assert.deepEqual(failures(), [], `${passedMs} ms`);
    context.mock.timers.tick(2_500);
  }
  assert.deepEqual(new Set((await Promise.all(stalled)).map(({ status }) => status)), new Set([503]));
  assert.deepEqual(new Set(failures().map(([, failure]) => failure)), new Set(["BodyTimeout"]));
  assert.equal(failures().length, 1_000);
  assert.ok(log.every(([name, bytes]) => name !== "grew" || bytes === STORED.length), "no byte of them is counted");
  assert.ok(timers.mock.callCount() <= 5, "one watch for all");
});

test("what the runtime cannot hash is no crash", async (context) => {
  context.mock.method(crypto.subtle, "sign", async () => {
    throw new Error("no hash");
  });
  const { log, wasm, call } = await accepting({ keys: KEYS });
  assert.equal((await call(post(LARGE))).status, 503);
  assert.deepEqual([log.at(-1), wasm.starts], [["failed", "CryptoFailed", "Error: no hash"], 1]);
});

test("a message that is not taken is sent once more as it was", async () => {
  for (const body of [SMALL, LARGE, STORED]) {
    const { log, call } = await accepting({ queue: failing(1) });
    assert.equal((await call(post(body))).status, 200);
    const sent = log.filter(([name]) => name === "send").map(([, message]) => message);
    assert.deepEqual(sent, Array(2).fill(body === STORED ? "header\n" : `header\n${body}`));
    assert.equal(log.filter(([name]) => name === "sent").length, 1);
    assert.ok(log.every(([name]) => name !== "delete"));
  }
});

test("what the queue does not take is answered 503, and the body stays: its message may have been taken", async () => {
  const { log, names, call } = await accepting({ queue: failing(2) });
  assert.equal((await call(post(STORED))).status, 503);
  assert.deepEqual(names().filter((name) => !["grew", "arrived", "open"].includes(name)), ["put", "send", "send", "failed"]);
  assert.deepEqual(log.at(-1), ["failed", "QueueFailed", "Error: away"]);
  const small = await accepting({ queue: failing(2) });
  assert.equal((await small.call()).status, 503);
  assert.deepEqual(small.log.at(-1), ["failed", "QueueFailed", "Error: away"]);
});

test("a body is stored once more under the same key, and not sent where it cannot be", async () => {
  const once = await accepting({ put: failing(1) });
  assert.equal((await once.call(post(STORED))).status, 200);
  assert.deepEqual(once.log.filter(([name]) => name === "put").map(([, key]) => key), ["payloads/a", "payloads/a"]);
  const never = await accepting({ put: failing(2) });
  assert.equal((await never.call(post(STORED))).status, 503);
  assert.deepEqual(never.names().slice(-4), ["put", "put", "delete", "failed"]);
});

test("a stored body that cannot be deleted is in the log", async (context) => {
  const logged = context.mock.method(console, "error", () => {});
  const { call } = await accepting({ put: failing(2), remove: failing(1) });
  assert.equal((await call(post(STORED))).status, 503);
  const lines = logged.mock.calls.map(({ arguments: [line] }) => JSON.parse(line));
  assert.deepEqual(lines.map(({ event, key }) => [event, key]), [["discard_failed", "payloads/a"]]);
});

test("a binding that is missing is a failure, and no crash", async () => {
  const { log, wasm, env, call } = await accepting();
  delete env.DELIVERIES;
  assert.equal((await call()).status, 503);
  assert.deepEqual([log.at(-1).slice(0, 2), wasm.starts], [["failed", "QueueFailed"], 1]);
});

test("the rate limiter is asked where the wasm wants it, and one that fails lets pass", async () => {
  for (const [limit, status] of [
    [async () => ({ success: true }), 401],
    [async () => ({ success: false }), 429],
    [failing(1), 401],
  ]) {
    const { log, wasm, call } = await accepting({ limit });
    wasm.receive.arrived = (_env, id, _body, _tags, _sha256, steps) => steps.askRateLimit(id, "LIMIT", "a|192.0.2.1");
    assert.equal((await call()).status, status);
    assert.deepEqual(log.slice(-2), [["limit", "a|192.0.2.1"], ["limited", SMALL, status === 401]]);
    // A body that was not read.
    wasm.receive.open = (_env, _head, _declared, _now, steps) => steps.askRateLimit(ID, "NONE", "a|");
    assert.equal((await call()).status, 401);
    assert.deepEqual(log.at(-1), ["limited", undefined, true]);
  }
});

test("counts are sent when the wasm says that they are due", async () => {
  const { log, wasm, env, context, call } = await accepting();
  wasm.receive.sent = (_env, _id, _now, steps) => steps.countsAreDue();
  assert.equal((await call()).status, 200);
  assert.deepEqual(log.at(-1), ["flush", env, context]);
});

const CRASHES = ["open", "key", "grew", "overflowed", "arrived", "rateLimited", "sent", "failed", "flush"];

/** A driver whose next call of that name crashes, and the request that makes it. `startsSoon`: instances right after the crash. */
async function crashing(call) {
  const it = await accepting({ keys: KEYS, limit: async () => ({ success: true }), queue: call === "failed" ? failing(2) : undefined });
  if (call === "flush") it.wasm.receive.sent = (_env, _id, _now, steps) => steps.countsAreDue();
  const accept = it.wasm.receive.arrived;
  if (call === "rateLimited") it.wasm.receive.arrived = (_env, id, _body, _tags, _sha256, steps) => steps.askRateLimit(id, "LIMIT", "k");
  const works = it.wasm.receive[call];
  it.startsSoon = undefined;
  it.wasm.receive[call] = () => {
    queueMicrotask(() => (it.startsSoon = it.wasm.starts));
    throw new WebAssembly.RuntimeError("unreachable");
  };
  it.request = posted([call === "overflowed" ? "z".repeat(LIMIT_BYTES + 1) : STORED]);
  it.repair = () => Object.assign(it.wasm.receive, { [call]: works, arrived: call === "arrived" ? works : accept });
  return it;
}

for (const call of CRASHES) {
  test(`an exception out of ${call} replaces the instance at once and is answered 503`, async () => {
    const it = await crashing(call);
    await assertInterrupted(await it.call(it.request));
    assert.equal(it.startsSoon, 2, "before anything else runs");
    assert.equal(it.wasm.starts, 2);
    assert.ok(!it.names().includes("failed"), "the broken instance is not asked again");
    it.repair();
    assert.equal((await it.call()).status, 200);
  });
}

test("a crash replaces the instance though its request has been answered before", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_764_000_000_000 });
  const { wasm, call } = await accepting();
  let controller;
  const body = new ReadableStream({ type: "bytes", start: (given) => (controller = given), cancel: () => {} });
  wasm.receive.failed = (_env, _id, _failure, _error, _now, steps) => {
    wasm.receive.grew = () => {
      throw new WebAssembly.RuntimeError("unreachable");
    };
    steps.answer(503, '{"code":"body_timeout"}');
  };
  const answering = call(new Request(URL, { method: "POST", body, duplex: "half" }));
  await tick();
  // Whatever the stream does when it is dropped, the driver counts what came.
  ReadableStreamBYOBReader.prototype.cancel = async () => {};
  try {
    for (let n = 0; n < 4; n += 1) (await tick(), context.mock.timers.tick(2_500));
    assert.equal((await (await answering).json()).code, "body_timeout");
    controller.enqueue(new Uint8Array(20_000));
    await tick();
    assert.equal(wasm.starts, 2);
  } finally {
    delete ReadableStreamBYOBReader.prototype.cancel;
  }
});

for (const undecided of ["open", "arrived", "rateLimited", "failed"]) {
  test(`a request is answered 503 where ${undecided} says nothing`, async () => {
    const it = await accepting({ queue: undecided === "failed" ? failing(2) : undefined, limit: async () => ({ success: true }) });
    if (undecided === "rateLimited") it.wasm.receive.arrived = (_env, id, _body, _tags, _sha256, steps) => steps.askRateLimit(id, "LIMIT", "k");
    it.wasm.receive[undecided] = () => {};
    await assertInterrupted(await it.call());
    assert.equal(it.wasm.starts, 1, "no crash");
  });
}

for (const [announced, expected] of [
  ["", -1],
  ["nine", -1],
  ["-5", -1],
  ["1e3", -1],
  ["13, 13", -1],
  ["13.5", -1],
  ["9".repeat(400), Infinity],
]) {
  test(`a Content-Length of ${JSON.stringify(announced.slice(0, 9))} is ${expected}, and the body is read`, async () => {
    const { log, call } = await accepting();
    const headers = { forEach: (take) => take(announced, "content-length") };
    assert.equal((await call({ method: "POST", url: URL, headers, body: posted([SMALL]).body })).status, 200);
    assert.deepEqual(log.find(([name]) => name === "open"), ["open", `POST ${URL}`, expected]);
    assert.deepEqual(log.find(([name]) => name === "arrived"), ["arrived", ID, SMALL, "", ""]);
  });
}

test("what an instance knew of a request is gone with it: nobody else counts it", async () => {
  for (const step of ["send", "put", "limit"]) {
    const it = await accepting();
    const replace = () => it.wasm.reset();
    if (step === "send") it.env.DELIVERIES.send = replace;
    if (step === "put") it.env.PAYLOADS.put = replace;
    if (step === "limit") {
      it.env.LIMIT.limit = replace;
      it.wasm.receive.arrived = (_env, id, _body, _tags, _sha256, steps) => steps.askRateLimit(id, "LIMIT", "k");
    }
    await assertInterrupted(await it.call(post(STORED)));
    assert.ok(!it.names().includes("sent") && !it.names().includes("limited") && !it.names().includes("failed"), step);
  }
});

test("other forms of a path are the receiver's where the wasm says so", async () => {
  const { wasm, call } = await accepting();
  const asked = [];
  wasm.isWebhook = (_env, url) => asked.push(url) && url.includes("%68");
  wasm.fetch = async () => new Response("other");
  const to = (path) => call(new Request(`https://gateway.example${path}`, { method: "POST", body: SMALL }));
  assert.equal(await (await to("/webhook/a?b")).text(), "accepted");
  assert.deepEqual(asked, []);
  assert.equal(await (await to("/web%68ook/a")).text(), "accepted");
  assert.equal(await (await to("/api/webhook/a")).text(), "other");
  assert.equal(asked.length, 2);
  wasm.isWebhook = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  // A 404 of the router would be final for a sender.
  await assertInterrupted(await to("//webhook/a"));
  assert.equal(wasm.starts, 2);
});
