/**
 * The management calls that reach the vendor: catalogue, single subscriptions, probes. Out of scope: reconciliation
 * (`lifecycle.test.mjs`), dead letters and deliveries (`deliveries.test.mjs`), a gateway without configuration or token
 * (`configuration.test.mjs`).
 */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { source, startGateway, startServer, startSimulator } from "./support.mjs";

const WEBHOOKS = "/api/v2/webhooks/webhooks";
const EXTRA = Array.from({ length: 100 }, (_, index) => `custom:type-${index}`);

const simulator = await startSimulator({ extraEventTypes: EXTRA });
const server = await startServer();
const misspelt = source("misspelt", { subscription: { event_types: ["cal:creatd"] } });
const gateway = await startGateway(simulator, { gateway: { sources: [source("one"), source("two"), misspelt] } });

beforeEach(async () => {
  await simulator.reset();
  server.seen.length = 0;
});

const create = (name) => gateway.ask("POST", "/api/subscriptions", { json: { source: name } }, 201);

test("without the operator's token nothing is told and nothing is asked of the vendor", async () => {
  for (const token of [null, "", "a-token-of-somebody-else", `${gateway.secrets.ADMIN_TOKEN}x`]) {
    for (const [method, path] of [
      ["GET", "/metrics"],
      ["GET", "/api/event-types"],
      ["POST", "/api/reconcile"],
      ["GET", "/api/subscriptions"],
      ["GET", "/api/no-such-thing"],
    ]) {
      const answer = await gateway.call(method, path, { token });
      assert.deepEqual([answer.status, answer.json.code], [401, "unauthorized"], `${method} ${path}`);
      assert.equal(answer.headers.get("www-authenticate"), "Bearer");
    }
  }
  assert.deepEqual(await simulator.requests(), []);
});

test("an unknown path is 404, a known one with another method is 405 with Allow", async () => {
  assert.equal((await gateway.ask("GET", "/api/no-such-thing", {}, 404)).code, "not_found");
  const wrong = await gateway.call("DELETE", "/api/subscriptions");
  assert.deepEqual([wrong.status, wrong.headers.get("allow")], [405, "GET, HEAD, POST"]);
});

test("the catalogue is read to its last page", async () => {
  const { eventTypes } = await gateway.ask("GET", "/api/event-types");
  const names = new Set(eventTypes.map(({ name }) => name));
  assert.equal(names.size, 244);
  assert.ok(names.has("call:created") && names.has("voicemail:ended") && names.has(EXTRA.at(-1)));
  assert.deepEqual((await simulator.requests("GET", "/api/v2/eventtypes")).map(({ query }) => query.page), ["1", "2", "3"]);
});

test("a subscription is created as its source declares it, and once", async () => {
  const made = await create("one");
  const there = await simulator.subscription("Subscription of one");
  assert.deepEqual([made.id, made.address, made.secret], [there.id, gateway.address("one"), "set"]);
  const again = await gateway.ask("POST", "/api/subscriptions", { json: { source: "one" } }, 409);
  assert.deepEqual([again.code, again.detail], ["exists", made.id]);
  assert.equal((await simulator.requests("POST", WEBHOOKS)).length, 1);
});

const byHand = (name) => gateway.call("POST", "/api/subscriptions", { json: { source: name } });

/** Makes creates so slow that whoever comes second does not find what the first is about to create. */
async function slowCreates() {
  // A fresh token first: a 401 would put them one behind the other.
  await gateway.ask("GET", "/api/subscriptions");
  await simulator.fault({ kind: "slow", method: "POST", path: WEBHOOKS, delayMs: 700 });
}

test("creating by hand twice at the same time makes one", async () => {
  await slowCreates();
  const answers = await Promise.all([byHand("one"), byHand("one")]);
  await simulator.subscription("Subscription of one");
  assert.deepEqual(answers.map(({ status }) => status).sort(), [201, 409]);
});

test("creating by hand while a run creates makes one", async () => {
  await slowCreates();
  await Promise.all([byHand("one"), gateway.call("POST", "/api/reconcile")]);
  await simulator.subscription("Subscription of one");
});

test("what is created by hand is checked as in a run: event types that exist, an address that answers", async () => {
  const misspelt = await byHand("misspelt");
  assert.ok(misspelt.status >= 400, misspelt.text);
  assert.match(misspelt.text, /call:created/, "near matches are named");
  assert.deepEqual(await simulator.requests("POST", WEBHOOKS), []);
  const start = await gateway.auditedSoFar();
  await create("one");
  const probed = (await gateway.auditSince(start)).filter(({ action }) => action === "PROBE");
  assert.deepEqual(probed.map(({ targetUrl, statusCode }) => [targetUrl, statusCode]), [[gateway.address("one"), 204]]);
});

test("what cannot be created is refused by name", async () => {
  for (const [body, status, code] of [
    ['{"source":"unknown"}', 404, "unknown_source"],
    ['{"source":7}', 400, "invalid_body"],
    ['{"source":"one","address":"http://example.com"}', 400, "invalid_body"],
    ["{", 400, "invalid_body"],
    ["", 400, "invalid_body"],
  ]) {
    assert.equal((await gateway.ask("POST", "/api/subscriptions", { body }, status)).code, code, body);
  }
  assert.deepEqual(await simulator.requests("POST", WEBHOOKS), []);
});

test("subscriptions are listed all or by source, over all pages", async () => {
  await create("one");
  await create("two");
  for (let n = 0; n < 120; n++) await simulator.createWebhook({ name: `of somebody else ${n}` });
  const { subscriptions } = await gateway.ask("GET", "/api/subscriptions");
  assert.equal(subscriptions.length, 122);
  const own = (await gateway.ask("GET", "/api/subscriptions?source=two")).subscriptions;
  assert.deepEqual(own.map(({ name }) => name), ["Subscription of two"]);
  assert.equal((await gateway.ask("GET", "/api/subscriptions?source=unknown", {}, 404)).code, "unknown_source");
});

test("an update carries the caller's version: a stale one is 412 and changes nothing, the current one is written", async () => {
  const { id } = await create("one");
  const path = `/api/subscriptions/one/${id}`;
  const stale = (await gateway.call("GET", path)).headers.get("etag");
  assert.ok(stale);
  const writer = await simulator.anotherWriter();
  await writer.change(id, (webhook) => (webhook.enabled = false));

  const refused = await gateway.ask("PUT", path, { headers: { "if-match": stale } }, 412);
  assert.deepEqual([refused.code, refused.detail.status], ["version_mismatch", 412]);
  assert.equal((await simulator.subscription("Subscription of one")).delivers, false);

  const read = await gateway.call("GET", path);
  assert.deepEqual([read.status, read.json.enabled], [200, false]);
  assert.notEqual(read.headers.get("etag"), stale);
  const updated = await gateway.ask("PUT", path, { headers: { "if-match": read.headers.get("etag") } });
  assert.deepEqual(updated.changes, [{ field: "enabled", from: false, to: true }]);
  const written = (await simulator.requests("PUT", WEBHOOKS)).at(-1);
  assert.deepEqual([written.status, updated.correlationId], [200, written.correlationId]);
  assert.equal((await simulator.subscription("Subscription of one")).delivers, true);
});

test("an update without a version reads it, and does so again when somebody was faster", async () => {
  const { id } = await create("one");
  const writer = await simulator.anotherWriter();
  await writer.change(id, (webhook) => (webhook.enabled = false));
  await simulator.fault({ kind: "concurrent_writer", method: "PUT", times: 1 });
  const updated = await gateway.ask("PUT", `/api/subscriptions/one/${id}`);
  assert.deepEqual(updated.changes.map(({ field }) => field), ["enabled"]);
  assert.deepEqual((await simulator.statuses("PUT", WEBHOOKS)).slice(1), [412, 200]);
});

test("a subscription is deleted, and is gone", async () => {
  const { id } = await create("one");
  const path = `/api/subscriptions/one/${id}`;
  await gateway.ask("DELETE", path, {}, 204);
  assert.deepEqual(await simulator.subscriptions(), []);
  assert.equal((await gateway.ask("GET", path, {}, 404)).code, "not_found");
  // Deleting what is gone is done.
  await gateway.ask("DELETE", path, {}, 204);
});

test("what the gateway does not own it neither changes nor deletes", async () => {
  const id = await simulator.createWebhook({ name: "of somebody else", owner: "terraform" });
  for (const method of ["PUT", "DELETE"]) {
    assert.equal((await gateway.ask(method, `/api/subscriptions/one/${id}`, {}, 409)).code, "not_owned", method);
  }
  assert.equal((await simulator.subscription("of somebody else")).version, 1);
});

test("an identifier leads nowhere but to a subscription", async () => {
  for (const id of ["..%2F..%2Foauth%2Ftoken", "a%3Fb", "%2e%2e%2f", "a;b"]) {
    const refused = await gateway.call("GET", `/api/subscriptions/one/${id}`);
    assert.deepEqual([refused.status, refused.json.code], [400, "invalid"], id);
  }
  assert.deepEqual(await simulator.requests(), []);
});

const probe = (url, status = 200) => gateway.ask("POST", "/api/probe", { json: { url } }, status);

test("the probe tells what answers, with which method, and why not", async () => {
  const own = await probe(gateway.address("one"));
  assert.deepEqual([own.reachable, own.status, own.method], [true, 204, "HEAD"]);

  server.answer = (request, response) => response.writeHead(request.method === "HEAD" ? 405 : 200).end();
  const byGet = await probe(server.url);
  assert.deepEqual([byGet.reachable, byGet.status, byGet.method], [true, 200, "GET"]);
  assert.deepEqual(server.seen.map(({ method, headers }) => [method, headers["x-genesys-gateway-probe"]]), [["HEAD", "1"], ["GET", "1"]]);

  const missing = await probe(`${simulator.baseUrl}/no/such/path`);
  assert.deepEqual([missing.reachable, missing.status], [false, 404]);
});

test("the probe does not follow a redirect", async () => {
  server.answer = (request, response) => response.writeHead(request.url === "/moved" ? 302 : 200, { location: "/inside" }).end();
  const moved = await probe(`${server.url}/moved`);
  assert.deepEqual([moved.reachable, moved.status], [false, 302]);
  assert.deepEqual(server.seen.map(({ path }) => path), ["/moved", "/moved"]);
});

test("a connection that breaks or is refused is a finding, not an answer", async () => {
  server.answer = (request) => request.socket.destroy();
  for (const url of [server.url, "http://127.0.0.1:1/"]) {
    const broken = await probe(url);
    assert.deepEqual([broken.reachable, broken.status], [false, undefined], url);
    assert.ok(broken.error, url);
  }
});

test("what is no address is refused", async () => {
  for (const url of [
    "",
    "gateway",
    "ftp://127.0.0.1/",
    "http://user:password@127.0.0.1/",
    "http://2130706433/",
    "http://127.0.0.1\\@example.com/",
  ]) {
    assert.equal((await probe(url, 400)).code, "address_refused", url);
  }
  await gateway.ask("POST", "/api/probe", { json: {} }, 400);
});

test("what an operator does is in the audit trail, also where it failed", async () => {
  const start = await gateway.auditedSoFar();
  const { id } = await create("one");
  const foreign = await simulator.createWebhook({ name: "of somebody else" });
  server.answer = (_, response) => response.writeHead(204).end();
  await probe(server.url);
  await gateway.ask("DELETE", `/api/subscriptions/one/${foreign}`, {}, 409);
  await gateway.ask("DELETE", `/api/subscriptions/one/${id}`, {}, 204);
  const entries = await gateway.auditSince(start);
  const of = (action) => entries.filter((entry) => entry.action === action);
  const made = of("CREATE").map(({ webhookId, statusCode, targetUrl }) => [webhookId, statusCode, targetUrl]);
  assert.deepEqual(made, [[id, 201, gateway.address("one")]]);
  assert.deepEqual(of("PROBE").filter(({ targetUrl }) => targetUrl === server.url).map(({ statusCode }) => statusCode), [204]);
  assert.deepEqual(of("DELETE").map(({ webhookId, statusCode, error }) => [webhookId, statusCode, error]), [
    [foreign, undefined, "not_owned"],
    [id, 204, undefined],
  ]);
  assert.deepEqual(new Set(entries.map(({ actor }) => actor)), new Set(["admin"]));
});

test("after all of this no secret and no token is in any answer or in the log", () => gateway.assertNoSecretShown());
