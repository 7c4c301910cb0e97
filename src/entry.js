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

/** A line in the form of the Worker's own (src/platform/log.rs). */
function log(event, cause) {
  console.error(JSON.stringify({ level: "error", event, error: String(cause), stack: cause?.stack }));
}

/** Replaces the instance and settles what it was working on. */
function replaceInstance(cause) {
  log("instance_replaced", cause);
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
    log("instance_not_started", error);
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
 * @param {(target: object, event: unknown, env?: unknown, context?: unknown, body?: Uint8Array, ticket?: number) => Promise<unknown>} start
 * @returns what the event answers, or `INTERRUPTED`
 */
function supervise(start, target, event, env, context, body, ticket) {
  let answer;
  try {
    ensureInstance();
    answer = start(target, event, env, context, body, ticket);
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

const startFetch = (_, request, env, context, body, ticket) => wasm.fetch(request, env, context, body, ticket);
const startQueue = (_, batch, env, context) => wasm.queue(batch, env, context);
const startScheduled = (_, event, env, context) => wasm.scheduled(event, env, context);

/** From this size on a body is hashed by the runtime, in place. */
const HASHED_OUTSIDE_FROM = wasm.short_hashed_outside_from();
const NOTHING = new Uint8Array(0);
const BYTES = { contentType: "bytes" };
/** Made once: the runtime copies headers faster than it reads them out of an object. */
const ACCEPTED = { headers: new Headers({ "content-type": "application/json", "cache-control": "no-store" }) };

/** A longer body has no place in any isolate. */
const MAX_U32 = 0xffffffff;
/** Of HMAC-SHA256. */
const TAG_BYTES = 32;
/** What `short_inspect` begins with where the body goes to the bucket. */
const STORE = 0;
/** What `short_sent` answers: it knows no such ticket; it was counted, and the counts are to be sent. */
const [UNKNOWN, FLUSH_DUE] = [0, 2];

/** Text of ASCII bytes, a hundred at most: cheaper than a decoder, which is a call into the runtime. */
const ascii = (bytes) => String.fromCharCode.apply(null, bytes);

function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** The general way: everything but what `shortWay` accepts. `ticket`: what is known of `body`, 0 for nothing. */
async function generalWay(request, env, context, body, ticket = 0) {
  const answer = await supervise(startFetch, undefined, request, env, context, body, ticket);
  return answer === INTERRUPTED ? unavailable() : answer;
}

/**
 * The short way of a delivery (src/short.rs): reads, hashes, stores, sends and answers here. It can only accept; everything else goes
 * on along the general way, with the body if it was read. Every call to the wasm is synchronous, so a crash of the instance comes
 * out of it as an exception or shows in the instance's number; a ticket belongs to the instance that gave it.
 */
async function shortWay(request, env, context) {
  let ticket = 0;
  let body;
  // Whether the runtime is at work, not the wasm: its failures are no crash.
  let isOutside = false;
  let instanceId;
  // Where a successor did not start, the number is still that of the instance that has crashed.
  const isReplaced = () => instance.criticalError || instanceId !== instance.instanceId;
  let sizeBytes = Infinity;
  const goOn = () => {
    // A body whose buffer went with a failed call is gone: whoever looked at it now would take it for an empty one.
    if (body !== undefined && body.length !== sizeBytes) return unavailable();
    return generalWay(request, env, context, body, isReplaced() ? 0 : ticket);
  };
  try {
    ensureInstance();
    instanceId = instance.instanceId;
    // URL and headers, a line each: one text crosses to the wasm faster than a dozen.
    let head = request.url;
    request.headers.forEach((value, name) => {
      if (name === "content-length") sizeBytes = Number(value);
      head += `\n${name}\n${value}`;
    });
    if (sizeBytes <= MAX_U32) ticket = wasm.short_begin(env, head, sizeBytes);
    if (ticket === 0) return goOn();

    isOutside = true;
    body = new Uint8Array(await request.arrayBuffer());
    let tags = NOTHING;
    if (body.length >= HASHED_OUTSIDE_FROM) {
      if (isReplaced()) return goOn();
      isOutside = false;
      const keys = wasm.short_keys(ticket);
      if (keys === undefined) return goOn();
      isOutside = true;
      tags = new Uint8Array(TAG_BYTES * keys.length);
      for (let n = 0; n < keys.length; n += 1) {
        tags.set(new Uint8Array(await crypto.subtle.sign("HMAC", keys[n], body)), TAG_BYTES * n);
      }
    }
    if (isReplaced()) return goOn();
    isOutside = false;
    let reply = wasm.short_inspect(ticket, body, tags);
    if (reply === undefined) return goOn();

    isOutside = true;
    if (reply[0] === STORE) {
      const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
      await env.PAYLOADS.put(ascii(reply.subarray(1)), body);
      if (isReplaced()) return goOn();
      isOutside = false;
      reply = wasm.short_stored(ticket, sha256);
      isOutside = true;
    } else if (tags !== NOTHING) {
      reply = joined(reply, body);
    }
    // Before the message is sent: the runtime takes its buffer away.
    const answer = ascii(reply.subarray(1, 1 + reply[0]));
    const message = reply.subarray(1 + reply[0]);
    await env.DELIVERIES.send(message, BYTES);

    // Where the instance was replaced the delivery is durable and uncounted: its sender repeats, the ledger knows it again.
    isOutside = false;
    const counted = isReplaced() ? UNKNOWN : wasm.short_sent(ticket);
    if (counted === UNKNOWN) return unavailable();
    if (counted === FLUSH_DUE) wasm.short_flush(env, context);
    return new Response(answer, ACCEPTED);
  } catch (error) {
    // The general way tries once more, and says what is wrong.
    if (isOutside && !isTrap(error)) return goOn();
    tryReplaceInstance(error);
    return unavailable();
  }
}

export default {
  fetch(request, env, context) {
    return request.method === "POST" ? shortWay(request, env, context) : generalWay(request, env, context);
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
