/** Receiving in Node. The vectors run in the scenario of all runtimes; here is what only JavaScript can get wrong. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { deferred } from "./support/deferred.mjs";
import { loadPackage } from "./support/paths.mjs";

const { GenesysError, explain, inspect, sign, verify } = await loadPackage();

const secret = "0123456789abcdef0123";
const body = new TextEncoder().encode('{"id":"d7d58935af65a45e5234ac77de017a0a","type":"Text","text":"Café ☕"}');
const signature = "sha256=hepaQOMzEfGw6CkGEFomifqzSKFITV8dEcs9qabUIkk=";

test("headers are taken in every form that JavaScript has for them", () => {
  for (const headers of [
    new Headers({ "X-Hub-Signature-256": signature }),
    new Map([["X-Hub-Signature-256", signature]]),
    [["x-hub-signature-256", signature]],
    { "X-HUB-SIGNATURE-256": signature, other: undefined },
    { "x-hub-signature-256": [signature] },
    Object.assign(Object.create(null), { "x-hub-signature-256": signature }),
  ]) {
    assert.deepEqual(verify(headers, body, secret, "open-messaging"), { ok: true, label: "current" });
  }
});

test("bodies are taken as bytes, views with their offset", () => {
  const headers = { "x-hub-signature-256": signature };
  const padded = new Uint8Array(body.length + 10);
  padded.set(body, 3);
  for (const bytes of [body, body.buffer, Buffer.from(body), padded.subarray(3, 3 + body.length)]) {
    assert.equal(verify(headers, bytes, secret, "open-messaging").ok, true);
  }
});

test("a forgery is a result, whatever is in its headers", () => {
  for (const [value, code] of [
    ["", "missing_signature"],
    ["sha256=", "malformed_signature"],
    [`sha256=${"A".repeat(43)}=`, "signature_mismatch"],
    ["sha256=hepaQOMzEfGw6CkGEFomifqzSKFITV8dEcs9qabUIkk", "malformed_signature"],
    ["\u0000\ud800", "malformed_signature"],
    ["x".repeat(1_000_000), "malformed_signature"],
  ]) {
    const result = verify({ "x-hub-signature-256": value }, body, secret, "open-messaging");
    assert.deepEqual([result.ok, result.code, result.status], [false, code, 401]);
    assert.ok(!JSON.stringify(result).includes(secret));
  }
});

test("a rotation takes both secrets, and the old one until its end", () => {
  const previous = { secret, notAfter: new Date(1_000), label: "old" };
  const headers = { "x-hub-signature-256": signature };
  const at = (now) => verify(headers, body, ["another-secret-of-ours", previous], "open-messaging", { now });
  assert.deepEqual(at(1_000), { ok: true, label: "old" });
  assert.equal(at(1_001).code, "signature_mismatch");
  const alone = verify(headers, body, [previous], "open-messaging", { now: 1_001 });
  assert.deepEqual([alone.ok, alone.code, alone.status], [false, "no_active_secret", 503]);
});

test("what sign makes, verify accepts, under every profile", () => {
  const custom = { header: "X-Sig", prefix: "v0=", encoding: "base64url", timestampHeader: "X-Time", signedContent: "{timestamp}:{body}" };
  for (const [profile, key] of [
    ["webhooks", secret],
    ["open-messaging", secret],
    ["standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    [custom, secret],
  ]) {
    const headers = sign(body, key, profile, { id: "msg_1" });
    assert.deepEqual(verify(headers, body, key, profile), { ok: true, label: "current" });
    assert.equal(verify(headers, body.subarray(1), key, profile).code, "signature_mismatch");
  }
});

test("the published vector of Standard Webhooks is made and accepted", () => {
  const key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const published = new TextEncoder().encode('{"test": 2432232314}');
  const now = 1_614_265_330_000;
  const headers = sign(published, key, "standard-webhooks", { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", now });
  assert.equal(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  const at = (later) => verify(headers, published, key, "standard-webhooks", { now: new Date(now + later) });
  assert.equal(at(300_000).ok, true);
  assert.equal(at(301_000).code, "timestamp_out_of_tolerance");
});

test("the envelope is counted, keyed or refused with its place", () => {
  const bytes = (text) => new TextEncoder().encode(text);
  assert.deepEqual(inspect(bytes('{"id":"a","type":"Text","channel":{"time":"t"}}'), "open-messaging"), {
    ok: true,
    eventCount: 1,
    idempotencyKey: "members:a|Text|t",
  });
  assert.equal(inspect(body, "standard-webhooks", { "webhook-id": "msg_1" }).idempotencyKey, "header:msg_1");
  const refused = inspect(bytes('{"events":{}}'), "webhooks");
  assert.deepEqual([refused.code, refused.status], ["invalid_envelope", 400]);
  assert.match(refused.detail, /at byte 10$/);
  assert.equal(inspect(bytes('{"events":['), "webhooks").code, "invalid_json");
});

test("the doctor finds hexadecimal under the header of base64, and shows no secret", () => {
  const hex = Buffer.from(signature.slice(7), "base64").toString("hex");
  const found = explain({ "x-hub-signature-256": `sha256=${hex}` }, body, secret, "open-messaging");
  assert.equal(found.verdict, "malformed_signature");
  assert.deepEqual(found.findings.map(({ code }) => code), ["other_encoding"]);
  assert.equal(found.expected.signedContent, "{body}");
  assert.equal(found.secretLabel, "current");
  assert.ok(!JSON.stringify(found).includes(secret));
});

test("a wrong call throws, and says what to pass without showing a value", () => {
  const headers = {};
  for (const [call, message] of [
    [() => verify(headers, "text", secret, "webhooks"), /^body: expected the raw bytes .* found string$/],
    [() => verify(headers, { events: [] }, secret, "webhooks"), /^body: .* found object$/],
    [() => verify(undefined, body, secret, "webhooks"), /^headers: expected .* found undefined$/],
    [() => verify({ a: 7 }, body, secret, "webhooks"), /^headers: expected /],
    [() => verify(["a"], body, secret, "webhooks"), /^headers: expected /],
    [() => verify(headers, body, [], "webhooks"), /^secrets: at least one is required/],
    [() => verify(headers, body, undefined, "webhooks"), /^secrets: expected .* found undefined$/],
    [() => verify(headers, body, "hunter2-short", "webhooks"), /^secret "current" has fewer than 16 bytes$/],
    [() => verify(headers, body, { text: "hunter2" }, "webhooks"), /^secrets\.secret: is required$/],
    [() => verify(headers, body, { secret, notAfter: "tomorrow" }, "webhooks"), /^secrets\.notAfter: expected a Date/],
    [() => verify(headers, body, { secret, notAfter: new Date(Number.NaN) }, "webhooks"), /^secrets\.notAfter: expected a Date/],
    [() => verify(headers, body, secret, "github"), /^profile: expected "webhooks"/],
    [() => verify(headers, body, secret, "custom"), /^profile: expected "webhooks"/],
    [() => verify(headers, body, secret, { header: "x", encoding: "hex", toleranceS: 9 }), /`toleranceS`: means nothing without `timestampHeader`/],
    [() => verify(headers, body, secret, { header: "x", encoding: "hex", colour: 1 }), /^profile: unknown field `colour`/],
    [() => verify(headers, body, secret, "webhooks", { at: 1 }), /^options\.at: is not known; there are now$/],
    [() => sign(body, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "standard-webhooks"), /^options\.id: is required/],
  ]) {
    assert.throws(call, (error) => {
      assert.match(error.message, message);
      assert.ok(!error.message.includes("hunter2"));
      return error instanceof GenesysError && error.code === "invalid_argument";
    });
  }
});

test("what Node's own server gives goes straight into verify", async (context) => {
  const answered = deferred();
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    answered.resolve(verify(request.headers, Buffer.concat(chunks), secret, "open-messaging"));
    response.end();
  }).listen(0, "127.0.0.1");
  context.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const headers = { "X-Hub-Signature-256": signature, connection: "close" };
  await fetch(`http://127.0.0.1:${server.address().port}/`, { method: "POST", headers, body });
  assert.deepEqual(await answered.promise, { ok: true, label: "current" });
});
