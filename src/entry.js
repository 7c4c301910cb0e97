/**
 * The module that wrangler bundles: hands the platform's events to the Worker's wasm. Requests to sources go through the
 * receiver's driver; an instance that has crashed gets a successor (instance.js).
 */

import { DurableObject } from "cloudflare:workers";
import * as wasm from "gateway-wasm";

import { INTERRUPTED, ensureInstance, instance, orFail, supervise, tryReplaceInstance, unavailable } from "./instance.js";
import { receive } from "./receive/driver.js";

const startFetch = (_, request, env, context) => wasm.fetch(request, env, context);
const startQueue = (_, batch, env, context) => wasm.queue(batch, env, context);
const startScheduled = (_, event, env, context) => wasm.scheduled(event, env, context);

/** No origin is shorter: `http://` and a character. */
const ORIGIN_CHARS = 8;

/** Whether a request is the receiver's. Nearly all are in the form that needs no wasm to tell. */
function isReceivers(url, env) {
  if (url.startsWith("/webhook/", url.indexOf("/", ORIGIN_CHARS))) return true;
  try {
    ensureInstance();
    return wasm.is_webhook(env, url);
  } catch (error) {
    tryReplaceInstance(error);
    return false;
  }
}

async function manage(request, env, context) {
  const answer = await supervise(startFetch, undefined, request, env, context);
  return answer === INTERRUPTED ? unavailable() : answer;
}

export default {
  fetch(request, env, context) {
    const { url } = request;
    return isReceivers(url, env) ? receive(request, url, env, context) : manage(request, env, context);
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
export const DeadLetterStore = durableObject(wasm.DeadLetterStore);
export const AuditLog = durableObject(wasm.AuditLog);
export const Watch = durableObject(wasm.Watch);
export const Lifecycle = durableObject(wasm.Lifecycle);
export const Dispatches = durableObject(wasm.Dispatches);
