/** What a destination is sent beside the body, and how destinations of one batch share the consumer. */

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";

import { api, eventually, events, post, read, webhooksHeaders } from "./support/client.ts";
import { acknowledged, arrived, parcel, putOff, row } from "./support/deliveries.ts";
import { SECRETS } from "./support/gateway.ts";
import { DELIVERIES, call, consume, deliveryId, ledgerPlace } from "./support/messages.ts";
import { sink } from "./support/sink.ts";

afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(["contact-center", "unsigned", "dressed", "restless"].map((source) => sink(source).behaveWell()));
});

describe("headers", () => {
  it("that are configured, forwarded and secret arrive; others of the sender do not", async () => {
    const one = parcel("dressed", {
      headers: [
        ["content-type", "application/json"],
        ["inin-correlation-id", "c-1"],
        ["x-other", "1"],
      ],
    });
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    const [{ headers }] = await arrived(one.id, "dressed");
    expect(headers).toMatchObject({
      "x-tenant": "north west",
      "inin-correlation-id": "c-1",
      authorization: SECRETS.DESTINATION_TOKEN,
      "webhook-id": one.id,
    });
    expect(headers).not.toHaveProperty("x-other");
  });

  it("of the sender come through the whole way, whatever stands before them", async () => {
    const body = events(1);
    const flood = Array.from({ length: 80 }, (_, index) => [`x-flood-${index}`, "y".repeat(200)]);
    const headers = { ...Object.fromEntries(flood), ...(await webhooksHeaders(body)), "inin-correlation-id": "c-2" };
    const { json } = await post("dressed", body, headers);
    await eventually(async () => {
      const [request] = await arrived(json.id, "dressed");
      expect(request?.headers["inin-correlation-id"]).toBe("c-2");
    });
  });

  it("that are secret are not shown by an answer that quotes them", async () => {
    const one = parcel("dressed");
    await sink("dressed").behave({ status: 500, times: 1, echoHeaders: true });
    expect(await consume(DELIVERIES, [one.message])).toEqual(putOff(one, 2));
    const { lastError } = await row(one.id);
    const [, token] = SECRETS.DESTINATION_TOKEN.split(" ");
    expect(lastError).toContain("*".repeat(SECRETS.DESTINATION_TOKEN.length));
    expect(lastError).not.toContain(token);
  });

  it("whose Worker secret is missing are named, and nothing is sent without them", async () => {
    const one = parcel("undressed");
    expect(await consume(DELIVERIES, [one.message])).toEqual(putOff(one, 2));
    expect(await row(one.id)).toMatchObject({ status: "waiting", lastError: expect.stringContaining("MISSING_DESTINATION_TOKEN") });
    expect((await sink("undressed").report()).received).toBe(0);
  });
});

describe("a slow destination", () => {
  it("holds back neither the attempts nor the settlements of another, and gives back what it has no time for", async () => {
    const [slow, quick] = [sink("contact-center"), sink("unsigned")];
    await slow.behave({ delayMs: 3_000, times: 6 });
    const held = Array.from({ length: 10 }, () => parcel("contact-center"));
    const others = Array.from({ length: 10 }, () => parcel("unsigned"));
    const outcome = consume(
      DELIVERIES,
      [...held, ...others].map((one) => one.message),
    );
    await quick.wait(10);
    await eventually(async () => {
      const states = await Promise.all(others.map(async ({ id }) => (await row(id)).status));
      expect(states).toEqual(others.map(() => "delivered"));
    });
    // Nothing of the slow one has ended yet.
    expect((await slow.report()).received).toBe(0);
    // Its part of the batch is used up.
    vi.setSystemTime(Date.now() + 20_000);
    const { acknowledged: done, putOff: back } = await outcome;
    expect(done).toHaveLength(16);
    expect(back.map(({ delaySeconds }) => delaySeconds)).toEqual([5, 5, 5, 5]);
    const rows = await Promise.all(held.map(({ id }) => row(id)));
    const untried = rows.filter(({ status }) => status === "waiting");
    expect(untried.map(({ attempts }) => attempts)).toEqual([0, 0, 0, 0]);
    // Nobody holds them, and their first attempt is the first.
    const again = held.filter(({ id }) => untried.some((one) => one.id === id));
    expect((await consume(DELIVERIES, again.map((one) => one.message))).acknowledged).toHaveLength(4);
    for (const { id } of held) {
      expect(await row(id)).toMatchObject({ status: "delivered", attempts: 1 });
    }
  });
});

describe("a message that the queue would give up soon", () => {
  it("is sent again as a new one, with its delay", async () => {
    await sink("restless").behave({ status: 500, times: 1 });
    const one = parcel("restless");
    // Retried by hand it would stay with this test; acknowledged, it can only come back through the queue.
    expect(await consume(DELIVERIES, [{ ...one.message, attempts: 80 }])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "waiting", attempts: 1 });
    await eventually(async () => expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 2 }));
  });
});

describe("storage that fails", () => {
  it("after the destination has taken a delivery: it is repeated when the claim has run out, and not lost", async () => {
    const destination = sink("contact-center");
    const one = parcel("contact-center");
    const stub = env.DELIVERY_LEDGER.getByName(ledgerPlace("contact-center", one.dedupeKey as string).shard);
    const rename = (from: string, to: string) =>
      runInDurableObject(stub, (_, state) => void state.storage.sql.exec(`ALTER TABLE ${from} RENAME TO ${to}`));
    await destination.behave({ delayMs: 1_000, times: 1 });
    const outcome = consume(DELIVERIES, [one.message]);
    await eventually(async () => expect(await row(one.id)).toMatchObject({ status: "claimed" }));
    await rename("deliveries", "hidden");
    expect(await outcome).toEqual(putOff(one, 10));
    await rename("hidden", "deliveries");
    const { putOff: [busy] } = await consume(DELIVERIES, [one.message]);
    expect(busy.delaySeconds).toBeGreaterThan(100);
    vi.setSystemTime(Date.now() + 150_000);
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 2 });
    expect(await arrived(one.id)).toHaveLength(2);
  });

  /** The bucket refuses keys of more than 1,024 bytes. */
  const TOO_LONG = "x".repeat(1_100);

  it("where the archive is: the delivery waits, with what the bucket said", async () => {
    const one = parcel("archive", { id: `${deliveryId()}${TOO_LONG}` });
    const outcome = await consume(DELIVERIES, [one.message]);
    expect([outcome.acknowledged, outcome.putOff.length]).toEqual([[], 1]);
    const { shard } = ledgerPlace("archive", one.dedupeKey as string);
    const known = await call(env.DELIVERY_LEDGER.getByName(shard), { get: { id: one.id } });
    expect(known).toMatchObject({ status: "waiting", attempts: 1, lastError: expect.stringMatching(/key|put/i) });
  });

  it("where the body is: the delivery waits, and nothing is sent", async () => {
    const reference = { stored: { key: TOO_LONG, size_bytes: 2, sha256: "0".repeat(64) } };
    const one = parcel("contact-center", { body: reference }, "");
    expect((await consume(DELIVERIES, [one.message])).acknowledged).toEqual([]);
    expect(await row(one.id)).toMatchObject({ status: "waiting", attempts: 1, lastError: expect.stringMatching(/key|get/i) });
    expect(await arrived(one.id)).toEqual([]);
  });
});

describe("/api/destinations", () => {
  it("lists every source with its circuit and without what its address may hide", async () => {
    const { destinations, missing } = await read("/api/destinations");
    expect(missing).toEqual([]);
    const bySource = new Map(destinations.map((row: any) => [row.source, row]));
    expect(bySource.get("github")).toMatchObject({ url: null, state: "closed", failures: 0 });
    expect(bySource.get("unreachable")).toMatchObject({ url: "http://127.0.0.1:1/", state: "closed" });
  });

  it.each([
    ["GET", "/api/destinations/tripping/close", 405],
    ["POST", "/api/destinations", 405],
    ...["close", "pause", "resume", "probe"].map((order): [string, string, number] => ["POST", `/api/destinations/nobody/${order}`, 404]),
  ])("%s %s is %i", async (method, path, status) => {
    expect((await api(path, { method })).status).toBe(status);
  });
});
