/**
 * The usual service: Express, its body parser, `node:crypto`, `JSON.parse`, and an HTTP client with kept connections to the
 * queue. Work and answers as in ../workers/javascript.js. Arguments: own port, port of the sink, secret.
 */

import { createHash, createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { Agent, request as call } from "node:http";
import express from "express";

const [port, sinkPort, secret] = process.argv.slice(2);
const MAX_MESSAGE_BYTES = 127_800;
const CREDENTIAL = /authorization|cookie|token|secret|passw|api-?key|access-key|credential|jwt|session/;
const agent = new Agent({ keepAlive: true });

function send(method, path, body) {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port: sinkPort, method, path, agent, headers: { "content-length": body.length } };
    const sent = call(options, (response) => {
      response.resume();
      response.on("end", () => (response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}`))));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.get("/healthz", (_, response) => response.json({ status: "ok" }));
app.post("/webhook/a", express.raw({ type: () => true, limit: 5_242_880 }), async (request, response) => {
  const receivedAtMs = Date.now();
  response.set("cache-control", "no-store");
  const refuse = (status, error, code) => response.status(status).json({ error, code });
  const signature = request.get("x-genesys-signature");
  if (!signature) return refuse(401, "Invalid signature", "missing_signature");
  const body = request.body;
  const presented = Buffer.from(signature, "hex");
  const expected = createHmac("sha256", secret).update(body).digest();
  if (presented.length !== expected.length || !timingSafeEqual(presented, expected)) return refuse(401, "Invalid signature", "signature_mismatch");
  let envelope;
  try {
    envelope = JSON.parse(body.toString("utf8"));
  } catch {
    return refuse(400, "Invalid payload structure", "invalid_json");
  }
  if (!Array.isArray(envelope?.events)) return refuse(400, "Invalid payload structure", "invalid_envelope");
  const id = randomUUID();
  const header = {
    kind: "delivery",
    v: 1,
    id,
    source: "a",
    received_at_ms: receivedAtMs,
    event_count: envelope.events.length,
    secret_label: "S",
    headers: Object.entries(request.headers).filter(([name]) => !CREDENTIAL.test(name)),
    body: { inline: { size_bytes: body.length } },
  };
  try {
    let message = Buffer.from(`${JSON.stringify(header)}\n`);
    if (message.length + body.length <= MAX_MESSAGE_BYTES) {
      message = Buffer.concat([message, body]);
    } else {
      const key = `payloads/${new Date(receivedAtMs).toISOString().slice(0, 10).replaceAll("-", "/")}/a/${id}`;
      const sha256 = createHash("sha256").update(body).digest("hex");
      await send("PUT", `/${key}`, body);
      header.body = { stored: { key, size_bytes: body.length, sha256 } };
      message = Buffer.from(`${JSON.stringify(header)}\n`);
    }
    await send("POST", "/message", message);
  } catch (error) {
    console.error(error);
    return response.set("retry-after", "5").status(503).json({ error: "Service unavailable", code: "queue_failed" });
  }
  return response.json({ received: true, eventCount: envelope.events.length, id });
});
app.listen(Number(port), "127.0.0.1");
