/** What `src/instance.js` promises when an instance of the wasm crashes. Node's own test runner: `node --test tests/entry`. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { load } from "./load.mjs";

/** A management call: no request to a source. */
const REQUEST = { url: "https://gateway.example/api/health" };
const EVENTS = { fetch: REQUEST, queue: "batch", scheduled: "event" };

const trap = () => new WebAssembly.RuntimeError("unreachable");
const never = () => new Promise(() => {});

// The module under test reports crashes on the console; the tests cause them on purpose.
beforeEach((context) => context.mock.method(console, "error", () => {}));

async function assertInterrupted(response) {
  assert.equal(response.status, 503);
  assert.equal(response.headers.get("Retry-After"), "1");
  assert.equal((await response.json()).code, "interrupted");
}

test("events reach the wasm with their arguments, and their answers come back", async () => {
  const { handlers, wasm } = await load();
  for (const name of ["fetch", "queue", "scheduled"]) {
    wasm[name] = async (event, env, context) => [name, event, env, context];
    assert.deepEqual(await handlers[name](EVENTS[name], "env", "context"), [name, EVENTS[name], "env", "context"]);
  }
  assert.equal(wasm.starts, 1);
});

test("an error that Rust returns reaches the caller and leaves the instance alone", async () => {
  const { handlers, wasm } = await load();
  wasm.fetch = async () => {
    throw new Error("an ordinary failure");
  };
  await assert.rejects(handlers.fetch(REQUEST), /an ordinary failure/);
  assert.equal(wasm.starts, 1);
});

const crashes = {
  "a trap thrown by the exported function": (wasm) => {
    wasm.fetch = () => {
      throw trap();
    };
  },
  "a foreign exception thrown through Rust's frames": (wasm) => {
    wasm.fetch = () => {
      throw new TypeError("from an import");
    };
  },
  "a rejection with a trap": (wasm) => {
    wasm.fetch = async () => {
      throw trap();
    };
  },
  "a rejection with an exhausted stack": (wasm) => {
    wasm.fetch = async () => {
      throw new RangeError("Maximum call stack size exceeded");
    };
  },
};
for (const [name, arm] of Object.entries(crashes)) {
  test(`${name} is answered with 503 and replaces the instance at once, once`, async () => {
    const { handlers, wasm } = await load();
    arm(wasm);
    await assertInterrupted(await handlers.fetch(REQUEST));
    assert.equal(wasm.starts, 2);
    wasm.fetch = async () => "served by the successor";
    assert.equal(await handlers.fetch(REQUEST), "served by the successor");
    assert.equal(wasm.starts, 2);
    assert.equal(wasm.state.criticalError, false);
  });
}

test("a crash settles every event in flight, each in its own way", async () => {
  const { entry, handlers, wasm, raise } = await load();
  Object.assign(wasm, { fetch: never, queue: never, scheduled: never, objectFetch: never, objectAlarm: never });
  const object = new entry.Lifecycle("state", "env");
  const requests = [handlers.fetch(REQUEST), handlers.fetch(REQUEST)];
  const others = [handlers.queue("batch"), handlers.scheduled("cron"), object.fetch("request"), object.alarm()];
  raise(trap());
  for (const request of requests) await assertInterrupted(await request);
  for (const other of others) await assert.rejects(other, /interrupted/);
  assert.equal(wasm.starts, 2);
});

test("a crash is logged in the form of the Worker's own lines", async () => {
  const { handlers, wasm } = await load();
  wasm.fetch = async () => {
    throw trap();
  };
  await assertInterrupted(await handlers.fetch(REQUEST));
  const lines = console.error.mock.calls.map(({ arguments: [line] }) => JSON.parse(line));
  assert.deepEqual(lines.map(({ level, event, error }) => [level, event, error]), [["error", "instance_replaced", "RuntimeError: unreachable"]]);
});

test("an event that ended before the crash is not touched by it", async () => {
  const { handlers, raise } = await load();
  const answered = handlers.fetch(REQUEST);
  assert.equal(await answered, "answer");
  raise(trap());
  assert.equal(await answered, "answer");
});

test("the flag of the panic hook is enough: the next event starts in a new instance", async () => {
  const { handlers, wasm } = await load();
  wasm.state.criticalError = true;
  assert.equal(await handlers.fetch(REQUEST), "answer");
  assert.equal(wasm.starts, 2);
});

test("a late callback of a replaced instance is not a crash of its successor", async () => {
  const { handlers, wasm, raise } = await load();
  raise(new Error("Cannot invoke closure from previous WASM instance"));
  assert.equal(await handlers.fetch(REQUEST), "answer");
  assert.equal(wasm.starts, 1);
});

test("a successor that does not start means 503, until one does", async () => {
  const { handlers, wasm, raise } = await load();
  const { reset } = wasm;
  wasm.reset = () => {
    throw new RangeError("out of memory");
  };
  raise(trap());
  await assertInterrupted(await handlers.fetch(REQUEST));
  await assert.rejects(handlers.queue("batch"), /interrupted/);
  wasm.reset = reset;
  assert.equal(await handlers.fetch(REQUEST), "answer");
  assert.equal(wasm.starts, 2);
});

test("an instance that the glue has replaced by itself: what the old one worked on is settled by the next event", async () => {
  const { handlers, wasm } = await load();
  wasm.fetch = never;
  const waiting = handlers.fetch(REQUEST);
  wasm.reset();
  wasm.fetch = async () => "answer";
  assert.equal(await handlers.fetch(REQUEST), "answer");
  await assertInterrupted(await waiting);
  assert.equal(wasm.starts, 2);
});

test("a Durable Object of an earlier instance is built again, with its own state, before its next event", async () => {
  const { entry, wasm, raise } = await load();
  const object = new entry.Counters("state", "env");
  assert.equal(await object.fetch("request"), "object's answer");
  assert.deepEqual(wasm.built, [{ state: "state", env: "env", start: 1 }]);
  raise(trap());
  assert.equal(await object.fetch("request"), "object's answer");
  assert.equal(await object.fetch("request"), "object's answer");
  assert.deepEqual(wasm.built, [
    { state: "state", env: "env", start: 1 },
    { state: "state", env: "env", start: 2 },
  ]);
});

test("an exception while a Durable Object is built is a crash", async () => {
  const { entry, wasm } = await load();
  wasm.build = () => {
    throw new Error("cannot build");
  };
  assert.throws(() => new entry.Counters("state", "env"), /cannot build/);
  assert.equal(wasm.starts, 2);
});

test("an object whose rebuild fails fails its event, and is built by the event after it", async () => {
  const { entry, wasm, raise } = await load();
  const object = new entry.Lifecycle("state", "env");
  raise(trap());
  wasm.build = () => {
    throw trap();
  };
  await assert.rejects(object.alarm(), /interrupted/);
  wasm.build = () => undefined;
  await object.alarm();
  assert.equal(wasm.built.length, 2);
});

test("an ordinary failure of an object reaches its caller", async () => {
  const { entry, wasm } = await load();
  wasm.objectFetch = async () => {
    throw new Error("an ordinary failure");
  };
  await assert.rejects(new entry.Counters("state", "env").fetch("request"), /an ordinary failure/);
  assert.equal(wasm.starts, 1);
});

test("only a class that handles alarms in Rust has an alarm handler, and nothing else is there for remote callers", async () => {
  const { entry } = await load();
  assert.deepEqual(Object.getOwnPropertyNames(entry.Lifecycle.prototype).sort(), ["alarm", "constructor", "fetch"]);
  assert.deepEqual(Object.getOwnPropertyNames(entry.Counters.prototype).sort(), ["constructor", "fetch"]);
});
