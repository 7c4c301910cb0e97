/**
 * Receives a request to `/webhook/{source}`: does the input and output that the wasm asks for, step by step.
 *
 * Promises:
 * - Every call into the wasm is synchronous. A crash comes out of it as an exception, and the instance is replaced there.
 * - Nothing is answered 200 before its message was sent. A request about which nothing was decided is answered 503.
 * - A body is read under a deadline, and its bytes are counted as they arrive.
 * - A stored body is deleted where no message can refer to it. It stays where a message may have been taken.
 *
 * Out of scope: every decision (`crates/core/src/receive`).
 */

import * as wasm from "gateway-wasm";

import { INTERRUPTED, ensureInstance, instance, isReplaced, tryReplaceInstance, unavailable } from "../instance.js";

/** In milliseconds and bytes. From the last two sizes on a body is hashed by the runtime, and stored in the bucket. */
const [readDeadlineMs, hashedFromBytes, storedFromBytes] = wasm.receive_limits();

/** What `receive_grew` answers beside "read on" (0). */
const [TOO_LARGE, NO_ROOM] = [1, 2];

/** Why a request is answered 503 (`DriverFailure` of `src/receive/mod.rs`). */
const { BodyTimeout, BodyUnreadable, NoRoom, CryptoFailed, StorageFailed, QueueFailed } = wasm.DriverFailure;

const QUEUES = ["DELIVERIES", "DEAD_LETTERS"];
const BYTES = { contentType: "bytes" };

/** Up to this size a body is read at once; a larger one is read into a buffer of this size first. In bytes. */
const FIRST_BUFFER_BYTES = 16_384;

/** How often bodies that do not come are looked for, in milliseconds. */
const WATCH_STEP_MS = 2_500;

/** Made once: the runtime copies headers faster than it reads them out of an object. */
const JSON_HEADERS = new Headers({ "content-type": "application/json", "cache-control": "no-store" });
const ACCEPTED = { headers: JSON_HEADERS };
const EMPTY_HEADERS = new Headers({ "cache-control": "no-store" });
const NO_BYTES = new Uint8Array(0);

/** Thrown where a request cannot go on. `failure`: one of the above, or `INTERRUPTED` where its instance is gone. */
class Failed {
  constructor(failure, cause) {
    this.failure = failure;
    this.cause = cause;
  }
}

/** What was thrown, as a failure where the runtime threw it. */
function asFailed(error, failure) {
  return error instanceof Failed ? error : new Failed(failure, error);
}

/** The size that a `Content-Length` announces; -1 where it is no size, and the size is unknown. */
function announcedBytes(contentLength) {
  return /^\d+$/.test(contentLength) ? Number(contentLength) : -1;
}

/** What the wasm asks for next; it calls these methods. Bytes that it lends are copied, because its memory moves. */
class Steps {
  id = 0;
  status = 0;
  text = "";
  /** Names and values, a line each. */
  headers = undefined;
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
  /** Where the body is stored. */
  bucketKey = undefined;
  /** Of a large body. */
  reader = undefined;
  /** Undefined where it was not read. */
  body = undefined;
  tags = undefined;
  sha256 = undefined;
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
  if (status === 0) return unavailable();
  if (status === 200 && text !== "") return new Response(text, ACCEPTED);
  const shared = text === "" ? EMPTY_HEADERS : JSON_HEADERS;
  const body = text === "" ? null : text;
  if (headers === undefined) return new Response(body, { status, headers: shared });
  const all = new Headers(shared);
  const lines = headers.split("\n");
  for (let n = 0; n + 1 < lines.length; n += 2) all.set(lines[n], lines[n + 1]);
  return new Response(body, { status, headers: all });
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

/**
 * Bodies that have not arrived: until when they may, and what ends the wait. A timer for each of them would cost a tenth of what a
 * small delivery costs, so one request at a time watches over those of all.
 */
const awaited = new Set();
let watchedUntilMs = 0;

async function watch() {
  while (awaited.size > 0) {
    watchedUntilMs = Date.now() + 2 * WATCH_STEP_MS;
    await new Promise((resolve) => setTimeout(resolve, WATCH_STEP_MS));
    for (const body of awaited) {
      if (body.untilMs > Date.now()) break;
      body.giveUp(new Failed(BodyTimeout, "the sender is too slow"));
    }
  }
  watchedUntilMs = 0;
}

/** What `reading` comes to, where it does so in time. */
function inTime(reading, context, receivedAtMs) {
  return new Promise((resolve, reject) => {
    const body = {
      untilMs: receivedAtMs + readDeadlineMs,
      giveUp(failed) {
        awaited.delete(body);
        reject(failed);
      },
    };
    awaited.add(body);
    reading.then(
      (read) => {
        awaited.delete(body);
        resolve(read);
      },
      (error) => body.giveUp(asFailed(error, BodyUnreadable)),
    );
    if (watchedUntilMs < receivedAtMs) context.waitUntil(watch());
  });
}

/**
 * A body that is large, or of unknown size. Its buffer grows with what has arrived: by eight where the size is announced, else by
 * two. What it grows to is counted before there is memory for it, and the first buffer when it is full. Nothing where the body
 * passed the limit: the wasm has been told.
 */
async function readLarge(request, env, steps, declaredBytes, decide) {
  const reader = request.body.getReader({ mode: "byob" });
  steps.reader = reader;
  const isAnnounced = declaredBytes >= 0;
  // One byte more than may arrive, so that too much shows.
  const mostBytes = isAnnounced ? declaredBytes : steps.limitBytes + 1;
  let buffer = new ArrayBuffer(Math.min(FIRST_BUFFER_BYTES, mostBytes));
  let size = 0;
  /** Whether it is within the limit. */
  const counts = (bytes) => {
    const grown = decide(wasm.receive_grew, steps.id, bytes);
    if (grown === NO_ROOM) throw new Failed(NoRoom, "too many bytes in flight");
    return grown !== TOO_LARGE;
  };
  for (let isEnd = false; !isEnd && size < mostBytes; ) {
    if (size === buffer.byteLength) {
      const grownBytes = Math.min(size * (isAnnounced ? 8 : 2), mostBytes);
      // A limit is no reason to refuse a body that may end before it.
      counts(Math.min(grownBytes, steps.limitBytes));
      buffer = buffer.transfer(grownBytes);
    }
    const rest = new Uint8Array(buffer, size);
    const { value, done } = await reader.read(rest, isAnnounced ? { min: rest.length } : undefined);
    isEnd = done;
    // The runtime takes the buffer that it fills, and gives it back, at the end too.
    buffer = value.buffer;
    size += value.length;
  }
  if (counts(size)) return new Uint8Array(buffer, 0, size);
  decide(wasm.receive_overflowed, env, steps.id, size, steps);
  dropRest(steps);
  return undefined;
}

/** Nobody waits for the rest of a body; an error while dropping it changes nothing. */
function dropRest({ reader }) {
  reader?.cancel().catch(() => {});
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

/** Computes of a large body what the wasm does not: tags, and the digest of one that is stored. */
async function hash(env, steps, body, decide) {
  try {
    if (steps.keys.length > 0) steps.tags = await tagsOf(env, steps, body, decide);
    if (body.length >= storedFromBytes) steps.sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
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

/** What goes to the queue: made anew for every try, because the runtime takes the buffer of what it sends. */
function messageOf({ header, body, isInline }) {
  const message = new Uint8Array(header.length + (isInline ? body.length : 0));
  message.set(header);
  if (isInline) message.set(body, header.length);
  return message;
}

/** Stores the body under its key, trying twice. */
async function store(env, context, { bucketKey, body }) {
  const put = () => env.PAYLOADS.put(bucketKey, body);
  try {
    await put().catch(put);
  } catch (error) {
    // It is stored all the same where only the answer was lost, and no message will refer to it.
    context.waitUntil(discard(env, bucketKey));
    throw new Failed(StorageFailed, error);
  }
}

/**
 * Sends a message that was not taken once more. Its stored body stays: where the answers were lost the message is in the queue,
 * and needs it (`docs/adr/0006-bodies-of-unsure-messages-stay.md`).
 */
async function sendAgain(env, steps) {
  try {
    await env[QUEUES[steps.queue]].send(messageOf(steps), BYTES);
  } catch (error) {
    throw new Failed(QueueFailed, error);
  }
}

/** Deletes a body that no message refers to. */
async function discard(env, bucketKey) {
  try {
    await env.PAYLOADS.delete(bucketKey);
  } catch (error) {
    console.error(JSON.stringify({ level: "error", event: "discard_failed", key: bucketKey, error: String(error) }));
  }
}

/** Answers a request. */
export async function receive(request, url, env, context) {
  const receivedAtMs = Date.now();
  const steps = new Steps();
  // One text crosses to the wasm faster than a dozen.
  let head = `${request.method} ${url}`;
  let declaredBytes = -1;
  request.headers.forEach((value, name) => {
    if (name === "content-length") declaredBytes = announcedBytes(value);
    head += `\n${name}\n${value}`;
  });
  try {
    ensureInstance();
    const { instanceId } = instance;
    const decide = (call, a, b, c, d, e, f, g) => {
      // What an instance knew of a request is gone with it.
      if (isReplaced(instanceId)) throw new Failed(INTERRUPTED);
      try {
        return call(a, b, c, d, e, f, g);
      } catch (error) {
        // At once, whatever becomes of what is thrown: no other request may reach an instance that has crashed.
        tryReplaceInstance(error);
        throw new Failed(INTERRUPTED);
      }
    };
    try {
      decide(wasm.receive_open, env, head, declaredBytes, receivedAtMs, steps);
      if (steps.limitBytes >= 0) {
        if (request.body === null) steps.body = NO_BYTES;
        else if (declaredBytes >= 0 && declaredBytes <= FIRST_BUFFER_BYTES) {
          steps.body = new Uint8Array(await inTime(request.arrayBuffer(), context, receivedAtMs));
        } else {
          const reading = readLarge(request, env, steps, declaredBytes, decide);
          steps.body = await inTime(reading, context, receivedAtMs);
        }
        if (steps.body?.length >= hashedFromBytes) await hash(env, steps, steps.body, decide);
        if (steps.body !== undefined) decide(wasm.receive_arrived, env, steps.id, steps.body, steps.tags, steps.sha256, steps);
      }
      if (steps.limiter !== undefined) {
        const isWithin = await isWithinLimit(env, steps.limiter);
        decide(wasm.receive_rate_limited, env, steps.id, steps.body, steps.sha256, isWithin, steps);
      }
      if (steps.header !== undefined) {
        if (steps.bucketKey !== undefined) await store(env, context, steps);
        try {
          await env[QUEUES[steps.queue]].send(messageOf(steps), BYTES);
        } catch {
          await sendAgain(env, steps);
        }
        decide(wasm.receive_sent, env, steps.id, Date.now(), steps);
      }
    } catch (error) {
      dropRest(steps);
      if (!(error instanceof Failed) || error.failure === INTERRUPTED) throw error;
      // The answer that came with the message holds only where the message was sent.
      steps.status = 0;
      decide(wasm.receive_failed, env, steps.id, error.failure, String(error.cause), Date.now(), steps);
    }
    if (steps.areCountsDue) decide(wasm.receive_flush, env, context);
    return response(steps);
  } catch (error) {
    if (!(error instanceof Failed)) tryReplaceInstance(error);
    return unavailable();
  }
}
