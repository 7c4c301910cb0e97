/**
 * Gives an instance of the wasm that has crashed a successor.
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

import * as wasm from "gateway-wasm";

// A Rust panic puts about ten frames of its own machinery on top of the one that matters.
Error.stackTraceLimit = 50;

/** Seconds after which a sender whose event was interrupted may try again; the successor is ready within milliseconds. */
const RETRY_AFTER_S = "1";

/** What the generated glue throws when JavaScript calls back into an instance that has been replaced: late, but no crash. */
const STALE_CALLBACK = "Cannot invoke closure from previous WASM instance";

/** Settles an event whose instance has crashed. A value, because a Response may only be made by the request that it answers. */
export const INTERRUPTED = Symbol("interrupted");

/** Kept by the `worker` crate: `criticalError` is set by its panic hook, `instanceId` counts the starts of instances. */
export const instance = wasm.__worker_init_state();

/** The settling functions of the events that the current instance is working on. */
const inFlight = new Set();

/** The instance that `inFlight` belongs to. */
let inFlightInstanceId = instance.instanceId;

/** An error after which memory and stack of the instance cannot be trusted. */
export function isTrap(error) {
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
export function tryReplaceInstance(cause) {
  try {
    replaceInstance(cause);
  } catch (error) {
    log("instance_not_started", error);
  }
}

/** Called before every event. @throws when an instance has crashed and its successor cannot start. */
export function ensureInstance() {
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
 * @param {(target: object, event: unknown, env?: unknown, context?: unknown) => Promise<unknown>} start
 * @returns what the event answers, or `INTERRUPTED`
 */
export function supervise(start, target, event, env, context) {
  let answer;
  try {
    ensureInstance();
    answer = start(target, event, env, context);
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
export function unavailable() {
  return Response.json(
    { error: "Service unavailable", code: "interrupted" },
    { status: 503, headers: { "Retry-After": RETRY_AFTER_S } },
  );
}

/** For events that have no answer: failing is what makes the platform repeat them. */
export function orFail(outcome) {
  if (outcome === INTERRUPTED) {
    throw new Error("interrupted: the wasm instance has crashed");
  }
  return outcome;
}

/** Where a successor did not start, the number is still that of the instance that has crashed. */
export const isReplaced = (instanceId) => instance.criticalError || instanceId !== instance.instanceId;

// A task that traps has no caller: the event that it belongs to would wait for ever.
addEventListener("error", ({ error }) => {
  if (!error?.message?.includes(STALE_CALLBACK)) {
    tryReplaceInstance(error);
  }
});
