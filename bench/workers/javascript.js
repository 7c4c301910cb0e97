/**
 * The receive path as a good engineer would write it in JavaScript: one source, key imported once, comparison in constant time
 * by WebCrypto, the same answers, the same message to the same queue, large bodies to R2 first. What the gateway does beside
 * this (several secrets, schemes and sources, quarantine, counting, duplicate members, a budget of memory) is left out.
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
const LIMIT_BYTES = 5_242_880;
const MAX_MESSAGE_BYTES = 127_800;
const CREDENTIAL = /authorization|cookie|token|secret|passw|api-?key|access-key|credential|jwt|session/;
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

let key;

function answer(status, body, headers) {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
  });
}

function unhex(text) {
  if (text.length !== 64 || !/^[0-9a-f]+$/i.test(text)) return undefined;
  const bytes = new Uint8Array(32);
  for (let n = 0; n < 32; n += 1) bytes[n] = Number.parseInt(text.slice(2 * n, 2 * n + 2), 16);
  return bytes;
}

function hex(buffer) {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += HEX[byte];
  return text;
}

const line = (header) => encoder.encode(`${JSON.stringify(header)}\n`);

function frame(line, body) {
  const message = new Uint8Array(line.length + body.length);
  message.set(line);
  message.set(body, line.length);
  return message;
}

async function receive(request, env) {
  const receivedAtMs = Date.now();
  if (Number(request.headers.get("content-length") ?? 0) > LIMIT_BYTES) return answer(413, { error: "Payload too large", code: "body_too_large" });
  const signature = request.headers.get("x-genesys-signature");
  if (!signature) return answer(401, { error: "Invalid signature", code: "missing_signature" });
  const tag = unhex(signature);
  if (!tag) return answer(401, { error: "Invalid signature", code: "malformed_signature" });
  const body = new Uint8Array(await request.arrayBuffer());
  key ??= await crypto.subtle.importKey("raw", encoder.encode(env.S), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  if (!(await crypto.subtle.verify("HMAC", key, tag, body))) return answer(401, { error: "Invalid signature", code: "signature_mismatch" });

  let envelope;
  try {
    envelope = JSON.parse(decoder.decode(body));
  } catch (error) {
    return answer(400, { error: "Invalid payload structure", code: "invalid_json", detail: String(error) });
  }
  if (!Array.isArray(envelope?.events)) return answer(400, { error: "Invalid payload structure", code: "invalid_envelope" });

  const id = crypto.randomUUID();
  const headers = [];
  for (const [name, value] of request.headers) if (!CREDENTIAL.test(name)) headers.push([name, value]);
  const header = {
    kind: "delivery",
    v: 1,
    id,
    source: "a",
    received_at_ms: receivedAtMs,
    event_count: envelope.events.length,
    secret_label: "S",
    headers,
    body: { inline: { size_bytes: body.length } },
  };
  try {
    let message = line(header);
    if (message.length + body.length <= MAX_MESSAGE_BYTES) {
      message = frame(message, body);
    } else {
      const stored = `payloads/${new Date(receivedAtMs).toISOString().slice(0, 10).replaceAll("-", "/")}/a/${id}`;
      const sha256 = hex(await crypto.subtle.digest("SHA-256", body));
      await env.PAYLOADS.put(stored, body);
      header.body = { stored: { key: stored, size_bytes: body.length, sha256 } };
      message = line(header);
    }
    await env.DELIVERIES.send(message, { contentType: "bytes" });
  } catch (error) {
    console.error(error);
    return answer(503, { error: "Service unavailable", code: "queue_failed" }, { "retry-after": "5" });
  }
  return answer(200, { received: true, eventCount: envelope.events.length, id });
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/healthz") return answer(200, { status: "ok" });
    if (pathname !== "/webhook/a") return answer(404, { error: "Unknown source", code: "unknown_source" });
    if (request.method !== "POST") return new Response(null, { status: 405, headers: { allow: "POST" } });
    return receive(request, env);
  },
};
