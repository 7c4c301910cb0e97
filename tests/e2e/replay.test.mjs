/**
 * The night with the wrong secret: deliveries are refused, somebody repairs the secret and deploys, and the letters flow. Two
 * gateways on the same stored state, one after the other, as before and after the deployment. Out of scope: what single replays
 * come to (tests/workerd/replay.test.ts).
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { sha256, source, startGateway, startSimulator, until } from "./support.mjs";

const DELIVERIES = 120;

const state = mkdtempSync(join(tmpdir(), "gateway-state-"));
const simulator = await startSimulator();
const destination = { url: `${simulator.baseUrl}/sink/night`, secret: "DESTINATION_SECRET" };
const configured = { gateway: { sources: [source("night", { destination })] }, state };
const right = randomBytes(24).toString("hex");

const before = await startGateway(simulator, { ...configured, secrets: { SECRET_NIGHT: randomBytes(24).toString("hex") } });
// After the gateways have ended: hooks run in the order in which they were made.
after(() => rmSync(state, { recursive: true, force: true }));

const bodies = Array.from({ length: DELIVERIES }, (_, number) => JSON.stringify({ number, events: [{ eventType: "call:created" }] }));
const stored = async (gateway) => (await gateway.metrics()).deadLetters.stored;
const replay = (gateway, order) => gateway.call("POST", "/api/dead-letters/replay", { json: { filter: { source: "night" }, ...order } });

async function replayed(gateway) {
  const { status, json } = await replay(gateway, { ratePerS: 100 });
  if (status === 200) return json;
  assert.equal(status, 202);
  const job = () => gateway.ask("GET", `/api/dead-letters/replays/${json.id}`);
  return until(job, ({ state: at }) => at === "done", "the end of the replay");
}

test("with the wrong secret everything is refused, kept, and refused again by a replay", async () => {
  for (const body of bodies) assert.equal((await before.deliver("night", body, right)).status, 401);
  await until(() => stored(before), (n) => n === DELIVERIES, "all letters in the store");
  const { matched, stillRefused, replayed: sent } = await replayed(before);
  assert.deepEqual([matched, stillRefused, sent], [DELIVERIES, DELIVERIES, 0]);
  assert.equal(await stored(before), DELIVERIES);
});

test("with the right one the letters flow, each once, and the accounts hold", async () => {
  await before.stop();
  const gateway = await startGateway(simulator, { ...configured, secrets: { SECRET_NIGHT: right } });
  const dry = await replay(gateway, { dryRun: true });
  assert.deepEqual([dry.status, dry.json.replayed], [200, DELIVERIES]);
  assert.equal(await stored(gateway), DELIVERIES);

  // Two operators, at once.
  const [one, other] = await Promise.all([replayed(gateway), replayed(gateway)]);
  assert.equal(one.replayed + other.replayed, DELIVERIES);

  const account = async () => (await gateway.metrics()).sources.night;
  const settled = await until(account, (now) => now.delivered === DELIVERIES, "everything delivered");
  assert.deepEqual(
    [settled.accepted, settled.readmitted, settled.duplicate, settled.pending, settled.dead],
    [0, DELIVERIES, 0, 0, 0],
  );
  const { arrivals } = await simulator.control("GET", "sink/night/arrivals?limit=10000");
  assert.deepEqual(arrivals.map(({ accepted }) => accepted), bodies.map(() => 1));
  assert.deepEqual(new Set(arrivals.map(({ digest }) => digest)), new Set(bodies.map(sha256)));
  assert.equal(await stored(gateway), 0);

  const audited = (await gateway.all("/api/audit?action=REPLAY", "entries")).filter((entry) => !entry.error);
  const ids = new Set(audited.map((entry) => entry.correlationId));
  assert.ok(ids.delete(one.id) && ids.delete(other.id), "the end of each job is audited");
  assert.equal(ids.size, DELIVERIES);
  assert.equal((await gateway.ask("GET", "/api/audit/verify?limit=10000")).intact, true);
  gateway.assertNoSecretShown();
});
