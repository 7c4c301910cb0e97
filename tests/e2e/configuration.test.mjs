/**
 * What is missing or broken closes what depends on it, with 503 so that senders repeat, and names itself to the operator. Each
 * state of the configuration is a gateway of its own. Out of scope: what a valid configuration is (`crates/core`).
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { source, startGateway, startServer, startSimulator } from "./support.mjs";

const EVENTS = '{"events":[{"eventType":"call:created"}]}';

const simulator = await startSimulator();
const broken = {
  region: "nowhere",
  public_url: "http://hooks.example.com",
  sorces: [],
  sources: [
    { name: "Contact Center", profile: "webhook", secrets: ["SECRET_A"] },
    { name: "closed", profile: "webhooks", secrets: [], destination: { url: "https://10.0.0.1/", colour: "red" } },
  ],
};
const server = await startServer((_, response) => response.end());
const [misconfigured, partial, tokenless] = await Promise.all([
  startGateway(simulator, { gateway: broken, exactly: true }),
  // As in production: loopback is not allowed. The vendor is nowhere (RFC 6761), and nothing here should have it called.
  startGateway(simulator, {
    gateway: {
      login_url: "https://login.invalid",
      api_url: "https://api.invalid",
      public_url: "https://hooks.invalid",
      sources: [source("open"), source("closed")],
    },
    exactly: true,
    without: ["SECRET_CLOSED"],
  }),
  startGateway(simulator, { gateway: { sources: [source("open")] }, without: ["ADMIN_TOKEN"] }),
]);

function assertUnavailable(answer, code) {
  assert.deepEqual([answer.status, answer.json.code], [503, code], answer.text);
  assert.ok(Number(answer.headers.get("retry-after")) > 0);
}

test("a broken configuration answers every delivery with 503, so that the sender repeats", async () => {
  for (const name of ["closed", "Contact%20Center", "unknown"]) {
    const answer = await misconfigured.call("POST", `/webhook/${name}`, { token: null, body: EVENTS });
    assertUnavailable(answer, "bad_configuration");
    assert.equal(answer.json.detail, undefined, "senders are told nothing of it");
  }
});

test("a broken configuration names every key to the operator at once", async () => {
  for (const [method, path] of [["GET", "/api/event-types"], ["POST", "/api/reconcile"], ["GET", "/api/subscriptions"]]) {
    const { code, detail } = await misconfigured.ask(method, path, {}, 503);
    assert.equal(code, "bad_configuration");
    assert.deepEqual(detail.map(({ key }) => key).sort(), [
      "public_url",
      "region",
      "sorces",
      "sources[0].name",
      "sources[0].profile",
      "sources[1].destination.colour",
      "sources[1].destination.url",
      "sources[1].secrets",
    ]);
    for (const { problem } of detail) assert.ok(problem.length > 5);
  }
  const { configurationProblems, configurationValid } = await misconfigured.metrics();
  assert.deepEqual([configurationProblems.length, configurationValid], [8, false]);
  const { text } = await misconfigured.call("GET", "/metrics?format=prometheus");
  assert.match(text, /^genesys_gateway_configuration_valid 0(\.0)?$/m);
});

test("with a broken configuration the rest lives on", async () => {
  await misconfigured.cron();
  assert.equal((await misconfigured.ask("GET", "/healthz")).status, "ok");
  assert.deepEqual((await misconfigured.ask("GET", "/api/dead-letters")).deadLetters, []);
  assert.match(misconfigured.log(), /bad_configuration/);
});

test("a source without its secret is closed, and only that one", async () => {
  const unsigned = await partial.call("POST", "/webhook/closed", { token: null, body: EVENTS });
  assertUnavailable(unsigned, "no_active_secret");
  assertUnavailable(await partial.deliver("closed", EVENTS, "any secret"), "no_active_secret");
  const accepted = await partial.deliver("open", EVENTS);
  assert.deepEqual([accepted.status, accepted.json.received, accepted.json.eventCount], [200, true, 1]);

  const { unavailable } = await partial.settled("closed", 2);
  assert.deepEqual(unavailable, { no_active_secret: 2 });
  assert.equal((await partial.settled("open", 1)).delivered, 1);
  const problems = (await partial.metrics()).configurationProblems;
  assert.deepEqual(problems.map(({ key }) => key), ["SECRET_CLOSED"]);
});

test("a run without the secret of a source names it and does nothing: what seems undeclared might be pruned", async () => {
  const run = await partial.ask("POST", "/api/reconcile", {}, 503);
  assert.deepEqual([run.code, run.detail], ["missing_secret", "SECRET_CLOSED"]);
  const { report, refused } = await partial.ask("GET", "/api/reconcile");
  assert.deepEqual([report, refused.code], [null, "missing_secret"]);
  // No run looks after what was declared, of the other source either.
  const { sources } = await partial.ask("POST", "/api/health");
  const blind = { state: "unrepaired", error: "missing_secret" };
  assert.deepEqual([sources.open.subscription, sources.closed.subscription], [blind, blind]);
});

test("in production nothing private is called, whoever names it", async () => {
  for (const url of [
    server.url,
    server.url.replace("http:", "https:"),
    "https://localhost/",
    "https://[::1]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://10.1.2.3/",
    "https://[::ffff:127.0.0.1]/",
    "https://2130706433/",
    "https://printer.local/",
  ]) {
    const refused = await partial.ask("POST", "/api/probe", { json: { url } }, 400);
    assert.equal(refused.code, "address_refused", url);
  }
  assert.deepEqual(server.seen, []);
});

test("without ADMIN_TOKEN nobody gets in, and deliveries are accepted all the same", async () => {
  for (const call of ["GET /metrics", "GET /api/subscriptions", "POST /api/reconcile", "GET /api/no-such-thing"]) {
    const [method, path] = call.split(" ");
    for (const token of [null, "", "undefined", "null"]) {
      const refused = await tokenless.call(method, path, { token });
      assert.deepEqual([refused.status, refused.json.code], [503, "no_admin_token"], `${method} ${path}`);
    }
  }
  assert.equal((await tokenless.deliver("open", EVENTS)).status, 200);
  assert.deepEqual(await simulator.requests(), []);
});

test("after all of this no secret is in any answer or in the log", () => {
  for (const gateway of [misconfigured, partial, tokenless]) gateway.assertNoSecretShown();
});
