/**
 * What Prometheus makes of `/metrics`, scrape by scrape: a counter that falls was reset for it, and everything above zero
 * happened again. So no counter falls, whatever is replayed, and where an object does not answer there is a gap.
 */

import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it } from "vitest";

import { api, bytes, deliver, events, eventually, hex, hmac, read } from "./support/client.ts";
import { acknowledged, letterOf, parcel, row } from "./support/deliveries.ts";
import { SECRETS } from "./support/gateway.ts";
import { call, consume, deliveryId } from "./support/messages.ts";
import { failing, slow } from "./support/objects.ts";
import { parseOpenMetrics } from "./support/openmetrics.ts";
import { sink } from "./support/sink.ts";

const replay = (id: string) => api(`/api/dead-letters/${id}/replay`, { method: "POST" });

async function families() {
  const { status, text } = await api("/metrics?format=openmetrics");
  expect(status, text).toBe(200);
  return parseOpenMetrics(text);
}

/** Every counted value, by its series. */
async function counted(): Promise<Map<string, number>> {
  const all = [...(await families()).values()].filter(({ type }) => type === "counter" || type === "histogram");
  return new Map(
    all.flatMap(({ samples }) =>
      samples.map(({ name, labels, value }): [string, number] => [`${name.slice("genesys_gateway_".length)}${JSON.stringify(labels)}`, value]),
    ),
  );
}

function expectNothingFell(before: Map<string, number>, after: Map<string, number>) {
  expect([...before].filter(([series, n]) => (after.get(series) ?? -1) < n)).toEqual([]);
}

/** The accounts of a source as the text prints them: what came in, and what became of it. */
async function balance(source: string): Promise<[number, number]> {
  const all = await families();
  const sum = (family: string, labels: Record<string, string> = {}) => {
    const samples = all.get(`genesys_gateway_${family}`)?.samples ?? [];
    const own = samples.filter(({ labels: own }) => own.source === source && Object.entries(labels).every(([key, value]) => own[key] === value));
    expect(own.length, family).toBeGreaterThan(0);
    return own.reduce((total, { value }) => total + value, 0);
  };
  const came = sum("requests", { outcome: "accepted" }) + sum("readmitted") + sum("revived");
  return [came, sum("deliveries") + sum("pending")];
}

afterEach(async () => {
  await sink("contact-center").behaveWell();
});

describe("a replay", () => {
  it("of a dead delivery lets no counter fall, and it is counted as dead once", async () => {
    await sink("contact-center").behave({ status: 410 });
    const one = parcel("contact-center");
    expect(await consume("genesys-deliveries", [one.message])).toEqual(acknowledged(one));
    expect(await letterOf(one.id)).toMatchObject({ reason: "destination_gone" });
    const before = await counted();
    expect(before.get('deliveries_total{"source":"contact-center","outcome":"dead"}')).toBe(1);
    await sink("contact-center").behaveWell();
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await eventually(async () => expect((await row(one.id)).status).toBe("delivered"));
    const after = await counted();
    expectNothingFell(before, after);
    expect(after.get('deliveries_total{"source":"contact-center","outcome":"dead"}')).toBe(1);
    expect(after.get('revived_total{"source":"contact-center"}')).toBe(1);
    expect((await read("/metrics")).sources["contact-center"]).toMatchObject({ dead: 0, revived: 1, delivered: 1 });
    const [came, became] = await balance("contact-center");
    expect(became).toBe(came);
  });

  it("of a refused one is in the accounts that are printed, and they add up", async () => {
    const [id, body, now] = [deliveryId(), events(1), Date.now()];
    const letter = {
      id,
      source: "unsigned",
      stage: "receive",
      reason: "signature_mismatch",
      detail: "then",
      verified: false,
      received_at_ms: now,
      dead_at_ms: now,
      attempts: 0,
      headers: [["x-genesys-signature", hex(await hmac(SECRETS.WEBHOOK_SECRET, body))]],
      body: { inline: { size_bytes: bytes(body).length } },
    };
    await call(env.DEAD_LETTER_STORE.getByName("dead-letters"), { put: { letters: [{ letter, inline: { body } }] } });
    const before = await counted();
    expect((await replay(id)).json.outcome).toBe("replayed");
    await eventually(async () => expect((await row(id)).status).toBe("delivered"));
    const after = await counted();
    expectNothingFell(before, after);
    expect(after.get('readmitted_total{"source":"unsigned"}')).toBe(1);
    const { accounting } = await read("/metrics");
    expect(accounting.readmitted).toBe(1);
    expect(accounting.accepted + accounting.readmitted).toBe(
      accounting.delivered + accounting.duplicate + accounting.pending + accounting.dead,
    );
    expect(await balance("unsigned")).toEqual([1, 1]);
  });
});

describe("an object that does not answer", () => {
  const COUNTED = ["requests", "unavailable", "events", "answer_latency_seconds", "vendor_requests", "audit_entries_lost", "last_delivery_timestamp_seconds"];
  const SETTLED = ["deliveries", "delivery_retries", "readmitted", "revived"];

  it.each([
    ["counters-3", env.COUNTERS, "series", COUNTED, SETTLED],
    ["ledger-7", env.DELIVERY_LEDGER, "totals", SETTLED, COUNTED],
  ])("%s: what it would have added to is left out, and the rest is there", async (name, binding, table, absent, present) => {
    expect((await deliver("archive")).status).toBe(200);
    expect((await deliver("no-secret")).status).toBe(503);
    await eventually(async () => expect((await read("/metrics")).sources["no-secret"].unavailable).toEqual({ no_active_secret: expect.any(Number) }));
    const before = await families();
    const repair = await failing(binding.getByName(name), table);
    const [during, json] = await Promise.all([families(), read("/metrics")]);
    await repair();
    const own = (names: string[]) => names.map((family) => `genesys_gateway_${family}`);
    expect(own(absent).filter((family) => during.has(family))).toEqual([]);
    expect(own(present).filter((family) => before.has(family) && !during.has(family))).toEqual([]);
    expect(during.has("genesys_gateway_pending"), "it takes both").toBe(false);
    expect(during.get("genesys_gateway_objects_missing")?.samples[0].value).toBe(1);
    expect(json.missing).toEqual([name]);
    const after = await families();
    expect(own([...absent, ...present]).filter((family) => before.has(family) && !after.has(family))).toEqual([]);
    expect(after.get("genesys_gateway_objects_missing")?.samples[0].value).toBe(0);
  });

  it("in time is not waited for, and named", async () => {
    const ends = [slow(env.COUNTERS.getByName("counters-5"), 8_000), slow(env.DELIVERY_LEDGER.getByName("ledger-2"), 8_000)];
    const began = performance.now();
    const json = await read("/metrics");
    const took = performance.now() - began;
    expect(json.missing).toEqual(["counters-5", "ledger-2"]);
    // Both at once, and far below the 10 s that a scrape may take.
    expect(took).toBeGreaterThan(2_500);
    expect(took).toBeLessThan(5_500);
    await Promise.all(ends);
    expect((await read("/metrics")).missing).toEqual([]);
  });
});
