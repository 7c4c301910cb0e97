/**
 * A panic in the middle of other requests, on the real runtime. A build with the feature `crash-test` (its route `/crash` does
 * what a defect would do) must answer every request in flight and serve the next one from a new instance.
 */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { request } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { root, start } from "../../bench/server.mjs";

const secret = "0123456789abcdef0123";
const gateway = { sources: [{ name: "a", profile: "webhooks", secrets: ["S"], quarantine: { letters_per_minute: 0 } }] };
const body = Buffer.from(JSON.stringify({ events: [{ eventType: "call:created" }] }));
const forged = { "x-genesys-signature": "00".repeat(32), "content-length": body.length };

let server;
before(async () => {
  server = await start({ build: join(root, "build", "crash-test"), port: 18_720, gateway, secrets: { S: secret } });
});
after(() => server?.stop());

const url = (path) => `http://127.0.0.1:${server.port}${path}`;

/** Begins a delivery and holds its body back until `finish` is called; `answer` is the status and code that it gets. */
function beginDelivery(headers) {
  let finish;
  const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));
  const answer = new Promise((resolve, reject) => {
    const call = request({ host: "127.0.0.1", port: server.port, path: "/webhook/a", method: "POST", headers: given }, (response) => {
      let text = "";
      response.on("data", (data) => (text += data));
      response.on("end", () => resolve({ status: response.statusCode, retryAfter: response.headers["retry-after"], ...JSON.parse(text) }));
    });
    call.on("error", reject);
    call.flushHeaders();
    call.write(body.subarray(0, 5));
    finish = () => call.end(body.subarray(5));
  });
  return { answer, finish };
}

async function forgedDelivery() {
  const response = await fetch(url("/webhook/a"), { method: "POST", headers: { "x-genesys-signature": forged["x-genesys-signature"] }, body });
  return { status: response.status, ...(await response.json()) };
}

test("requests in flight are answered 503, and the next request is served", async () => {
  const inFlight = Array.from({ length: 5 }, () => beginDelivery(forged));
  // The instance has begun to read them once a later request on the same process is answered.
  assert.equal((await fetch(url("/healthz"))).status, 200);
  const crash = await fetch(url("/crash"));
  assert.equal(crash.status, 503);
  assert.equal((await crash.json()).code, "interrupted");
  assert.equal((await fetch(url("/healthz"))).status, 200);
  for (const delivery of inFlight) delivery.finish();
  for (const { answer } of inFlight) {
    const { status, code, retryAfter } = await answer;
    // A request whose event had not begun when the instance failed is served by the new one.
    if (status === 401) continue;
    assert.deepEqual({ status, code }, { status: 503, code: "interrupted" });
    assert.ok(Number(retryAfter) > 0);
  }
});

test("the new instance verifies as the old one did", async () => {
  await fetch(url("/crash"));
  assert.deepEqual(await forgedDelivery().then(({ status, code }) => ({ status, code })), { status: 401, code: "signature_mismatch" });
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  const response = await fetch(url("/webhook/a"), { method: "POST", headers: { "x-genesys-signature": signature }, body });
  // There is no queue behind this server: a genuine delivery that cannot be stored is never answered 200.
  assert.deepEqual({ status: response.status, code: (await response.json()).code }, { status: 503, code: "queue_failed" });
});

test("crash after crash, the gateway comes back", async () => {
  for (let round = 0; round < 20; round += 1) {
    assert.equal((await fetch(url("/crash"))).status, 503);
    assert.equal((await forgedDelivery()).status, 401);
  }
});

test("a thousand bodies that do not come are not waited for, whatever their size, and others are served meanwhile", async () => {
  const begun = Date.now();
  const announced = [{ "content-length": 1_000 }, { "content-length": 5_000_000 }, { "transfer-encoding": "chunked" }];
  const late = Array.from({ length: 1_000 }, (_, n) => beginDelivery({ ...forged, "content-length": undefined, ...announced[n % announced.length] }));
  assert.equal((await forgedDelivery()).status, 401);
  for (const { answer } of late) {
    const { status, code, retryAfter } = await answer;
    assert.deepEqual({ status, code, retryAfter }, { status: 503, code: "body_timeout", retryAfter: "5" });
  }
  const passedMs = Date.now() - begun;
  assert.ok(passedMs >= 10_000 && passedMs < 15_000, `${passedMs} ms`);
});
