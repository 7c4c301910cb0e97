/**
 * What the gateway does to keep one declared subscription: the release build on workerd, the real API calls of a run, and a vendor
 * that misbehaves. Out of scope: several declarations (`declarations.test.mjs`), single management calls (`management.test.mjs`).
 */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { sha256, source, startGateway, startServer, startSimulator, until } from "./support.mjs";

const NAME = "Subscription of contact-center";
const WEBHOOKS = "/api/v2/webhooks/webhooks";

// 144 event types of its own and these: three pages. The declared ones are on the first and on the last.
const MORE_TYPES = Array.from({ length: 100 }, (_, index) => `custom:type-${index}`);
const LAST_TYPE = MORE_TYPES.at(-1);

const simulator = await startSimulator({ extraEventTypes: MORE_TYPES });
// What stands in front of the gateway: a probe comes this way.
const front = await startServer();
const gateway = await startGateway(simulator, {
  gateway: {
    public_url: front.url,
    sources: [source("contact-center", { subscription: { event_types: ["call:created", LAST_TYPE] } })],
  },
});

async function passOn(request, response) {
  const { status } = await fetch(gateway.url + request.url, { method: request.method });
  response.writeHead(status).end();
}

function withoutHead(request, response) {
  if (request.method === "HEAD") response.writeHead(405).end();
  else passOn(request, response);
}

beforeEach(async () => {
  await simulator.reset();
  front.answer = passOn;
  front.seen.length = 0;
});

const only = (report) => {
  assert.equal(report.items.length, 1, JSON.stringify(report));
  return report.items[0];
};

/** A run after which the subscription is there. */
async function created() {
  const item = only(await gateway.reconcile());
  assert.equal(item.outcome, "applied", JSON.stringify(item));
  return simulator.subscription(NAME);
}

test("the cron creates what is declared, once its event types and its address are known to be good", async () => {
  front.answer = withoutHead;
  await gateway.cron();
  const made = await simulator.subscription(NAME);
  assert.equal(made.address, `${front.url}/webhook/contact-center`);
  assert.equal(made.delivers, true);
  assert.equal(made.secretSha256, sha256(gateway.secrets.SECRET_CONTACT_CENTER));
  const types = made.fields.eventFilters.map(({ eventType, filter }) => [eventType, filter]);
  assert.deepEqual(types.sort(), [["call:created", "true"], [LAST_TYPE, "true"]]);
  assert.equal(made.fields.customProperties["webhook.created.by"], "genesys-webhook-gateway");

  const pages = (await simulator.requests("GET", "/api/v2/eventtypes")).map(({ query }) => Number(query.page));
  assert.deepEqual(pages, [1, 2, 3]);
  const probes = front.seen.map(({ method, path, headers }) => [method, path, headers["x-genesys-gateway-probe"]]);
  assert.deepEqual(probes, [["HEAD", "/webhook/contact-center", "1"], ["GET", "/webhook/contact-center", "1"]]);
  assert.deepEqual(await simulator.statuses("POST", WEBHOOKS), [201]);

  const report = await gateway.lastReport();
  assert.deepEqual([report.planned, report.applied, report.failed, report.dry_run], [1, 1, 0, false]);
  assert.equal(only(report).webhookId, made.id);
  const { reconcile } = await gateway.metrics();
  assert.deepEqual([reconcile.startedAtMs, reconcile.applied, reconcile.failed], [report.started_at_ms, 1, 0]);
});

test("a second run changes nothing and asks nothing but the list", async () => {
  const before = await created();
  const asked = (await simulator.requests()).length;
  const report = await gateway.reconcile();
  assert.deepEqual([report.unchanged, report.planned, report.requests], [1, 0, 1]);
  const later = (await simulator.requests()).slice(asked);
  assert.deepEqual(later.map(({ method, path }) => [method, path]), [["GET", WEBHOOKS]]);
  assert.deepEqual(await simulator.subscription(NAME), before);
});

test("an address that does not answer is not subscribed", async () => {
  front.answer = (_, response) => response.writeHead(500).end();
  const item = only(await gateway.reconcile());
  assert.deepEqual([item.outcome, item.error.code], ["failed", "unreachable_address"]);
  assert.match(item.error.message, /500/);
  assert.deepEqual(await simulator.subscriptions(), []);
});

test("what another writer changed is brought back under If-Match, and what is his stays", async () => {
  const { id } = await created();
  const writer = await simulator.anotherWriter();
  await writer.change(id, (webhook) => {
    webhook.enabled = false;
    webhook.address = "http://127.0.0.1:9/stolen";
    webhook.eventFilters = [{ eventType: "user:updated", filter: "true" }];
    webhook.customProperties["webhook.signature.secret"] = "a secret of somebody else";
    webhook.customProperties["cost.center"] = "4711";
  });

  const item = only(await gateway.reconcile());
  assert.deepEqual([item.action, item.outcome], ["update", "applied"]);
  const diff = Object.fromEntries(item.diff.map(({ field, from, to }) => [field, [from, to]]));
  assert.deepEqual(Object.keys(diff).sort(), ["address", "enabled", "event_filters", "secret"]);
  assert.deepEqual(diff.enabled, [false, true]);
  assert.deepEqual(diff.secret, [undefined, "changed"]);

  // The simulator answers 428 to a PUT without If-Match.
  assert.deepEqual((await simulator.statuses("PUT", WEBHOOKS)).slice(1), [200]);
  const now = await simulator.subscription(NAME);
  assert.deepEqual([now.id, now.delivers, now.address], [id, true, `${front.url}/webhook/contact-center`]);
  assert.equal(now.secretSha256, sha256(gateway.secrets.SECRET_CONTACT_CENTER));
  assert.equal(now.fields.customProperties["cost.center"], "4711");
  assert.equal((await gateway.reconcile()).unchanged, 1);
});

test("what somebody deleted is made again", async () => {
  const { id } = await created();
  await simulator.reset();
  assert.notEqual((await created()).id, id);
});

test("a vendor that does not give the secret back has it compared by fingerprint: unchanged stays unchanged", async () => {
  await simulator.control("PATCH", "settings", { webhookSecretReadable: false });
  const made = await created();
  assert.equal((await gateway.reconcile()).unchanged, 1);
  const read = await gateway.ask("GET", `/api/subscriptions/contact-center/${made.id}`);
  assert.equal(read.secret, "hidden");
  assert.equal((await simulator.subscription(NAME)).version, 1);
});

/** The subscription, switched off by somebody else. */
async function switchedOff() {
  const { id } = await created();
  const writer = await simulator.anotherWriter();
  await writer.change(id, (webhook) => (webhook.enabled = false));
  return id;
}

for (const status of [412, 409, 400]) {
  test(`a version that changed in between (${status}) is read again, and both changes stand`, async () => {
    await switchedOff();
    await simulator.fault({ kind: "concurrent_writer", method: "PUT", times: 2, status });
    assert.equal(only(await gateway.reconcile()).outcome, "applied");
    assert.deepEqual((await simulator.statuses("PUT", WEBHOOKS)).slice(1), [status, status, 200]);
    const now = await simulator.subscription(NAME);
    assert.equal(now.delivers, true);
    assert.ok("changed.by.somebody.else" in now.fields.customProperties);
  });
}

test("a writer who never stops is given up on after three tries more, and the next run finishes", async () => {
  await switchedOff();
  await simulator.fault({ kind: "concurrent_writer", method: "PUT" });
  const report = await gateway.reconcile();
  assert.deepEqual([report.failed, only(report).error.code], [1, "version_mismatch"]);
  assert.deepEqual((await simulator.statuses("PUT", WEBHOOKS)).slice(1), [412, 412, 412, 412]);
  await simulator.control("DELETE", "faults");
  assert.equal((await gateway.reconcile()).applied, 1);
});

test("Retry-After is waited for", async () => {
  await simulator.fault({ kind: "rate_limited", method: "GET", path: "/api/v2/eventtypes", times: 1, retryAfterS: 1 });
  await created();
  const [refused, again] = await simulator.requests("GET", "/api/v2/eventtypes");
  assert.deepEqual([refused.status, again.status], [429, 200]);
  // Both times are of one clock; 5 ms for timers that are early by a tick.
  assert.ok(again.atMs - refused.atMs >= 995, `${again.atMs - refused.atMs} ms`);
});

test("calls keep the pace that the vendor's headers allow: there is no 429", async () => {
  await simulator.control("PATCH", "settings", { rateLimit: { requests: 4, windowMs: 1_000 } });
  await created();
  const statuses = await simulator.statuses(undefined, "/api/");
  assert.ok(statuses.filter((status) => status < 300).length > 4 && !statuses.includes(429), JSON.stringify(statuses));
});

test("the login host's own form of a rate limit is waited out", async () => {
  await simulator.fault({ kind: "rate_limited", path: "/oauth/token", times: 1 });
  await created();
  assert.deepEqual(await simulator.statuses("POST", "/oauth/token"), [400, 200]);
});

const lostAnswers = {
  "a 429": { kind: "rate_limited", retryAfterS: 1 },
  "a 500": { kind: "error", status: 500 },
  "a proxy's 502": { kind: "not_json" },
  "an empty 503": { kind: "not_json", status: 503, body: "" },
  "a broken connection": { kind: "cut" },
};
for (const [what, fault] of Object.entries(lostAnswers)) {
  test(`a create that was carried out and answered with ${what} is found, not repeated`, async () => {
    await simulator.fault({ ...fault, method: "POST", path: WEBHOOKS, times: 1, applied: true });
    const item = only(await gateway.reconcile());
    assert.equal(item.outcome, "applied", JSON.stringify(item));
    assert.equal(item.webhookId, (await simulator.subscription(NAME)).id);
    assert.equal((await simulator.requests("POST", WEBHOOKS)).length, 1);
    assert.equal((await gateway.reconcile()).unchanged, 1);
  });
}

const refusedWrites = {
  "a 429": { kind: "rate_limited" },
  "a 503": { kind: "error", status: 503 },
  "a broken connection": { kind: "cut" },
};
for (const [what, fault] of Object.entries(refusedWrites)) {
  test(`a create that was not carried out and answered with ${what} is looked for and then repeated`, async () => {
    await simulator.fault({ ...fault, method: "POST", path: WEBHOOKS, times: 1 });
    assert.equal(only(await gateway.reconcile()).outcome, "applied");
    // Without the 401 to the token from before the reset.
    const calls = (await simulator.requests(undefined, WEBHOOKS)).filter(({ status }) => status !== 401);
    assert.deepEqual(calls.map(({ method }) => method), ["GET", "POST", "GET", "POST"]);
    await simulator.subscription(NAME);
  });
}

test("a list that cannot be read leaves everything undecided and creates nothing", async () => {
  await simulator.fault({ kind: "error", status: 501, method: "GET", path: WEBHOOKS, times: 1 });
  const item = only(await gateway.reconcile());
  assert.deepEqual([item.action, item.outcome, item.error.status], ["undecided", "failed", 501]);
  assert.deepEqual(await simulator.requests("POST", WEBHOOKS), []);
  await created();
});

test("a revoked token is replaced once, for all who call at the same time", async () => {
  await created();
  await simulator.control("POST", "oauth/revoke");
  const before = (await simulator.requests("POST", "/oauth/token")).length;
  const calls = Array.from({ length: 8 }, () => gateway.call("GET", "/api/subscriptions"));
  assert.deepEqual((await Promise.all(calls)).map(({ status }) => status), Array(8).fill(200));
  assert.equal((await simulator.requests("POST", "/oauth/token")).length - before, 1);
});

test("a token that is never accepted is asked for once more, not for ever", async () => {
  await created();
  const before = (await simulator.requests("POST", "/oauth/token")).length;
  await simulator.fault({ kind: "token_revoked" });
  const item = only(await gateway.reconcile());
  assert.deepEqual([item.outcome, item.error.code], ["failed", "unauthorized"]);
  assert.equal((await simulator.requests("POST", "/oauth/token")).length - before, 1);
});

test("a token is replaced before it expires: no call meets a 401", async () => {
  // Replaced 60 s early, so these are good for two seconds.
  await simulator.control("PATCH", "settings", { tokenLifetimeS: 62 });
  await simulator.control("POST", "oauth/revoke");
  await gateway.ask("GET", "/api/subscriptions");
  const first = (await simulator.requests()).length;
  const renewed = async () => {
    await gateway.ask("GET", "/api/subscriptions");
    return simulator.requests();
  };
  const tokens = (requests) => requests.slice(first).filter(({ path }) => path === "/oauth/token").length;
  const requests = await until(renewed, (now) => tokens(now) > 0, "a new token");
  assert.deepEqual([...new Set(requests.slice(first).map(({ status }) => status))], [200]);
});

test("a dry run plans, changes nothing and does not replace the last report", async () => {
  await created();
  const last = await gateway.lastReport();
  await simulator.reset();
  front.seen.length = 0;
  const report = await gateway.reconcile({ dryRun: true });
  assert.deepEqual([report.dry_run, report.planned, report.applied], [true, 1, 0]);
  assert.deepEqual([only(report).action, only(report).outcome], ["create", "planned"]);
  assert.deepEqual(await simulator.subscriptions(), []);
  assert.deepEqual((await simulator.requests()).filter(({ method, path }) => method !== "GET" && path !== "/oauth/token"), []);
  assert.deepEqual(front.seen, []);
  assert.deepEqual(await gateway.lastReport(), last);
});

test("a dryRun that is neither true nor false runs nothing", async () => {
  const refused = await gateway.ask("POST", "/api/reconcile?dryRun=yes", {}, 400);
  assert.equal(refused.code, "invalid_parameter");
  assert.deepEqual(await simulator.requests(), []);
});

test("runs at the same time create once: whoever comes second is told so", async () => {
  // So slow a create that whoever does not wait for it would not find it and make another.
  await simulator.fault({ kind: "slow", method: "POST", path: WEBHOOKS, delayMs: 1_500 });
  const runs = [gateway.call("POST", "/api/reconcile"), gateway.call("POST", "/api/reconcile"), gateway.cron()];
  const answers = (await Promise.all(runs)).slice(0, 2);
  for (const { status, json } of answers) {
    assert.ok(status === 200 || (status === 409 && json.code === "already_running"), `${status} ${JSON.stringify(json)}`);
  }
  assert.equal((await simulator.requests("POST", WEBHOOKS)).length, 1);
  await simulator.subscription(NAME);
  assert.ok(answers.some(({ status }) => status === 409), "they do not overlap");
  // The lease ended with the run.
  assert.equal((await gateway.reconcile()).unchanged, 1);
});

test("every action is in the audit trail with the vendor's correlation id", async () => {
  const start = await gateway.auditedSoFar();
  await gateway.cron();
  const { id } = await simulator.subscription(NAME);
  const writer = await simulator.anotherWriter();
  await writer.change(id, (webhook) => (webhook.enabled = false));
  await gateway.reconcile();
  await gateway.ask("DELETE", `/api/subscriptions/contact-center/${id}`, {}, 204);

  const entries = await gateway.auditSince(start);
  const told = entries.map(({ action, actor, webhookId, statusCode }) => [action, actor, webhookId, statusCode]);
  assert.deepEqual(told, [
    ["VALIDATE", "cron", undefined, undefined],
    ["PROBE", "cron", undefined, 204],
    ["CREATE", "cron", id, 201],
    ["RECONCILE", "cron", undefined, undefined],
    ["UPDATE", "admin", id, 200],
    ["RECONCILE", "admin", undefined, undefined],
    ["DELETE", "admin", id, 204],
  ]);
  const correlation = async (method) => (await simulator.requests(method, WEBHOOKS)).at(-1).correlationId;
  const audited = (action) => entries.find((entry) => entry.action === action).correlationId;
  for (const [method, action] of [["POST", "CREATE"], ["PUT", "UPDATE"], ["DELETE", "DELETE"]]) {
    assert.equal(audited(action), await correlation(method), action);
  }
  const verification = await gateway.ask("GET", "/api/audit/verify");
  assert.equal(verification.intact, true, JSON.stringify(verification));
});

test("a failed action is in the audit trail with status, error and correlation id", async () => {
  const start = await gateway.auditedSoFar();
  const { id, secret } = simulator.credentials;
  await simulator.control("PUT", "oauth/clients", { id, secret, permissions: ["webhook:read", "eventtype:read"] });
  const item = only(await gateway.reconcile());
  assert.deepEqual([item.outcome, item.error.code], ["failed", "missing_permission"]);
  assert.match(item.error.message, /webhook:write/);
  const [refused] = await simulator.requests("POST", WEBHOOKS);
  const entry = (await gateway.auditSince(start)).find(({ action }) => action === "CREATE");
  assert.deepEqual([entry.statusCode, entry.correlationId, item.correlationId], [403, refused.correlationId, refused.correlationId]);
  assert.match(entry.error, /webhook:write/);
});

test("a wrong client secret is named, and nothing is done", async () => {
  await simulator.control("PUT", "oauth/clients", { ...simulator.credentials, secret: "another secret than the gateway's" });
  const item = only(await gateway.reconcile());
  assert.deepEqual([item.outcome, item.error.code, item.error.fault], ["failed", "wrong_client_secret", "configuration"]);
  assert.match(item.error.message, /GENESYS_CLIENT_SECRET/);
  const answer = await gateway.ask("GET", "/api/event-types", {}, 502);
  assert.equal(answer.code, "wrong_client_secret");
  // Certain as it is, it is not tried again.
  assert.equal((await simulator.requests("POST", "/oauth/token")).length, 2);
  assert.deepEqual(await simulator.subscriptions(), []);

  await simulator.control("PUT", "oauth/clients", simulator.credentials);
  await created();
});

test("after all of this no secret and no token is in any answer or in the log", () => gateway.assertNoSecretShown());
