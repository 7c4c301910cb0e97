/**
 * (d) A service of the usual kind: Express, its raw body parser, `crypto.createHmac`. A verified delivery is put into a list in
 * memory, because which queue such a service would use differs: it is spared what (a) and (b) pay for theirs.
 *
 *   node server.mjs PORT   (the secret in WEBHOOK_SECRET)
 */

import express from "express";
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";

const KEPT = 1_000;
const secret = process.env.WEBHOOK_SECRET;
const queue = [];
const app = express();
app.get("/healthz", (_, response) => response.json({ status: "ok" }));
app.post("/webhook/:source", express.raw({ type: "*/*", limit: "6mb" }), (request, response) => {
  const presented = Buffer.from(request.get("x-genesys-signature") ?? "", "hex");
  const expected = createHmac("sha256", secret).update(request.body).digest();
  if (presented.length !== expected.length || !timingSafeEqual(presented, expected)) {
    return response.status(401).json({ error: "Invalid signature", code: "signature_mismatch" });
  }
  let envelope;
  try {
    envelope = JSON.parse(request.body.toString("utf8"));
  } catch {
    return response.status(400).json({ error: "Invalid payload structure", code: "invalid_json" });
  }
  if (!Array.isArray(envelope?.events)) return response.status(400).json({ error: "Invalid payload structure", code: "invalid_envelope" });
  const id = randomUUID();
  queue.push({ id, source: request.params.source, headers: request.headers, size: request.body.length });
  if (queue.length > KEPT) queue.length = 0;
  return response.json({ received: true, eventCount: envelope.events.length, id });
});
app.listen(Number(process.argv[2]), "127.0.0.1");
