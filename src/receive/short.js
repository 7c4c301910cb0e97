/**
 * The short way of a delivery, which nearly all of them take: its half on this side of the wasm (the other: src/short.rs).
 *
 * Promise: it can only accept, after the delivery is in the queue; everything else goes on along the general way, with what was
 * read of it. Bodies are counted before they are read: large ones against the isolate's budget in the wasm, small ones here.
 * Out of scope: why a delivery is refused.
 */

import * as wasm from "gateway-wasm";

import { INTERRUPTED, ensureInstance, instance, isReplaced, isTrap, supervise, tryReplaceInstance, unavailable } from "../instance.js";

const startFetch = (_, request, env, context, body, ticket) => wasm.fetch(request, env, context, body, ticket);

/** In bytes and milliseconds (src/short.rs): bodies of the first size and more are hashed by the runtime, in place. */
const [LARGE_BYTES, SMALL_SHARE_BYTES, LEASE_MS] = wasm.short_limits();
const BYTES = { contentType: "bytes" };
/** Made once: the runtime copies headers faster than it reads them out of an object. */
const ACCEPTED = { headers: new Headers({ "content-type": "application/json", "cache-control": "no-store" }) };

/** No origin is shorter: `http://` and a character. */
const ORIGIN_CHARS = 8;
/** Of HMAC-SHA256. */
const TAG_BYTES = 32;
/** What a reply of the wasm begins with instead of the length of an answer. */
const NO_ANSWER = 0;
/** What the wasm answers to counting: it knows nothing of such a delivery; it was counted, and the counts are to be sent. */
const [UNKNOWN, FLUSH_DUE] = [0, 2];
const DIGITS = new TextEncoder().encode("0123456789abcdef");

/** Text of ASCII bytes, a hundred at most: cheaper than a decoder, which is a call into the runtime. */
const ascii = (bytes) => String.fromCharCode.apply(null, bytes);

/** A number of four bytes, the lowest first. */
const number = (bytes, at) => (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;

/** Writes bytes as digits of ASCII. */
function writeHex(to, at, bytes) {
  for (let n = 0; n < bytes.length; n += 1) {
    to[at + 2 * n] = DIGITS[bytes[n] >> 4];
    to[at + 2 * n + 1] = DIGITS[bytes[n] & 15];
  }
}

function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/**
 * The small bodies in flight, by the minute in which they began: what a request that vanished without a word held is forgotten
 * with its minute. A shared sum with a lease for each would cost more than the bodies do.
 */
let held = { bytes: 0 };
let heldBefore = { bytes: 0 };
let heldSinceMs = 0;

/** Counts a small body that is about to be read. What gives its bytes back; nothing where there is no room. */
function hold(bytes, nowMs) {
  if (nowMs - heldSinceMs >= LEASE_MS) {
    heldBefore = held;
    held = { bytes: 0 };
    heldSinceMs = nowMs;
  }
  if (held.bytes + heldBefore.bytes + bytes > SMALL_SHARE_BYTES) return undefined;
  held.bytes += bytes;
  return held;
}

/** The general way: everything but what `shortWay` accepts. `ticket`: what is known of `body`, 0 for nothing. */
export async function generalWay(request, env, context, body, ticket = 0) {
  const answer = await supervise(startFetch, undefined, request, env, context, body, ticket);
  return answer === INTERRUPTED ? unavailable() : answer;
}

/** The sources that this way is open to, by the path of their URL; what is configured does not change while an isolate lives. */
let sources;

function readSources(env) {
  try {
    ensureInstance();
    const [list, read] = [wasm.short_sources(env), new Map()];
    for (let n = 0; n < list.length; n += 3) {
      read.set(`/webhook/${list[n + 1]}`, { number: list[n], limitBytes: list[n + 2] });
    }
    sources = read;
    return sources;
  } catch (error) {
    tryReplaceInstance(error);
    return new Map();
  }
}

/** The path of a URL. */
function pathOf(url) {
  const query = url.indexOf("?", ORIGIN_CHARS);
  return url.slice(url.indexOf("/", ORIGIN_CHARS), query < 0 ? url.length : query);
}

/**
 * Reads, hashes, stores, sends and answers a delivery. Every call to the wasm is synchronous, so a crash of the instance comes out
 * of it as an exception or shows in the instance's number; a ticket belongs to the instance that gave it.
 */
export function shortWay(request, env, context) {
  // URL and headers, a line each: one text crosses to the wasm faster than a dozen.
  let head = request.url;
  const source = (sources ?? readSources(env)).get(pathOf(head));
  if (source === undefined) return generalWay(request, env, context);
  let sizeBytes = Infinity;
  request.headers.forEach((value, name) => {
    if (name === "content-length") sizeBytes = Number(value);
    head += `\n${name}\n${value}`;
  });
  // None of a size that is no number.
  if (!(sizeBytes <= source.limitBytes)) return generalWay(request, env, context);
  const way = sizeBytes < LARGE_BYTES ? smallWay : largeWay;
  return way(request, env, context, source.number, head, sizeBytes);
}

/** A small body: decided by one call to the wasm, counted by another. */
async function smallWay(request, env, context, source, head, sizeBytes) {
  const receivedAtMs = Date.now();
  const share = hold(sizeBytes, receivedAtMs);
  if (share === undefined) return generalWay(request, env, context);
  let body;
  // Whether the runtime is at work, not the wasm: its failures are no crash.
  let isOutside = true;
  try {
    body = new Uint8Array(await request.arrayBuffer());
    isOutside = false;
    ensureInstance();
    const { instanceId } = instance;
    const reply = wasm.short_at_once(env, source, head, body, receivedAtMs);
    isOutside = true;
    if (reply === undefined) return generalWay(request, env, context, body);
    if (reply[0] === NO_ANSWER) return generalWay(request, env, context, body, number(reply, 1));
    // Before the message is sent: the runtime takes its buffer away.
    const secret = number(reply, 1);
    const eventCount = number(reply, 5);
    const messageAt = 9 + reply[0];
    const answer = ascii(reply.subarray(9, messageAt));
    await env.DELIVERIES.send(reply.subarray(messageAt), BYTES);

    isOutside = false;
    // Where the instance was replaced the delivery is durable and uncounted: its sender repeats, the ledger knows it again.
    if (isReplaced(instanceId)) return unavailable();
    const counted = wasm.short_counted(env, source, secret, eventCount, sizeBytes, receivedAtMs, Date.now());
    if (counted === UNKNOWN) return unavailable();
    if (counted === FLUSH_DUE) wasm.short_flush(env, context);
    return new Response(answer, ACCEPTED);
  } catch (error) {
    // The general way tries once more, and says what is wrong.
    if (isOutside && !isTrap(error)) return generalWay(request, env, context, body);
    tryReplaceInstance(error);
    return unavailable();
  } finally {
    share.bytes -= sizeBytes;
  }
}

/** A large body: counted against the isolate's budget before it is read, hashed by the runtime, stored where it fits into no message. */
async function largeWay(request, env, context, source, head, sizeBytes) {
  let ticket = 0;
  let body;
  let isOutside = false;
  let instanceId;
  const goOn = () => {
    // A body whose buffer went with a failed call is gone: whoever looked at it now would take it for an empty one.
    if (body !== undefined && body.length !== sizeBytes) return unavailable();
    return generalWay(request, env, context, body, isReplaced(instanceId) ? 0 : ticket);
  };
  try {
    ensureInstance();
    instanceId = instance.instanceId;
    const begun = wasm.short_begin(env, source, head, sizeBytes, Date.now());
    if (begun === undefined) return goOn();
    ticket = begun[0];
    isOutside = true;
    body = new Uint8Array(await request.arrayBuffer());
    const tags = new Uint8Array(TAG_BYTES * (begun.length - 1));
    for (let n = 1; n < begun.length; n += 1) {
      tags.set(new Uint8Array(await crypto.subtle.sign("HMAC", begun[n], body)), TAG_BYTES * (n - 1));
    }
    if (isReplaced(instanceId)) return goOn();
    isOutside = false;
    const reply = wasm.short_inspect(ticket, body, tags);
    isOutside = true;
    if (reply === undefined) return goOn();

    const isStored = reply[0] === NO_ANSWER;
    const answerAt = isStored ? 4 + reply[1] : 1;
    const messageAt = answerAt + reply[answerAt - 1];
    if (isStored) {
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
      const keyEnd = 2 + reply[1];
      writeHex(reply, reply.length - reply[keyEnd], digest);
      await env.PAYLOADS.put(ascii(reply.subarray(2, keyEnd)), body);
      if (isReplaced(instanceId)) return goOn();
    }
    // Before the message is sent: the runtime takes its buffer away.
    const answer = ascii(reply.subarray(answerAt, messageAt));
    const header = reply.subarray(messageAt);
    await env.DELIVERIES.send(isStored ? header : joined(header, body), BYTES);

    isOutside = false;
    // As for a small one.
    const counted = isReplaced(instanceId) ? UNKNOWN : wasm.short_sent(ticket, Date.now());
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
