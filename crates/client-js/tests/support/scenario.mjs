/**
 * What is done in every runtime: the vectors, and one life of a subscription against the simulator. Answers plain data, so
 * that it can be judged where the test runs (`expectScenario`).
 */

import envelopes from "../../../../tests/vectors/envelopes.json" with { type: "json" };
import json from "../../../../tests/vectors/json.json" with { type: "json" };
import signatures from "../../../../tests/vectors/signatures.json" with { type: "json" };
import { runVectors } from "./vectors.mjs";

const secret = "a-signing-secret-that-no-error-shows";

const caught = async (work) => {
  try {
    return { value: await work() };
  } catch (error) {
    const { name, message, code, fault, status } = error;
    return { name, message, code, fault, status, isError: error instanceof Error };
  }
};

/** `client`: the package. `options`: of a client of the simulator. */
export async function scenario(client, options) {
  const { GenesysClient, sign, verify } = client;
  const vectors = runVectors(client, [envelopes, json, signatures]);

  const genesys = new GenesysClient(options);
  const eventTypes = await genesys.eventTypes();
  const declared = {
    api: "webhooks",
    name: "Scenario",
    address: "https://hooks.example.com/webhook/scenario",
    eventFilters: [eventTypes[0].name, { eventType: eventTypes[1].name, filter: "x == 1" }],
    secret,
  };
  const { api, ...desired } = declared;
  const run = async (subscriptions) => {
    const { planned, applied, failed, unchanged } = await genesys.reconcile(subscriptions, { probe: false });
    return { planned, applied, failed, unchanged };
  };
  const plan = await genesys.plan([declared]);
  const runs = [await run([declared]), await run([declared])];

  const webhooks = genesys.subscriptions("webhooks");
  const [listed] = await webhooks.list();
  const read = await webhooks.get(listed.id);
  const updated = await webhooks.update(listed.id, { ...desired, enabled: false });
  const stale = await caught(() => webhooks.update(listed.id, desired, { ifMatch: read.etag }));
  const deleted = [(await webhooks.delete(listed.id)).status, (await webhooks.delete(listed.id)).status];

  const integrations = genesys.subscriptions("open-messaging");
  const address = "https://hooks.example.com/webhook/messages";
  const created = await integrations.create({ name: "Messages", address, secret });
  const again = await caught(() => integrations.create({ name: "Messages", address, secret }));

  const wrong = new GenesysClient({ ...options, clientSecret: "another-client-secret" });
  const refused = await caught(() => wrong.eventTypes());

  const body = new TextEncoder().encode('{"events":[{}]}');
  const headers = new Headers(sign(body, secret, "webhooks"));
  const verified = verify(headers, body.buffer, [{ secret, label: "mine" }], "webhooks");

  return {
    vectors,
    eventTypes: eventTypes.length,
    plan: { dryRun: plan.dryRun, action: plan.items[0].action, fields: plan.items[0].diff.map(({ field }) => field) },
    runs,
    owner: listed.owner,
    hasEtag: typeof read.etag === "string",
    filters: read.eventFilters.length,
    changed: updated.changes.map(({ field }) => field),
    stale,
    deleted,
    created: created.subscription.provisioning,
    again,
    refused,
    verified,
  };
}

/** Judges the result of `scenario`. */
export function expectScenario(assert, result) {
  assert.deepEqual(result.vectors.differences, []);
  assert.ok(result.vectors.ran > 400, `${result.vectors.ran} vectors ran`);
  assert.ok(result.eventTypes > 100, "all pages of the catalogue were read");
  assert.deepEqual(result.plan, {
    dryRun: true,
    action: "create",
    fields: ["name", "address", "enabled", "eventFilters", "owner", "secret"],
  });
  assert.deepEqual(result.runs, [
    { planned: 1, applied: 1, failed: 0, unchanged: 0 },
    { planned: 0, applied: 0, failed: 0, unchanged: 1 },
  ]);
  assert.equal(result.owner, "genesys-webhook-gateway");
  assert.ok(result.hasEtag);
  assert.equal(result.filters, 2);
  assert.deepEqual(result.changed, ["enabled"]);
  assert.deepEqual(pick(result.stale), { name: "GenesysError", code: "version_mismatch", fault: "try_again", status: 412 });
  assert.deepEqual(result.deleted, [204, 404]);
  assert.equal(result.created, "ready");
  assert.deepEqual(pick(result.again), { name: "GenesysError", code: "exists", fault: "configuration", status: undefined });
  const wrongSecret = { name: "GenesysError", code: "wrong_client_secret", fault: "configuration" };
  assert.deepEqual(pick(result.refused), { ...wrongSecret, status: result.refused.status });
  assert.ok(!JSON.stringify(result).includes("another-client-secret"), "no secret in any error");
  assert.ok(result.stale.isError && result.again.isError && result.refused.isError);
  assert.deepEqual(result.verified, { ok: true, label: "mine" });
}

const pick = ({ name, code, fault, status }) => ({ name, code, fault, status });
