/** A destination that fails, asks to be left alone or is paused: its deliveries wait, and one probe at a time finds out when it is back. */

import { env } from "cloudflare:workers";
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { api, eventually, read } from "./support/client.ts";
import { acknowledged, letterOf, parcel, row } from "./support/deliveries.ts";
import { DELIVERIES, call, consume, deliveryId } from "./support/messages.ts";
import { sink } from "./support/sink.ts";

const destination = sink("tripping");
const object = () => env.DESTINATIONS.getByName("https:tripping");

/** What a probe may take: the destination's time limit and a margin. */
const LEASE_S = 16;

/** For so long an isolate takes a circuit for closed. */
const MEMORY_S = 5;

/** A day beyond the sum of the schedule. */
const LIMIT_MS = 86_400_000 + 2_000;

const batch = (parcels: ReturnType<typeof parcel>[]) => consume(DELIVERIES, parcels.map((one) => one.message));
const some = (count: number, source = "tripping") => Array.from({ length: count }, () => parcel(source));
const circuit = async (source = "tripping") =>
  (await read("/api/destinations")).destinations.find((one: any) => one.source === source);
const order = async (name: string) => (await api(`/api/destinations/tripping/${name}`, { method: "POST" })).json;
const audited = async (action: string) => (await read(`/api/audit?action=${action}&limit=500`)).entries;
const pass = (seconds: number) => vi.setSystemTime(Date.now() + seconds * 1000);
const received = async () => (await destination.report()).received;
const stateLine = async (state: string) =>
  (await api("/metrics?format=prometheus")).text.match(new RegExp(`genesys_gateway_circuit_state{source="tripping",state="${state}"} (.*)`))?.[1];
const alerts = async () => {
  expect((await api("/api/health", { method: "POST" })).status).toBe(200);
  return (await read("/api/health")).alerts.filter(({ kind }: any) => kind === "circuit_open");
};

/** Fails until the circuit is open. */
async function trip() {
  await destination.behave({ status: 503 });
  await batch(some(10));
  expect((await circuit()).state).toBe("open");
}

/** Deliveries that come now are put off by so many seconds, spread by a fifth, and not sent. */
async function expectWaiting(seconds: number, waiting = some(5)) {
  const before = await received();
  const { acknowledged: none, putOff } = await batch(waiting);
  expect([none, putOff.length, await received()]).toEqual([[], waiting.length, before]);
  for (const { delaySeconds } of putOff) {
    expect(delaySeconds).toBeGreaterThanOrEqual(seconds);
    expect(delaySeconds).toBeLessThanOrEqual(seconds + Math.max(2, seconds / 5));
  }
  return waiting;
}

beforeEach(async () => {
  vi.setSystemTime(Date.now());
  await destination.behaveWell();
  await order("resume");
  await order("close");
  await batch(some(1));
});

afterEach(() => void vi.useRealTimers());

describe("a circuit", () => {
  it("opens when half of ten calls fail, and then nothing is sent, claimed or counted", async () => {
    await destination.behave({ status: 503, times: 5 });
    await batch(some(8));
    expect(await circuit()).toMatchObject({ state: "closed", calls: 9, failures: 5, lastStatus: 503 });
    await destination.behave({ status: 503 });
    await batch(some(1));
    expect(await circuit()).toMatchObject({
      state: "open",
      openedAtMs: Date.now(),
      nextProbeMs: Date.now() + 10_000,
      lastStatus: 503,
      lastError: expect.stringContaining("HTTP 503"),
    });
    const [waiting] = await expectWaiting(10);
    expect((await api(`/api/deliveries/${waiting.id}`)).status).toBe(404);
    const [entry] = await audited("CIRCUIT_OPEN");
    expect(entry).toMatchObject({ source: "tripping", actor: "consumer", statusCode: 503 });
  });

  it("stays closed where most calls succeed, or the failures are older than its window", async () => {
    await destination.behave({ status: 503, times: 10 });
    await batch(some(30));
    expect(await circuit()).toMatchObject({ state: "closed", calls: 31, failures: 10 });
    await order("close");
    await destination.behave({ status: 503 });
    await batch(some(8));
    pass(121);
    await batch(some(9));
    expect(await circuit()).toMatchObject({ state: "closed", calls: 9, failures: 9 });
  });

  it("is shown by the metrics while it is open, and raises an alert", async () => {
    await trip();
    expect((await read("/metrics")).circuits).toMatchObject([{ source: "tripping", state: "open" }]);
    expect([await stateLine("open"), await stateLine("closed")]).toEqual(["1.0", "0.0"]);
    expect(await alerts()).toMatchObject([{ source: "tripping" }]);
    await order("close");
    expect((await read("/metrics")).circuits).toEqual([]);
    expect([await stateLine("open"), await stateLine("closed")]).toEqual(["0.0", "1.0"]);
    // An alert is over after three evaluations at least four minutes apart.
    for (const expected of [1, 1, 0]) {
      pass(240);
      expect(await alerts()).toHaveLength(expected);
    }
  });

  it("lets one probe through at a time, waits longer after each that fails, and closes by itself", async () => {
    await trip();
    pass(10);
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
    expect(await circuit()).toMatchObject({ state: "open", nextProbeMs: Date.now() + 20_000 });
    pass(19);
    before = await received();
    await batch(some(3));
    expect(await received()).toBe(before);
    await destination.behaveWell();
    pass(1);
    const last = some(3);
    const probed = await batch(last);
    expect([probed.acknowledged.length, probed.putOff.length]).toEqual([1, 2]);
    expect((await circuit()).state).toBe("closed");
    expect((await batch(last)).acknowledged).toHaveLength(3);
    for (const { id } of last) {
      expect(await row(id)).toMatchObject({ status: "delivered", attempts: 1 });
    }
    expect((await audited("CIRCUIT_CLOSE"))[0]).toMatchObject({ source: "tripping", actor: "consumer" });
  });

  it("of many batches at once lets one probe through", async () => {
    await trip();
    pass(10);
    const before = await received();
    await Promise.all(Array.from({ length: 6 }, () => batch(some(3))));
    expect((await received()) - before).toBe(1);
  });

  it("lets another probe through where the consumer of the first has crashed", async () => {
    await trip();
    pass(10);
    const settings = { window_ms: 120_000, min_calls: 10, failure_percent: 50, slow_percent: 0, slow_after_ms: 10_000 };
    expect(await call(object(), { ask: { lease_ms: LEASE_S * 1000, calls: [], settings } })).toHaveProperty("probe");
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
    pass(10);
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
    expect(await circuit()).toMatchObject({ state: "closed", failures: 0 });
    await batch(some(15, "unsignable"));
    expect(await circuit("unsignable")).toMatchObject({ state: "closed", calls: 0, failures: 0 });
  });

  it("of the archive opens too, and closes when the bucket works again", async () => {
    // The bucket refuses keys of more than 1,024 bytes.
    const refused = () => parcel("tripping-archive", { id: `${deliveryId()}${"x".repeat(1_100)}` });
    await batch([refused(), refused()]);
    expect(await circuit("tripping-archive")).toMatchObject({ state: "open", url: null });
    const [one] = some(1, "tripping-archive");
    expect((await batch([one])).acknowledged).toEqual([]);
    pass(10);
    expect(await batch([one])).toEqual(acknowledged(one));
    expect((await circuit("tripping-archive")).state).toBe("closed");
  });

  it("is taken for closed where its object does not answer", async () => {
    await trip();
    const rename = async (from: string, to: string) => {
      await runInDurableObject(object(), (_, state) => void state.storage.sql.exec(`ALTER TABLE ${from} RENAME TO ${to}`));
      await evictDurableObject(object());
    };
    await rename("circuit", "hidden");
    await destination.behaveWell();
    expect((await batch(some(2))).acknowledged).toHaveLength(2);
    const { destinations, missing } = await read("/api/destinations");
    expect(missing).toEqual(["tripping"]);
    expect(destinations.find((one: any) => one.source === "tripping").state).toBe("unknown");
    await rename("hidden", "circuit");
    expect((await circuit()).state).toBe("open");
  });

  it("stands as it stood when its object starts again", async () => {
    await destination.behave({ status: 503, times: 4 });
    await batch(some(4));
    await evictDurableObject(object());
    expect(await circuit()).toMatchObject({ state: "closed", calls: 5, failures: 4 });
    await trip();
    const open = await circuit();
    await evictDurableObject(object());
    expect(await circuit()).toEqual(open);
    await order("close");
    await destination.behaveWell();
    await destination.behave({ status: 429, retryAfterS: 60, times: 1 });
    await batch(some(1));
    await evictDurableObject(object());
    expect((await circuit()).state).toBe("held");
    await order("pause");
    await evictDurableObject(object());
    expect((await circuit()).state).toBe("paused");
  });
});

describe("a destination that asks to be left alone", () => {
  it.each([
    [429, 60, 60],
    [503, 1, 1],
    [503, 100_000, 3_600],
  ])("is, with all that waits for it, and no attempt is counted: %i, %i s", async (status, retryAfterS, seconds) => {
    await destination.behave({ status, retryAfterS, times: 1 });
    const one = parcel("tripping");
    const { putOff } = await batch([one]);
    expect(putOff[0].delaySeconds).toBeGreaterThanOrEqual(seconds);
    expect(putOff[0].delaySeconds).toBeLessThanOrEqual(seconds + Math.max(2, seconds / 5));
    expect(await row(one.id)).toMatchObject({ status: "waiting", attempts: 0, lastStatus: status });
    expect(await circuit()).toMatchObject({ state: "held", failures: 0, heldUntilMs: Date.now() + seconds * 1000, lastStatus: status });
    await expectWaiting(seconds);
    pass(seconds);
    expect(await batch([one])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 1 });
  });

  it("by a date is, and is shown by the metrics without an alert", async () => {
    await destination.behave({ status: 429, retryAfterS: 30, httpDate: true, times: 1 });
    await batch(some(1));
    // The date has whole seconds, of the destination's clock.
    const { state, heldUntilMs } = await circuit();
    expect(state).toBe("held");
    expect(Math.abs(heldUntilMs - Date.now() - 30_000)).toBeLessThan(5_000);
    expect(await stateLine("held")).toBe("1.0");
    expect(await alerts()).toEqual([]);
  });

  it("is not sent the rest of the batch, whose attempts are not counted either", async () => {
    await destination.behave({ status: 503, retryAfterS: 20 });
    const before = await received();
    const all = some(30);
    const { acknowledged: none, putOff } = await batch(all);
    expect([none.length, putOff.length]).toEqual([0, 30]);
    // So many connections a batch has.
    expect((await received()) - before).toBeLessThanOrEqual(6);
    for (const { id } of all) {
      expect(await row(id)).toMatchObject({ status: "waiting", attempts: 0 });
    }
  });

  it("again and again does not use up the schedule, which would have ended after two attempts", async () => {
    await destination.behave({ status: 429, retryAfterS: 1, times: 5 });
    const one = parcel("tripping");
    for (let round = 0; round < 5; round++) {
      expect((await batch([one])).acknowledged).toEqual([]);
      pass(1);
    }
    expect(await batch([one])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 1 });
  });

  it("for a day beyond the schedule is given up", async () => {
    await destination.behave({ status: 429, retryAfterS: 1, times: 1 });
    const one = parcel("tripping", { received_at_ms: Date.now() - LIMIT_MS - 1 });
    expect(await batch([one])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "dead", attempts: 0, lastStatus: 429 });
    expect(await letterOf(one.id)).toMatchObject({ reason: "destination_unavailable", attempts: 0, body: one.body });
  });
});

describe("by hand", () => {
  it("a circuit is closed, which is audited", async () => {
    await trip();
    expect(await order("close")).toEqual({ source: "tripping", wasOpen: true });
    const entries = await audited("CIRCUIT_CLOSE");
    expect(entries[0]).toMatchObject({ source: "tripping", actor: "admin" });
    expect(await order("close")).toEqual({ source: "tripping", wasOpen: false });
    expect(await audited("CIRCUIT_CLOSE")).toHaveLength(entries.length);
    await destination.behaveWell();
    expect((await batch(some(2))).acknowledged).toHaveLength(2);
  });

  it("a destination is paused and resumed, which is audited and raises no alert", async () => {
    expect(await order("pause")).toEqual({ source: "tripping", wasPaused: false });
    expect(await order("pause")).toEqual({ source: "tripping", wasPaused: true });
    expect(await circuit()).toMatchObject({ state: "paused", pausedSinceMs: Date.now() });
    await expectWaiting(10);
    pass(100);
    const waiting = await expectWaiting(100);
    expect(await stateLine("paused")).toBe("1.0");
    expect(await alerts()).toEqual([]);
    expect(await order("close")).toEqual({ source: "tripping", wasOpen: false });
    expect((await circuit()).state).toBe("paused");
    expect(await order("resume")).toEqual({ source: "tripping", wasPaused: true });
    expect((await batch(waiting)).acknowledged).toHaveLength(waiting.length);
    for (const action of ["CIRCUIT_PAUSE", "CIRCUIT_RESUME"]) {
      expect((await audited(action))[0]).toMatchObject({ source: "tripping", actor: "admin" });
    }
  });

  it("a destination is paused within seconds also for an isolate that took its circuit for closed", async () => {
    await call(object(), { pause: true });
    expect((await batch(some(1))).acknowledged).toHaveLength(1);
    pass(MEMORY_S);
    expect((await batch(some(1))).acknowledged).toEqual([]);
  });

  it("a destination is tried before its wait is over, which is audited", async () => {
    expect(await order("probe")).toEqual({ source: "tripping", wasWaiting: false });
    await trip();
    expect(await order("probe")).toEqual({ source: "tripping", wasWaiting: true });
    await destination.behaveWell();
    const probed = await batch(some(3));
    expect([probed.acknowledged.length, probed.putOff.length]).toEqual([1, 2]);
    expect((await circuit()).state).toBe("closed");
    expect((await audited("CIRCUIT_PROBE"))[0]).toMatchObject({ source: "tripping", actor: "admin" });
    await destination.behave({ status: 429, retryAfterS: 60, times: 1 });
    await batch(some(1));
    await order("probe");
    expect((await batch(some(1))).acknowledged).toHaveLength(1);
  });
});

describe("a delivery that waits for an open circuit", () => {
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
