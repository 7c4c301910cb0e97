/**
 * The module that wrangler bundles: hands the platform's events to the Worker's wasm, and gives an instance of the wasm that
 * has crashed a successor.
 *
 * A panic, a trap, an exhausted stack or an exception that passes through Rust's frames leaves the wasm instance in an unknown
 * state, with every event that it was working on. What this module promises:
 *
 * - No event ever reaches an instance that is known to have crashed. The crash is noticed where it happens (an exception out of
 *   an exported function, a rejection with a trap, the global `error` event of a task, the flag that the panic hook of the
 *   `worker` crate sets), and the instance is replaced there and then: waiting for the next event would let callbacks of the
 *   dead instance run against the memory of the new one, because the generated glue tells them apart only after a replacement.
 * - No event that was in flight waits for an answer that cannot come. A request is answered with 503 and `Retry-After`, so that
 *   its sender repeats it; a batch of messages, a cron event, an alarm and a call of a Durable Object fail, so that the platform
 *   or the caller repeats them. What the event had stored durably before stays: repeating is what the ledger is for.
 * - A Durable Object that was built by an earlier instance is built again, from its own state, before its next event.
 * - An exception while a Durable Object is being built counts as a crash.
 *
 * Events in flight are members of a set, each with the function that settles it. One promise for "this instance has crashed",
 * shared by all events, would look simpler, but every `Promise.race` against it would leave its reaction behind for as long as
 * the instance lives, and it would belong to the request that happened to create it.
 *
 * On the way of an event this costs an object, two promises and an entry of a set, and no Proxy: well under a microsecond.
 *
 * Out of scope: work given to `waitUntil` by an event that has already been answered is lost with its instance; WebSocket events.
 */

import { DurableObject } from "cloudflare:workers";
import * as wasm from "gateway-wasm";

// A Rust panic puts about ten frames of its own machinery on top of the one that matters.
Error.stackTraceLimit = 50;

/** Seconds after which a sender whose event was interrupted may try again; the successor is ready within milliseconds. */
const RETRY_AFTER_S = "1";

/** What the generated glue throws when JavaScript calls back into an instance that has been replaced: late, but no crash. */
const STALE_CALLBACK = "Cannot invoke closure from previous WASM instance";

/** Settles an event whose instance has crashed. A value, because a Response may only be made by the request that it answers. */
const INTERRUPTED = Symbol("interrupted");

/** Kept by the `worker` crate: `criticalError` is set by its panic hook, `instanceId` counts the starts of instances. */
const instance = wasm.__worker_init_state();

/** The settling functions of the events that the current instance is working on. */
const inFlight = new Set();

/** The instance that `inFlight` belongs to. */
let inFlightInstanceId = instance.instanceId;

/** An error after which memory and stack of the instance cannot be trusted. */
function isTrap(error) {
  return (
    error instanceof WebAssembly.RuntimeError ||
    // An exhausted stack is not reported as a trap, but it cuts Rust's frames off just the same.
    (error instanceof RangeError && error.message.includes("call stack"))
  );
}

/** Replaces the instance and settles what it was working on. */
function replaceInstance(cause) {
  console.error("the wasm instance has crashed and is replaced", cause);
  // Until the successor has started, every event tries again to start it.
  instance.criticalError = true;
  settleInFlight();
  wasm.__wbg_reset_state();
  instance.criticalError = false;
  instance.instanceId += 1;
  inFlightInstanceId = instance.instanceId;
}

function settleInFlight() {
  const interrupted = [...inFlight];
  inFlight.clear();
  for (const settle of interrupted) {
    settle(INTERRUPTED);
  }
}

/** As `replaceInstance`, for places that have an answer to give even if the successor cannot start. */
function tryReplaceInstance(cause) {
  try {
    replaceInstance(cause);
  } catch (error) {
    console.error("the successor of the wasm instance did not start", error);
  }
}

/** Called before every event. @throws when an instance has crashed and its successor cannot start. */
function ensureInstance() {
  if (instance.criticalError) {
    replaceInstance("found by the next event");
  } else if (instance.instanceId !== inFlightInstanceId) {
    // The glue replaces an instance by itself where it notices first.
    settleInFlight();
    inFlightInstanceId = instance.instanceId;
  }
}

/**
 * Starts an event and waits for its end or for the end of its instance.
 *
 * @param {(target: object, event: unknown, env?: unknown, context?: unknown, body?: Uint8Array) => Promise<unknown>} start
 * @returns what the event answers, or `INTERRUPTED`
 */
function supervise(start, target, event, env, context, body) {
  let answer;
  try {
    ensureInstance();
    answer = start(target, event, env, context, body);
  } catch (error) {
    // Exported functions are asynchronous: failures are rejections, and nothing but a crash is thrown.
    tryReplaceInstance(error);
    return INTERRUPTED;
  }
  return new Promise((resolve, reject) => {
    inFlight.add(resolve);
    answer.then(
      (value) => {
        inFlight.delete(resolve);
        resolve(value);
      },
      (error) => {
        inFlight.delete(resolve);
        if (isTrap(error)) {
          tryReplaceInstance(error);
          resolve(INTERRUPTED);
        } else {
          reject(error);
        }
      },
    );
  });
}

/** The answer to a request that was interrupted: not stored as far as its sender knows, to be sent again. */
function unavailable() {
  return Response.json(
    { error: "Service unavailable", code: "interrupted" },
    { status: 503, headers: { "Retry-After": RETRY_AFTER_S } },
  );
}

/** For events that have no answer: failing is what makes the platform repeat them. */
function orFail(outcome) {
  if (outcome === INTERRUPTED) {
    throw new Error("interrupted: the wasm instance has crashed");
  }
  return outcome;
}

// A task that traps has no caller: the event that it belongs to would wait for ever.
addEventListener("error", ({ error }) => {
  if (!error?.message?.includes(STALE_CALLBACK)) {
    tryReplaceInstance(error);
  }
});

const startFetch = (_, request, env, context, body) => wasm.fetch(request, env, context, body);
const startQueue = (_, batch, env, context) => wasm.queue(batch, env, context);
const startScheduled = (_, event, env, context) => wasm.scheduled(event, env, context);

/** An address of a source: `https://host/webhook/…`. */
const WEBHOOK = /^[a-z]+:\/\/[^/]+\/webhook\//;
const BYTES = { contentType: "bytes" };
const ACCEPTED = { headers: { "content-type": "application/json", "cache-control": "no-store" } };

/** URL and headers, a line each: one text crosses to the wasm faster than a dozen. */
function headOf(request) {
  let head = request.url;
  for (const [name, value] of request.headers) head += `\n${name}\n${value}`;
  return head;
}

/**
 * The short way of a small delivery (src/small.rs): reads, asks, sends and answers here. It can only accept. Every call to the
 * wasm is synchronous, so a crash of the instance comes out of it as an exception or shows in the instance's number.
 *
 * @returns the answer to an accepted delivery; `INTERRUPTED`; or the body, if it was read, for the general way
 */
async function acceptSmall(request, env, context, sizeBytes) {
  let body;
  try {
    ensureInstance();
    const ticket = wasm.small_admit(sizeBytes);
    if (ticket === 0) return undefined;
    const { instanceId } = instance;
    try {
      body = new Uint8Array(await request.arrayBuffer());
    } catch {
      if (instanceId === instance.instanceId) wasm.small_release(ticket);
      return undefined;
    }
    if (instanceId !== instance.instanceId) return body;
    const message = wasm.small_inspect(ticket, env, headOf(request), body);
    if (message === undefined) return body;
    try {
      await env.DELIVERIES.send(message, BYTES);
    } catch {
      // The general way tries once more, and says what is wrong.
      if (instanceId === instance.instanceId) wasm.small_release(ticket);
      return body;
    }
    // Durable, but uncounted: the sender repeats, and the ledger sees that it is the same.
    if (instanceId !== instance.instanceId) return INTERRUPTED;
    const text = wasm.small_sent(ticket, env, context);
    return text === undefined ? INTERRUPTED : new Response(text, ACCEPTED);
  } catch (error) {
    tryReplaceInstance(error);
    return INTERRUPTED;
  }
}

export default {
  async fetch(request, env, context) {
    let body;
    if (request.method === "POST") {
      const length = request.headers.get("content-length");
      if (length !== null && WEBHOOK.test(request.url)) {
        const small = await acceptSmall(request, env, context, Number(length));
        if (small instanceof Response) return small;
        if (small === INTERRUPTED) return unavailable();
        body = small;
      }
    }
    const answer = await supervise(startFetch, undefined, request, env, context, body);
    return answer === INTERRUPTED ? unavailable() : answer;
  },
  async queue(batch, env, context) {
    return orFail(await supervise(startQueue, undefined, batch, env, context));
  },
  async scheduled(event, env, context) {
    return orFail(await supervise(startScheduled, undefined, event, env, context));
  },
};

/** The class that the platform knows, around a class that Rust exports. Private members keep it closed to remote calls. */
function durableObject(Exported) {
  class Supervised extends DurableObject {
    static #startFetch = (self, request) => self.#current().fetch(request);
    static #startAlarm = (self) => self.#current().alarm();

    #exported;
    #instanceId;

    static {
      // The platform takes a class that has the method for one that handles alarms.
      if ("alarm" in Exported.prototype) {
        Supervised.prototype.alarm = async function alarm() {
          return orFail(await supervise(Supervised.#startAlarm, this));
        };
      }
    }

    constructor(state, env) {
      super(state, env);
      try {
        ensureInstance();
        this.#current();
      } catch (error) {
        tryReplaceInstance(error);
        throw error;
      }
    }

    /** The object in the current instance, built again if an earlier instance built it. */
    #current() {
      if (this.#instanceId !== instance.instanceId) {
        this.#exported = new Exported(this.ctx, this.env);
        this.#instanceId = instance.instanceId;
      }
      return this.#exported;
    }

    async fetch(request) {
      return orFail(await supervise(Supervised.#startFetch, this, request));
    }
  }
  return Supervised;
}

export const Counters = durableObject(wasm.Counters);
export const DeliveryLedger = durableObject(wasm.DeliveryLedger);
export const DeadLetterStore = durableObject(wasm.DeadLetterStore);
export const AuditLog = durableObject(wasm.AuditLog);
export const Watch = durableObject(wasm.Watch);
export const Lifecycle = durableObject(wasm.Lifecycle);
export const Destination = durableObject(wasm.Destination);
