/** A destination that fails for long: its deliveries wait, one probe at a time finds out when it is back. */

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { api, eventually, read } from "./support/client.ts";
import { acknowledged, letterOf, parcel, row } from "./support/deliveries.ts";
import { DELIVERIES, call, consume, deliveryId } from "./support/messages.ts";
import { sink } from "./support/sink.ts";

const destination = sink("tripping");

/** What a probe may take: the destination's time limit and a margin. */
const LEASE_S = 16;

const batch = (parcels: ReturnType<typeof parcel>[]) => consume(DELIVERIES, parcels.map((one) => one.message));
const some = (count: number, source = "tripping") => Array.from({ length: count }, () => parcel(source));
const circuit = async (source = "tripping") =>
  (await read("/api/destinations")).destinations.find((one: any) => one.source === source);
const audited = async (action: string) => (await read(`/api/audit?action=${action}&limit=500`)).entries;
const pass = (seconds: number) => vi.setSystemTime(Date.now() + seconds * 1000);
const received = async () => (await destination.report()).received;

/** Fails until the circuit is open; when that was. */
async function trip() {
  await destination.behave({ status: 503 });
  await batch(some(10));
  pass(60);
  await batch(some(1));
  expect((await circuit()).state).toBe("open");
}

beforeEach(async () => {
  vi.setSystemTime(Date.now());
  await destination.behaveWell();
  await api("/api/destinations/tripping/close", { method: "POST" });
  await batch(some(1));
});

afterEach(() => void vi.useRealTimers());

describe("a circuit", () => {
  it("opens when attempts have failed for a minute, and then nothing is sent, claimed or counted", async () => {
    await destination.behave({ status: 503 });
    const began = Date.now();
    await batch(some(10));
    pass(59);
    await batch(some(1));
    expect(await circuit()).toMatchObject({ state: "closed", consecutiveFailures: 11, failingSinceMs: began });
    pass(1);
    await batch(some(1));
    expect(await circuit()).toMatchObject({
      state: "open",
      consecutiveFailures: 12,
      failingSinceMs: began,
      openedAtMs: Date.now(),
      nextProbeMs: Date.now() + 30_000,
      delayS: 30,
      lastStatus: 503,
      lastError: expect.stringContaining("HTTP 503"),
    });
    const before = await received();
    const waiting = some(5);
    const { acknowledged: none, putOff } = await batch(waiting);
    expect([none, putOff.length, await received()]).toEqual([[], 5, before]);
    for (const { delaySeconds } of putOff) {
      expect(delaySeconds).toBeGreaterThanOrEqual(30);
      expect(delaySeconds).toBeLessThanOrEqual(36);
    }
    expect((await api(`/api/deliveries/${waiting[0].id}`)).status).toBe(404);
    const [entry] = await audited("CIRCUIT_OPEN");
    expect(entry).toMatchObject({ source: "tripping", actor: "consumer", statusCode: 503 });
  });

  it("is shown by the metrics while it is open, and raises an alert", async () => {
    const line = async (state: string) =>
      (await api("/metrics?format=prometheus")).text.match(new RegExp(`genesys_gateway_circuit_state{source="tripping",state="${state}"} (.*)`))?.[1];
    await trip();
    expect((await read("/metrics")).circuits).toMatchObject([{ source: "tripping", state: "open" }]);
    expect([await line("open"), await line("closed")]).toEqual(["1.0", "0.0"]);
    expect((await api("/api/health", { method: "POST" })).status).toBe(200);
    expect((await read("/api/health")).alerts).toContainEqual(expect.objectContaining({ kind: "circuit_open", source: "tripping" }));
    await api("/api/destinations/tripping/close", { method: "POST" });
    expect((await read("/metrics")).circuits).toEqual([]);
    expect([await line("open"), await line("closed")]).toEqual(["0.0", "1.0"]);
  });

  it("lets one probe through at a time, waits longer after each that fails, and closes by itself", async () => {
    await trip();
    pass(30);
    let before = await received();
    const outcome = await batch(some(5));
    expect(outcome.acknowledged).toEqual([]);
    expect((await received()) - before).toBe(1);
    // The one that was tried has its own schedule, the others wait for what becomes of it.
    const delays = outcome.putOff.map(({ delaySeconds }) => delaySeconds as number).toSorted((a, b) => a - b);
    expect(delays[0]).toBe(2);
    for (const delay of delays.slice(1)) {
      expect(delay).toBeGreaterThanOrEqual(LEASE_S);
    }
    expect(await circuit()).toMatchObject({ state: "open", delayS: 60, nextProbeMs: Date.now() + 60_000 });
    pass(59);
    before = await received();
    await batch(some(3));
    expect(await received()).toBe(before);
    await destination.behaveWell();
    pass(1);
    const last = some(3);
    const probed = await batch(last);
    expect([probed.acknowledged.length, probed.putOff.length]).toEqual([1, 2]);
    expect(await circuit()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
    expect((await batch(last)).acknowledged).toHaveLength(3);
    for (const { id } of last) {
      expect(await row(id)).toMatchObject({ status: "delivered", attempts: 1 });
    }
    expect((await audited("CIRCUIT_CLOSE"))[0]).toMatchObject({ source: "tripping", actor: "consumer" });
  });

  it("of many batches at once lets one probe through", async () => {
    await trip();
    pass(30);
    const before = await received();
    await Promise.all(Array.from({ length: 6 }, () => batch(some(3))));
    expect((await received()) - before).toBe(1);
  });

  it("lets another probe through where the consumer of the first has crashed", async () => {
    await trip();
    pass(30);
    const object = env.DESTINATIONS.getByName("https:tripping");
    expect(await call(object, { ask: { lease_ms: LEASE_S * 1000 } })).toHaveProperty("probe");
    expect((await circuit()).state).toBe("probing");
    await destination.behaveWell();
    expect((await batch(some(1))).acknowledged).toEqual([]);
    pass(LEASE_S);
    expect((await batch(some(1))).acknowledged).toHaveLength(1);
    expect((await circuit()).state).toBe("closed");
  });

  it("keeps its place for the next where the probe found nothing to send", async () => {
    const done = parcel("tripping");
    await batch([done]);
    await trip();
    await destination.behaveWell();
    pass(30);
    expect(await batch([done])).toEqual(acknowledged(done));
    expect((await circuit()).state).toBe("open");
    expect((await batch(some(1))).acknowledged).toHaveLength(1);
  });

  it("concerns its own source only", async () => {
    await trip();
    const [waiting, other] = [parcel("tripping"), parcel("contact-center")];
    const outcome = await batch([waiting, other]);
    expect(outcome.acknowledged).toEqual([other.message.id]);
  });

  it("is not opened by answers that are about the delivery, nor by what is ours", async () => {
    await destination.behave({ status: 404 });
    await batch(some(15));
    pass(61);
    await batch(some(15));
    expect(await circuit()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
    await batch(some(15, "unsignable"));
    pass(61);
    await batch(some(15, "unsignable"));
    expect(await circuit("unsignable")).toMatchObject({ state: "closed", consecutiveFailures: 0 });
  });

  it("counts from the last success, whichever batch had it", async () => {
    await destination.behave({ status: 503, times: 10 });
    await batch(some(10));
    pass(30);
    expect((await batch(some(1))).acknowledged).toHaveLength(1);
    expect(await circuit()).toMatchObject({ state: "closed", consecutiveFailures: 0, failingSinceMs: null });
    await destination.behave({ status: 503 });
    pass(31);
    await batch(some(12));
    expect((await circuit()).state).toBe("closed");
  });

  it("can be closed by hand, which is audited", async () => {
    await trip();
    const close = () => api("/api/destinations/tripping/close", { method: "POST" });
    expect((await close()).json).toEqual({ source: "tripping", wasOpen: true });
    expect((await close()).json).toEqual({ source: "tripping", wasOpen: false });
    expect((await audited("CIRCUIT_CLOSE"))[0]).toMatchObject({ source: "tripping", actor: "admin" });
    await destination.behaveWell();
    expect((await batch(some(2))).acknowledged).toHaveLength(2);
  });

  it("is taken for closed where its object does not answer", async () => {
    await trip();
    const object = env.DESTINATIONS.getByName("https:tripping");
    const rename = (from: string, to: string) =>
      runInDurableObject(object, (_, state) => void state.storage.sql.exec(`ALTER TABLE ${from} RENAME TO ${to}`));
    await rename("circuit", "hidden");
    await destination.behaveWell();
    expect((await batch(some(2))).acknowledged).toHaveLength(2);
    const { destinations, missing } = await read("/api/destinations");
    expect(missing).toEqual(["tripping"]);
    expect(destinations.find((one: any) => one.source === "tripping").state).toBe("unknown");
    await rename("hidden", "circuit");
    expect((await circuit()).state).toBe("open");
  });

  it("of the archive opens too, and closes when the bucket works again", async () => {
    // The bucket refuses keys of more than 1,024 bytes.
    const refused = () => parcel("tripping-archive", { id: `${deliveryId()}${"x".repeat(1_100)}` });
    await batch([refused(), refused()]);
    pass(1);
    await batch([refused()]);
    expect(await circuit("tripping-archive")).toMatchObject({ state: "open", url: null, delayS: 30 });
    const [one] = some(1, "tripping-archive");
    expect((await batch([one])).acknowledged).toEqual([]);
    pass(30);
    expect(await batch([one])).toEqual(acknowledged(one));
    expect((await circuit("tripping-archive")).state).toBe("closed");
  });
});

describe("a delivery that waits for an open circuit", () => {
  /** A day beyond the sum of the schedule. */
  const LIMIT_MS = 86_400_000 + 2_000;

  it("is given up a day after its schedule would have ended, untried and with a reason of its own", async () => {
    await trip();
    const before = await received();
    const [old, young] = [LIMIT_MS + 1, LIMIT_MS].map((age) => parcel("tripping", { received_at_ms: Date.now() - age }));
    const outcome = await batch([old, young]);
    expect(outcome).toMatchObject({ acknowledged: [old.message.id], putOff: [{ msgId: young.message.id }] });
    expect(await received()).toBe(before);
    expect(await row(old.id)).toMatchObject({ status: "dead", attempts: 0 });
    expect(await letterOf(old.id)).toMatchObject({ reason: "destination_unavailable", stage: "deliver", attempts: 0, body: old.body });
  });

  it("keeps what its last attempt came to when it is given up", async () => {
    const one = parcel("tripping", { received_at_ms: Date.now() - LIMIT_MS - 1 });
    await destination.behave({ status: 503, times: 1 });
    await batch([one]);
    await trip();
    await batch([one]);
    expect(await row(one.id)).toMatchObject({ status: "dead", attempts: 1, lastStatus: 503 });
  });

  it("as a replay waits as long as one message can", async () => {
    await trip();
    const one = parcel("tripping", { replay: 1, received_at_ms: 1 });
    expect((await batch([one])).acknowledged).toEqual([]);
    expect(await consume(DELIVERIES, [{ ...one.message, attempts: 80 }])).toEqual(acknowledged(one));
    await eventually(async () => expect(await letterOf(one.id)).toMatchObject({ reason: "destination_unavailable" }));
  });
});
