/**
 * Loads `src/entry.js` as it is, with a wasm that the test controls: the two modules that only the build or the platform can
 * give are replaced where Node resolves them. Each call gives a fresh copy, because the entry module keeps state.
 */

import { registerHooks } from "node:module";

const SUBSTITUTES = {
  "cloudflare:workers": "export class DurableObject { constructor(ctx, env) { this.ctx = ctx; this.env = env; } }",
  "gateway-wasm": `
    const wasm = globalThis.wasmUnderTest;
    export const __worker_init_state = () => wasm.state;
    export const __wbg_reset_state = () => wasm.reset();
    export const fetch = (...args) => wasm.fetch(...args);
    export const DriverFailure = wasm.DriverFailure;
    export const receive_limits = () => wasm.limits;
    export const receive_open = (...args) => wasm.receive.open(...args);
    export const receive_key = (...args) => wasm.receive.key(...args);
    export const receive_grew = (...args) => wasm.receive.grew(...args);
    export const receive_overflowed = (...args) => wasm.receive.overflowed(...args);
    export const receive_arrived = (...args) => wasm.receive.arrived(...args);
    export const receive_rate_limited = (...args) => wasm.receive.rateLimited(...args);
    export const receive_sent = (...args) => wasm.receive.sent(...args);
    export const receive_failed = (...args) => wasm.receive.failed(...args);
    export const receive_flush = (...args) => wasm.receive.flush(...args);
    export const is_webhook = (...args) => wasm.isWebhook(...args);
    export const queue = (...args) => wasm.queue(...args);
    export const scheduled = (...args) => wasm.scheduled(...args);
    export const Counters = wasm.Counters;
    export const DeliveryLedger = wasm.Lifecycle;
    export const DeadLetterStore = wasm.Lifecycle;
    export const AuditLog = wasm.Lifecycle;
    export const Monitor = wasm.Lifecycle;
    export const Lifecycle = wasm.Lifecycle;
    export const Destination = wasm.Lifecycle;
  `,
};

let copies = 0;

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (specifier in SUBSTITUTES) {
      copies += 1;
      const source = encodeURIComponent(`${SUBSTITUTES[specifier]}\n// copy ${copies}`);
      return { url: `data:text/javascript,${source}`, shortCircuit: true };
    }
    const resolved = nextResolve(specifier, context);
    const copy = new URL(context.parentURL ?? "file:").search;
    return copy.startsWith("?copy") && specifier.startsWith(".") ? { ...resolved, url: `${resolved.url}${copy}` } : resolved;
  },
});

/**
 * A wasm whose functions the test replaces at will. `starts` counts instances; like the `worker` crate, every start moves
 * `instanceId` on. Objects remember the instance that built them and refuse calls in another one, as the generated glue does.
 */
function fakeWasm() {
  const wasm = {
    starts: 1,
    state: { criticalError: false, instanceId: 1 },
    reset() {
      wasm.starts += 1;
      wasm.state.instanceId += 1;
    },
    fetch: async () => "answer",
    DriverFailure: { BodyTimeout: 0, BodyUnreadable: 1, NoRoom: 2, CryptoFailed: 3, StorageFailed: 4, QueueFailed: 5 },
    /** Deadline in milliseconds; bodies are hashed outside of the wasm from 100 bytes on, and stored from 20,000 on. */
    limits: [10_000, 100, 20_000],
    receive: {},
    isWebhook: () => false,
    queue: async () => undefined,
    scheduled: async () => undefined,
    built: [],
    build: () => undefined,
    objectFetch: async () => "object's answer",
    objectAlarm: async () => undefined,
  };
  class FakeObject {
    constructor(state, env) {
      wasm.build(state, env);
      this.start = wasm.starts;
      wasm.built.push({ state, env, start: this.start });
    }
    fetch(request) {
      if (this.start !== wasm.starts) throw new Error("Invalid stale object from previous Wasm instance");
      return wasm.objectFetch(request);
    }
  }
  wasm.Counters = class extends FakeObject {};
  wasm.Lifecycle = class extends FakeObject {
    alarm() {
      return wasm.objectAlarm();
    }
  };
  return wasm;
}

/** A fresh entry module on a fresh fake wasm; `raise` stands for the runtime reporting an error that no caller caught. */
export async function load() {
  const wasm = fakeWasm();
  let onError;
  globalThis.wasmUnderTest = wasm;
  globalThis.addEventListener = (type, listener) => {
    if (type === "error") onError = listener;
  };
  copies += 1;
  const entry = await import(`../../src/entry.js?copy=${copies}`);
  return { entry, handlers: entry.default, wasm, raise: (error) => onError({ error }) };
}
