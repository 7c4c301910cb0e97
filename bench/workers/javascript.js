/**
 * (b) The same receive path as a good engineer would write it in JavaScript: the yardstick.
 *
 * Does what the gateway does for a delivery: source by path, limit on the bytes that arrive, HMAC-SHA256 over the raw bytes with
 * a key that is imported once, compared by `crypto.subtle.verify`; `JSON.parse` and the events counted; headers kept without
 * credentials; one message of the same framing on the same queue, bodies that do not fit in R2 first with their SHA-256; the same
 * answers. Out of scope: dead letters of refusals, and flushing the counters, which costs the gateway alone.
 */

const MAX_MESSAGE_BYTES = 127_800;
const RANDOM_BYTES = 10;
const CREDENTIALS = /authorization|cookie|authentication|token|secret|password|passwd|api-?key|access-key|credential|jwt|session|cf-access-client-id/;
const JSON_HEADERS = { "content-type": "application/json", "cache-control": "no-store" };
const encoder = new TextEncoder();
// Fatal, because bytes that are not UTF-8 are not JSON.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

let sources;
const keys = new Map();
const counters = new Map();

const add = (name, n = 1) => counters.set(name, (counters.get(name) ?? 0) + n);
const answer = (status, body, headers) => new Response(JSON.stringify(body), { status, headers: headers ? { ...JSON_HEADERS, ...headers } : JSON_HEADERS });
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function unhex(text) {
  if (!/^(?:[0-9a-fA-F]{2}){32}$/.test(text)) return undefined;
  const bytes = new Uint8Array(32);
  for (let n = 0; n < 32; n += 1) bytes[n] = parseInt(text.slice(2 * n, 2 * n + 2), 16);
  return bytes;
}

async function keyOf(source, env) {
  let key = keys.get(source.name);
  if (!key) {
    const bytes = encoder.encode(env[source.secrets[0]]);
    key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    keys.set(source.name, key);
  }
  return key;
}

async function readLimited(request, limit) {
  const declared = request.headers.get("content-length");
  if (declared !== null) return Number(declared) > limit ? undefined : request.arrayBuffer();
  const chunks = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > limit) return undefined;
    chunks.push(chunk);
  }
  return new Blob(chunks).arrayBuffer();
}

async function receive(request, env, source) {
  const receivedAtMs = Date.now();
  const body = await readLimited(request, source.max_body_bytes ?? 5_000_000);
  if (body === undefined) return answer(413, { error: "Payload too large", code: "body_too_large" });
  const presented = request.headers.get("x-genesys-signature");
  if (presented === null) return answer(401, { error: "Invalid signature", code: "missing_signature" });
  const signature = unhex(presented.startsWith("sha256=") ? presented.slice(7) : presented);
  if (!signature) return answer(401, { error: "Invalid signature", code: "malformed_signature" });
  if (!(await crypto.subtle.verify("HMAC", await keyOf(source, env), signature, body))) {
    return answer(401, { error: "Invalid signature", code: "signature_mismatch" });
  }
  let envelope;
  try {
    envelope = JSON.parse(decoder.decode(body));
  } catch {
    return answer(400, { error: "Invalid payload structure", code: "invalid_json" });
  }
  if (!Array.isArray(envelope?.events)) return answer(400, { error: "Invalid payload structure", code: "invalid_envelope" });
  const eventCount = envelope.events.length;
  const id = `${receivedAtMs.toString(16).padStart(12, "0")}${hex(crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)))}`;
  const headers = [];
  for (const [name, value] of request.headers) if (!CREDENTIALS.test(name)) headers.push([name, value]);
  const delivery = { kind: "delivery", v: 1, id, source: source.name, received_at_ms: receivedAtMs, event_count: eventCount, secret_label: "current", headers };
  try {
    let header = encoder.encode(`${JSON.stringify({ ...delivery, body: { inline: { size_bytes: body.byteLength } } })}\n`);
    let inline = new Uint8Array(body);
    if (header.byteLength + body.byteLength > MAX_MESSAGE_BYTES) {
      const sha256 = hex(new Uint8Array(await crypto.subtle.digest("SHA-256", body)));
      const key = `payloads/${new Date(receivedAtMs).toISOString().slice(0, 10).replaceAll("-", "/")}/${source.name}/${id}`;
      await env.PAYLOADS.put(key, body);
      header = encoder.encode(`${JSON.stringify({ ...delivery, body: { stored: { key, size_bytes: body.byteLength, sha256 } } })}\n`);
      inline = new Uint8Array(0);
    }
    const message = new Uint8Array(header.byteLength + inline.byteLength);
    message.set(header);
    message.set(inline, header.byteLength);
    await env.DELIVERIES.send(message, { contentType: "bytes" });
  } catch {
    return answer(503, { error: "Service unavailable", code: "queue_failed" }, { "retry-after": "5" });
  }
  add("received");
  add("accepted");
  add("events", eventCount);
  add("bytes", body.byteLength);
  add("latency_ms", Date.now() - receivedAtMs);
  return answer(200, { received: true, eventCount, id });
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/healthz") return answer(200, { status: "ok" });
    if (!pathname.startsWith("/webhook/")) return answer(404, { error: "Not found", code: "not_found" });
    sources ??= new Map(env.GATEWAY.sources.map((source) => [source.name, source]));
    const source = sources.get(pathname.slice("/webhook/".length));
    if (!source) return answer(404, { error: "Unknown source", code: "unknown_source" });
    if (request.method !== "POST") return answer(405, { error: "Method not allowed", code: "method_not_allowed" }, { allow: "POST" });
    return receive(request, env, source);
  },
};
