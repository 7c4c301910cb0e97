/**
 * Several declarations side by side, some of which cannot be carried out: each is judged by itself, nothing is touched that is not
 * the gateway's, and what is wrong is named. Out of scope: a vendor that misbehaves (`lifecycle.test.mjs`).
 */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { source, startGateway, startSimulator, until } from "./support.mjs";

const OURS = "genesys-webhook-gateway";
const INTEGRATIONS = "/api/v2/conversations/messaging/integrations/open";

const simulator = await startSimulator();
const gateway = await startGateway(simulator, {
  gateway: {
    sources: [
      source("plain", { subscription: { prune: true } }),
      source("misspelt", { subscription: { event_types: ["call:created", "cal:creatd"] } }),
      source("adopting", { subscription: { adopt: true } }),
      source("messaging", { profile: "open-messaging", subscription: { event_types: [] } }),
    ],
  },
});

beforeEach(() => simulator.reset());

/** The item of each source after a run. */
async function run() {
  const report = await gateway.reconcile();
  return Object.fromEntries(report.items.map((item) => [item.source ?? item.webhookId, item]));
}

// First, because the gateway remembers for minutes that it has just created an integration, and a reset of the simulator that
// takes it away looks like the vendor's lag.
test("an Open Messaging integration is created asynchronously, once, and is then left alone", async () => {
  await simulator.control("PATCH", "settings", { openMessagingLagMs: 700, createCompletesAfterMs: 300 });
  const { messaging } = await run();
  assert.equal(messaging.outcome, "applied", JSON.stringify(messaging));
  const made = await simulator.subscription("Subscription of messaging");
  assert.deepEqual([made.delivers, made.address], [true, gateway.address("messaging")]);
  const again = (await run()).messaging;
  assert.deepEqual([again.outcome, again.webhookId], ["unchanged", made.id]);
  assert.equal((await simulator.requests("POST", INTEGRATIONS)).length, 1);
  assert.deepEqual(await simulator.requests("PATCH", INTEGRATIONS), []);
});

test("an unknown event type fails its own subscription and names what looks like it", async () => {
  const { plain, misspelt, adopting } = await run();
  assert.deepEqual([misspelt.outcome, misspelt.error.code], ["failed", "unknown_event_type"]);
  assert.match(misspelt.error.message, /"cal:creatd".*call:created/);
  assert.deepEqual([plain.outcome, adopting.outcome], ["applied", "applied"]);
  const names = (await simulator.subscriptions()).map(({ name }) => name).sort();
  assert.deepEqual(names, ["adopting", "plain"].map((name) => `Subscription of ${name}`));
});

test("a subscription of the same name that somebody else made is not touched", async () => {
  const theirs = await simulator.createWebhook({ name: "Subscription of plain", owner: "terraform" });
  const { plain } = await run();
  assert.deepEqual([plain.action, plain.outcome, plain.error.code], ["conflict", "failed", "not_owned"]);
  assert.match(plain.error.message, /terraform/);
  const now = await simulator.subscription("Subscription of plain");
  assert.deepEqual([now.id, now.version], [theirs, 1]);
});

test("with adopt the subscription that somebody else made is taken over, not doubled", async () => {
  const theirs = await simulator.createWebhook({ name: "Subscription of adopting", owner: "terraform" });
  const { adopting } = await run();
  assert.deepEqual([adopting.action, adopting.outcome], ["adopt", "applied"]);
  const now = await simulator.subscription("Subscription of adopting");
  assert.deepEqual([now.id, now.address], [theirs, gateway.address("adopting")]);
  assert.equal(now.fields.customProperties["webhook.created.by"], OURS);
});

test("a run by cron in which something failed is an error in the log", async () => {
  await gateway.cron();
  const logged = () => gateway.log();
  await until(logged, (log) => /"event":"reconcile_failed"/.test(log), "the line in the log");
});

test("two of one name are reported, not guessed at", async () => {
  const ids = [];
  for (const owner of [OURS, "terraform"]) ids.push(await simulator.createWebhook({ name: "Subscription of plain", owner }));
  const { plain } = await run();
  assert.deepEqual([plain.outcome, plain.error.code], ["failed", "duplicate_name"]);
  for (const id of ids) assert.ok(plain.error.message.includes(id), plain.error.message);
  const versions = (await simulator.subscriptions()).filter(({ id }) => ids.includes(id)).map(({ version }) => version);
  assert.deepEqual(versions, [1, 1]);
});

test("prune deletes what is ours at its own address, and nothing else", async () => {
  const address = gateway.address("plain");
  const orphan = await simulator.createWebhook({ name: "of an earlier configuration", address, owner: OURS });
  const elsewhere = await simulator.createWebhook({ name: "ours, elsewhere", owner: OURS });
  const theirs = await simulator.createWebhook({ name: "not ours", address, owner: "terraform" });
  const report = await gateway.reconcile();
  const outcome = (id) => report.items.find(({ webhookId }) => webhookId === id)?.outcome;
  assert.deepEqual([outcome(orphan), outcome(elsewhere), outcome(theirs)], ["applied", "kept", undefined]);
  const ids = (await simulator.subscriptions()).filter(({ deleted }) => !deleted).map(({ id }) => id);
  assert.deepEqual([orphan, elsewhere, theirs].map((id) => ids.includes(id)), [false, true, true]);
});

test("after all of this no secret and no token is in any answer or in the log", () => gateway.assertNoSecretShown());
