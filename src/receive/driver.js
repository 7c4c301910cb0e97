/**
 * Receives a request to `/webhook/{source}`: does the input and output that the wasm asks for, step by step.
 *
 * Promises: every call into the wasm is synchronous, so a crash of the instance comes out of it as an exception or shows in the
 * instance's number; nothing is answered 200 before its message was sent; a body is read under a deadline, and its bytes are
 * counted as they arrive; a message that is not sent leaves no stored body behind. Out of scope: every decision
 * (`crates/core/src/receive`).
 */

import * as wasm from "gateway-wasm";

import { INTERRUPTED, ensureInstance, instance, isReplaced, tryReplaceInstance, unavailable } from "../instance.js";

/** In milliseconds and bytes. From the last two sizes on a body is hashed by the runtime, and stored in the bucket. */
const [readDeadlineMs, hashedFromBytes, storedFromBytes] = wasm.receive_limits();

/** What `receive_grew` answers beside "read on" (0). */
const [TOO_LARGE, NO_ROOM] = [1, 2];

/** Why a request is answered 503 (`Failure` of `src/receive/mod.rs`). */
const { BodyTimeout, BodyUnreadable, NoRoom, CryptoFailed, StorageFailed, QueueFailed } = wasm.Failure;

const QUEUES = ["DELIVERIES", "DEAD_LETTERS"];
const BYTES = { contentType: "bytes" };

/** A body is read in parts that double from the first size to the second, so that memory follows what has arrived. */
const [FIRST_PART_BYTES, LARGEST_PART_BYTES] = [16_384, 262_144];

/** Made once: the runtime copies headers faster than it reads them out of an object. */
const JSON_HEADERS = new Headers({ "content-type": "application/json", "cache-control": "no-store" });
const EMPTY_HEADERS = new Headers({ "cache-control": "no-store" });
const NO_BYTES = new Uint8Array(0);

/** Thrown where a call into the wasm throws: its instance has crashed. */
class Crashed {
  constructor(cause) {
    this.cause = cause;
  }
}

/** Thrown where something outside of the wasm fails: no crash. */
class Failed {
  constructor(failure, cause) {
    this.failure = failure;
    this.cause = cause;
  }
}

/** What was thrown, as a failure where the runtime threw it. */
function asFailed(error, failure) {
  return error instanceof Failed || error instanceof Crashed ? error : new Failed(failure, error);
}

/** What the wasm asks for next; it calls these methods. Bytes that it lends are copied, because its memory moves. */
class Steps {
  id = 0;
  status = 0;
  text = "";
  /** Names and values, a line each; empty for none. */
  headers = "";
  limitBytes = -1;
  /** Which secrets a large body is hashed with: their keys' names, in order. */
  keys = [];
  before = NO_BYTES;
  after = NO_BYTES;
  /** Binding and key of the rate limiter to ask. */
  limiter = undefined;
  queue = 0;
  /** Header of the message to send. */
  header = undefined;
  /** Whether the body follows the header in the message. */
  isInline = false;
  /** Where the body is stored; empty where it is not. */
  bucketKey = "";
  /** Undefined where it was not read. */
  body = undefined;
  tags = NO_BYTES;
  sha256 = NO_BYTES;
  /** Whether what was counted is to be sent. */
  areCountsDue = false;

  answer(status, text, headers) {
    this.status = status;
    this.text = text;
    this.headers = headers;
  }

  read(id, limitBytes) {
    this.id = id;
    this.limitBytes = limitBytes;
  }

  hash(source, secret) {
    this.keys.push(source * 256 + secret);
  }

  around(before, after) {
    this.before = before.slice();
    this.after = after.slice();
  }

  askRateLimit(id, binding, key) {
    this.id = id;
    this.limiter = { binding, key };
  }

  send(id, queue, header, isInline, bucketKey) {
    this.id = id;
    this.queue = queue;
    this.header = header.slice();
    this.isInline = isInline;
    this.bucketKey = bucketKey;
  }

  countsAreDue() {
    this.areCountsDue = true;
  }
}

function response(steps) {
  const { status, text, headers } = steps;
  const shared = text === "" ? EMPTY_HEADERS : JSON_HEADERS;
  const body = text === "" ? null : text;
  if (headers === "") return new Response(body, { status, headers: shared });
  const all = new Headers(shared);
  const lines = headers.split("\n");
  for (let n = 0; n + 1 < lines.length; n += 2) all.set(lines[n], lines[n + 1]);
  return new Response(body, { status, headers: all });
}

/** Tries once more with the same arguments: what is repeated is the same key or the same message. */
async function twice(work, failure) {
  try {
    return await work();
  } catch {
    try {
      return await work();
    } catch (error) {
      throw new Failed(failure, error);
    }
  }
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A small body, at once. */
function readSmall(request) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Failed(BodyTimeout, "the sender is too slow")), readDeadlineMs);
    const end = (settle, value) => {
      clearTimeout(timer);
      settle(value);
    };
    request.arrayBuffer().then(
      (buffer) => end(resolve, new Uint8Array(buffer)),
      (error) => end(reject, new Failed(BodyUnreadable, error)),
    );
  });
}

/** Fills a part: at once where so many bytes are announced, and with what comes until it is full or the body ends. */
async function readPart(reader, wanted, isAnnounced) {
  let buffer = new ArrayBuffer(wanted);
  let filled = 0;
  let isEnd = false;
  while (filled < wanted && !isEnd) {
    const rest = new Uint8Array(buffer, filled);
    const { value, done } = await reader.read(rest, isAnnounced ? { min: rest.length } : undefined);
    isEnd = done;
    // The runtime takes the buffer of what it fills, and gives it back.
    buffer = value?.buffer ?? new ArrayBuffer(0);
    filled += value?.length ?? 0;
  }
  return { part: new Uint8Array(buffer, 0, filled), isEnd };
}

/**
 * A body that is large, or of unknown size, in parts. Each part but the first is counted before there is memory for it, and the
 * first when it has arrived. Nothing where it passed the limit: the wasm has been told.
 */
async function readParts(request, env, steps, declaredBytes, decide) {
  const reader = request.body.getReader({ mode: "byob" });
  let isLate = false;
  // Nobody waits for the rest; an error while dropping it changes nothing.
  const drop = () => reader.cancel().catch(() => {});
  const timer = setTimeout(() => {
    isLate = true;
    drop();
  }, readDeadlineMs);
  const parts = [];
  let size = 0;
  /** Whether there is room. */
  const counts = (bytes, copies) => {
    const grown = decide(wasm.receive_grew, steps.id, bytes, copies);
    if (grown === NO_ROOM) throw new Failed(NoRoom, "too many bytes in flight");
    return grown !== TOO_LARGE;
  };
  try {
    for (let partBytes = FIRST_PART_BYTES; ; partBytes = Math.min(2 * partBytes, LARGEST_PART_BYTES)) {
      const wanted = declaredBytes < 0 ? partBytes : Math.min(partBytes, declaredBytes - size);
      if (wanted === 0) break;
      // A part is no reason to refuse a body that ends within it.
      if (parts.length > 0) counts(Math.min(size + wanted, steps.limitBytes), 1);
      const { part, isEnd } = await readPart(reader, wanted, declaredBytes >= 0);
      if (isLate) throw new Failed(BodyTimeout, "the sender is too slow");
      parts.push(part);
      size += part.length;
      if (!counts(size, 1)) {
        decide(wasm.receive_overflowed, env, steps.id, size, steps);
        drop();
        return undefined;
      }
      if (isEnd) break;
    }
    if (parts.length === 1) return parts[0];
    // While they are joined they are there twice.
    counts(size, 2);
    return joined(parts);
  } catch (error) {
    drop();
    throw asFailed(error, isLate ? BodyTimeout : BodyUnreadable);
  } finally {
    clearTimeout(timer);
  }
}

const cryptoKeys = new Map();

/** The tags of a large body, one after the other. */
async function tagsOf(env, steps, body, decide) {
  const { before, after } = steps;
  const content = before.length + after.length === 0 ? body : joined([before, body, after]);
  const tags = [];
  for (const name of steps.keys) {
    let key = cryptoKeys.get(name);
    if (key === undefined) {
      const bytes = decide(wasm.receive_key, env, name >> 8, name & 255);
      key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
      cryptoKeys.set(name, key);
    }
    tags.push(new Uint8Array(await crypto.subtle.sign("HMAC", key, content)));
  }
  return joined(tags);
}

/** What is computed of a large body outside of the wasm: tags, and the digest of one that is stored. */
async function hashed(env, steps, body, decide) {
  try {
    const tags = steps.keys.length === 0 ? NO_BYTES : await tagsOf(env, steps, body, decide);
    const isStored = body.length >= storedFromBytes;
    return [tags, isStored ? new Uint8Array(await crypto.subtle.digest("SHA-256", body)) : NO_BYTES];
  } catch (error) {
    throw asFailed(error, CryptoFailed);
  }
}

/** A limiter that fails protects nobody by turning requests away. */
async function isWithinLimit(env, { binding, key }) {
  try {
    return (await env[binding].limit({ key })).success;
  } catch (error) {
    console.error(JSON.stringify({ level: "error", event: "rate_limit_failed", binding, error: String(error) }));
    return true;
  }
}

/** Reads the body and has it judged. */
async function judge(request, env, steps, declaredBytes, decide) {
  let body = NO_BYTES;
  if (request.body !== null) {
    const isSmall = declaredBytes >= 0 && declaredBytes < hashedFromBytes;
    body = isSmall ? await readSmall(request) : await readParts(request, env, steps, declaredBytes, decide);
  }
  if (body === undefined) return;
  steps.body = body;
  if (body.length >= hashedFromBytes) [steps.tags, steps.sha256] = await hashed(env, steps, body, decide);
  decide(wasm.receive_arrived, env, steps.id, body, steps.tags, steps.sha256, steps);
}

/** Stores the body where it is to be stored, and sends the message. */
async function send(env, context, steps) {
  const { header, body, bucketKey } = steps;
  try {
    if (bucketKey !== "") await twice(() => env.PAYLOADS.put(bucketKey, body), StorageFailed);
    // The runtime takes the buffer of what it sends.
    const message = () => (steps.isInline ? joined([header, body]) : header.slice());
    await twice(() => env[QUEUES[steps.queue]].send(message(), BYTES), QueueFailed);
  } catch (failed) {
    if (bucketKey !== "") context.waitUntil(discard(env, bucketKey));
    throw failed;
  }
}

/** Nothing refers to the body: its message was not sent. */
async function discard(env, bucketKey) {
  try {
    await env.PAYLOADS.delete(bucketKey);
  } catch (error) {
    console.error(JSON.stringify({ level: "error", event: "discard_failed", key: bucketKey, error: String(error) }));
  }
}

/** Answers a request. */
export async function receive(request, env, context) {
  const receivedAtMs = Date.now();
  const steps = new Steps();
  // One text crosses to the wasm faster than a dozen.
  let head = `${request.method} ${request.url}`;
  let declaredBytes = -1;
  request.headers.forEach((value, name) => {
    if (name === "content-length") declaredBytes = Number(value);
    head += `\n${name}\n${value}`;
  });
  try {
    ensureInstance();
    const { instanceId } = instance;
    // What an instance knew of a request is gone with it.
    const decide = (call, ...args) => {
      if (isReplaced(instanceId)) throw new Failed(INTERRUPTED);
      try {
        return call(...args);
      } catch (error) {
        throw new Crashed(error);
      }
    };
    try {
      wasm.receive_open(env, head, declaredBytes, receivedAtMs, steps);
      if (steps.limitBytes >= 0) await judge(request, env, steps, declaredBytes, decide);
      if (steps.limiter !== undefined) {
        const isWithin = await isWithinLimit(env, steps.limiter);
        decide(wasm.receive_rate_limited, env, steps.id, steps.body, steps.sha256, isWithin, steps);
      }
      if (steps.header !== undefined) {
        await send(env, context, steps);
        decide(wasm.receive_sent, env, steps.id, Date.now(), steps);
      }
    } catch (failed) {
      if (!(failed instanceof Failed)) throw failed;
      if (failed.failure === INTERRUPTED || isReplaced(instanceId)) return unavailable();
      wasm.receive_failed(env, steps.id, failed.failure, String(failed.cause), Date.now(), steps);
    }
    if (steps.areCountsDue) wasm.receive_flush(env, context);
  } catch (error) {
    tryReplaceInstance(error instanceof Crashed ? error.cause : error);
    return unavailable();
  }
  return response(steps);
}
