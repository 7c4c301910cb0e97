/** The consumer of deliveries: claim, hand on, settle. */

import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";

import { bytes, events, eventually, sha256, unique } from "./support/client.ts";
import { acknowledged, arrived, letterOf, parcel, putOff, row } from "./support/deliveries.ts";
import { RETRY_SCHEDULE_S } from "./support/gateway.ts";
import { DELIVERIES, call, consume, frame, ledgerPlace, message } from "./support/messages.ts";
import { sink } from "./support/sink.ts";

/** How long a claim holds (`LEASE_MS` of the ledger). */
const LEASE_MS = 150_000;

const destination = sink("contact-center");

beforeAll(() => destination.verify());

afterEach(async () => {
  vi.useRealTimers();
  await destination.behaveWell();
});

describe("handing on", () => {
  it("delivers, acknowledges, and enters it in the ledger", async () => {
    const one = parcel("contact-center", {
      headers: [
        ["content-type", "application/vnd.x+json; charset=utf-8"],
        ["x-kept", "1"],
      ],
      event_count: 7,
    });
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    const [request, ...more] = await arrived(one.id);
    expect(more).toEqual([]);
    expect(request.body).toBe(one.body);
    expect(request.headers).toMatchObject({
      "content-type": "application/vnd.x+json; charset=utf-8",
      "x-genesys-gateway-source": "contact-center",
      "user-agent": expect.stringMatching(/^genesys-webhook-gateway\//),
      "webhook-id": one.id,
      "webhook-timestamp": expect.stringMatching(/^\d{10}$/),
      "webhook-signature": expect.stringMatching(/^v1,[A-Za-z0-9+/]{43}=$/),
    });
    expect(await row(one.id)).toMatchObject({
      source: "contact-center",
      status: "delivered",
      attempts: 1,
      eventCount: 7,
      lastStatus: 200,
    });
    const { badSignatures, unsigned } = await destination.report();
    expect([badSignatures, unsigned]).toEqual([0, 0]);
  });

  it("says what content it is, where the sender did not", async () => {
    const one = parcel("contact-center", { headers: [] });
    await consume(DELIVERIES, [one.message]);
    expect((await arrived(one.id))[0].headers["content-type"]).toBe("application/json");
  });

  it("hands bytes on that are no text", async () => {
    const body = new Uint8Array([0x7b, 0xff, 0x00, 0x0a, 0x7d, ...crypto.getRandomValues(new Uint8Array(1_000))]);
    const one = parcel("contact-center", {}, body);
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await destination.arrival(await sha256(body))).toMatchObject({ accepted: 1 });
  });

  it("names the delivery even where nothing signs it", async () => {
    const one = parcel("unsigned");
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    const [request] = await arrived(one.id, "unsigned");
    expect(request.headers).not.toHaveProperty("webhook-signature");
  });

  it("hands on a batch for many destinations, whose failures concern only themselves", async () => {
    const good = Array.from({ length: 20 }, () => parcel("contact-center"));
    const bad = [parcel("unreachable"), parcel("unsignable")];
    const poison = { message: message(bytes("no message").buffer) };
    const outcome = await consume(
      DELIVERIES,
      [bad[0], ...good, poison, bad[1]].map((one) => one.message),
    );
    expect(outcome.acknowledged.toSorted()).toEqual([...good, poison].map((one) => one.message.id).toSorted());
    expect(outcome.putOff.map(({ msgId }) => msgId).toSorted()).toEqual(bad.map((one) => one.message.id).toSorted());
    for (const one of good) {
      expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 1 });
    }
  });
});

describe("trying again", () => {
  it.each([302, 400, 404, 408, 429, 500, 503])("after %i, when the schedule says", async (status) => {
    const one = parcel("contact-center");
    await destination.behave({ status, times: 1 });
    const before = Date.now();
    expect(await consume(DELIVERIES, [one.message])).toEqual(putOff(one, RETRY_SCHEDULE_S[0]));
    const waiting = await row(one.id);
    expect(waiting).toMatchObject({
      status: "waiting",
      attempts: 1,
      lastStatus: status,
      lastError: expect.stringContaining(`HTTP ${status}`),
    });
    expect(waiting.nextAttemptMs).toBeGreaterThanOrEqual(before + RETRY_SCHEDULE_S[0] * 1000);
    expect(await consume(DELIVERIES, [{ ...one.message, attempts: 2 }])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 2, lastStatus: 200 });
    expect((await arrived(one.id)).map((request) => request.status)).toEqual([status, 200]);
  });

  it("to the end of the schedule, then as a dead letter with the last answer", async () => {
    const one = parcel("contact-center");
    await destination.behave({ status: 500 });
    for (const delayS of RETRY_SCHEDULE_S) {
      expect(await consume(DELIVERIES, [one.message])).toEqual(putOff(one, delayS));
    }
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "dead", attempts: RETRY_SCHEDULE_S.length + 1, lastStatus: 500 });
    expect(await letterOf(one.id)).toMatchObject({
      id: one.id,
      source: "contact-center",
      stage: "deliver",
      reason: "retries_exhausted",
      attempts: RETRY_SCHEDULE_S.length + 1,
      lastStatus: 500,
      verified: true,
      eventCount: 1,
      detail: expect.stringContaining("HTTP 500"),
      body: one.body,
    });
  });

  it("counts attempts in the ledger, whatever the queue counts", async () => {
    const one = parcel("contact-center");
    await destination.behave({ status: 500 });
    await consume(DELIVERIES, [{ ...one.message, attempts: 99 }]);
    expect(await row(one.id)).toMatchObject({ status: "waiting", attempts: 1 });
  });

  it("not at all after 410", async () => {
    const one = parcel("contact-center");
    await destination.behave({ status: 410, times: 1 });
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "dead", attempts: 1, lastStatus: 410 });
    expect(await letterOf(one.id)).toMatchObject({
      stage: "deliver",
      reason: "destination_gone",
      attempts: 1,
      lastStatus: 410,
    });
  });

  it.each<[string, string, () => Promise<unknown>, RegExp]>([
    ["a connection that is cut", "contact-center", () => destination.behave({ cut: true, times: 1 }), /./],
    ["no answer in time", "slow", () => sink("slow").behave({ delayMs: 2_000, times: 1 }), /[Tt]ime/],
    ["nobody listening", "unreachable", async () => {}, /./],
    ["a secret that is missing", "unsignable", async () => {}, /MISSING_DESTINATION_SECRET/],
    ["a source that is not configured any more", "forgotten", async () => {}, /source forgotten is not configured/],
  ])("after %s", async (_, source, arrange, error) => {
    const one = parcel(source);
    await arrange();
    const {
      acknowledged: none,
      putOff: [put],
    } = await consume(DELIVERIES, [one.message]);
    expect([none, put.msgId]).toEqual([[], one.message.id]);
    expect(put.delaySeconds).toBeGreaterThan(0);
    const waiting = await row(one.id);
    expect(waiting).toMatchObject({ status: "waiting", attempts: 1, lastError: expect.stringMatching(error) });
    expect(waiting).not.toHaveProperty("lastStatus");
  });

  it("sends nothing unsigned where the secret that should sign is missing", async () => {
    expect((await sink("unsignable").report()).received).toBe(0);
  });

  it("by the queue itself, until the destination takes it", async () => {
    const restless = sink("restless");
    await restless.behave({ status: 500, times: 1 });
    const one = parcel("restless");
    await env.DELIVERIES.send(new Uint8Array(frame(one.header, one.body)), { contentType: "bytes" });
    await eventually(async () => expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 2 }));
    expect((await arrived(one.id, "restless")).map((request) => request.status)).toEqual([500, 200]);
  });
});

describe("once", () => {
  it("a delivery with the key of another is a duplicate, and not handed on", async () => {
    const first = parcel("contact-center");
    const second = parcel("contact-center", { dedupe_key: first.dedupeKey });
    await consume(DELIVERIES, [first.message]);
    expect(await consume(DELIVERIES, [second.message])).toEqual(acknowledged(second));
    expect(await arrived(second.id)).toEqual([]);
    expect(await row(second.id)).toMatchObject({ status: "duplicate", duplicateOf: first.id, attempts: 0 });
  });

  it("within one batch too", async () => {
    const first = parcel("contact-center");
    const others = [1, 2].map(() => parcel("contact-center", { dedupe_key: first.dedupeKey }));
    const outcome = await consume(
      DELIVERIES,
      [first, ...others].map((one) => one.message),
    );
    expect(outcome.acknowledged).toHaveLength(3);
    const states = await Promise.all([first, ...others].map(async ({ id }) => (await row(id)).status));
    expect(states.toSorted()).toEqual(["delivered", "duplicate", "duplicate"]);
    expect((await Promise.all([first, ...others].map(({ id }) => arrived(id)))).flat()).toHaveLength(1);
  });

  it("by the hash of the body, where no key is given", async () => {
    const body = events(1);
    const [first, second, other] = [body, body, `${body} `].map((text) =>
      parcel("contact-center", { dedupe_key: undefined }, text),
    );
    for (const one of [first, second, other]) {
      await consume(DELIVERIES, [one.message]);
    }
    expect((await row(second.id)).duplicateOf).toBe(first.id);
    expect((await row(other.id)).status).toBe("delivered");
  });

  it("within one source: keys of different sources never meet", async () => {
    const key = unique("shared");
    const parcels = ["contact-center", "messaging", "unsigned"].map((source) => parcel(source, { dedupe_key: key }));
    for (const one of parcels) {
      await consume(DELIVERIES, [one.message]);
      expect((await row(one.id)).status).toBe("delivered");
    }
  });

  it("a message that comes again after it was delivered is acknowledged and not handed on", async () => {
    const one = parcel("contact-center");
    await consume(DELIVERIES, [one.message]);
    for (const attempts of [2, 3]) {
      expect(await consume(DELIVERIES, [{ ...one.message, attempts }])).toEqual(acknowledged(one));
    }
    expect(await arrived(one.id)).toHaveLength(1);
    expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 1 });
  });

  it("a batch that comes again after half of it was done is completed", async () => {
    const parcels = Array.from({ length: 12 }, () => parcel("contact-center"));
    await consume(
      DELIVERIES,
      parcels.slice(0, 6).map((one) => one.message),
    );
    expect(
      (
        await consume(
          DELIVERIES,
          parcels.map((one) => one.message),
        )
      ).acknowledged,
    ).toHaveLength(12);
    for (const { id, body } of parcels) {
      expect((await row(id)).status).toBe("delivered");
      expect(await destination.arrival(await sha256(body))).toMatchObject({ received: 1 });
    }
  });
});

describe("a consumer that crashed between claim and settlement", () => {
  /** The delivery as the crashed consumer left it: claimed. */
  async function claim({ id, dedupeKey, header }: ReturnType<typeof parcel>) {
    const { key, shard } = ledgerPlace(header.source, dedupeKey as string);
    const item = { id, key, source: header.source, received_at_ms: header.received_at_ms, event_count: 1, size_bytes: 2 };
    return call(env.DELIVERY_LEDGER.getByName(shard), { claim: { items: [item] } });
  }

  it("keeps its claim until the lease has run out", async () => {
    const one = parcel("contact-center");
    expect(await claim(one)).toEqual([{ proceed: { attempt: 1 } }]);
    const {
      acknowledged: none,
      putOff: [put],
    } = await consume(DELIVERIES, [one.message]);
    expect(none).toEqual([]);
    expect(put.delaySeconds).toBeGreaterThan(LEASE_MS / 1000 - 20);
    expect(put.delaySeconds).toBeLessThanOrEqual(LEASE_MS / 1000);
    expect(await arrived(one.id)).toEqual([]);
    expect(await row(one.id)).toMatchObject({ status: "claimed", attempts: 1 });
  });

  it("is succeeded when it has", async () => {
    const one = parcel("contact-center");
    await claim(one);
    vi.setSystemTime(Date.now() + LEASE_MS);
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await arrived(one.id)).toHaveLength(1);
    expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 2 });
  });

  it("is succeeded by one of many that try at once", async () => {
    const one = parcel("contact-center");
    await claim(one);
    vi.setSystemTime(Date.now() + LEASE_MS);
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => consume(DELIVERIES, [one.message])));
    expect(outcomes.filter(({ acknowledged: done }) => done.length === 1).length).toBeGreaterThan(0);
    expect(await arrived(one.id)).toHaveLength(1);
  });
});
