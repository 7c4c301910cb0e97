/** The consumers where bodies are in the bucket, and where storage fails. */

import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it } from "vitest";

import { api, eventually, read, sha256 } from "./support/client.ts";
import { acknowledged, arrived, letterOf, parcel, putOff, row, storedParcel } from "./support/deliveries.ts";
import { DEAD_LETTERS, DELIVERIES, consume, ledgerPlace } from "./support/messages.ts";
import { sink } from "./support/sink.ts";

const destination = sink("contact-center");

beforeAll(() => destination.verify());

afterEach(() => destination.behaveWell());

describe("bodies in the bucket", () => {
  const kept = async (key: string) => (await env.PAYLOADS.head(key)) !== null;
  const large = () => crypto.getRandomValues(new Uint8Array(60_000));

  it("are handed on exactly, and removed", async () => {
    const body = large();
    const one = await storedParcel("contact-center", body);
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await destination.arrival(await sha256(body))).toMatchObject({ received: 1, accepted: 1 });
    expect(await kept(one.key)).toBe(false);
  });

  it("stay while the delivery waits", async () => {
    const one = await storedParcel("contact-center", large());
    await destination.behave({ status: 500, times: 1 });
    await consume(DELIVERIES, [one.message]);
    expect(await kept(one.key)).toBe(true);
    await consume(DELIVERIES, [one.message]);
    expect(await kept(one.key)).toBe(false);
  });

  it("of duplicates are removed, those of the first are handed on", async () => {
    const body = large();
    const first = await storedParcel("contact-center", body);
    const second = await storedParcel("contact-center", body, { dedupe_key: first.dedupeKey });
    await destination.behave({ status: 500, times: 1 });
    await consume(DELIVERIES, [first.message]);
    await consume(DELIVERIES, [second.message]);
    expect([await kept(first.key), await kept(second.key)]).toEqual([true, false]);
    await consume(DELIVERIES, [first.message]);
    expect(await destination.arrival(await sha256(body))).toMatchObject({ accepted: 1 });
  });

  it.each([
    ["are missing", (key: string) => env.PAYLOADS.delete(key)],
    ["are not what was stored", (key: string) => env.PAYLOADS.put(key, "something else")],
  ])("that %s end the delivery as a dead letter", async (_, spoil) => {
    const one = await storedParcel("contact-center", large());
    await spoil(one.key);
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await row(one.id)).toMatchObject({ status: "dead", attempts: 1 });
    await eventually(async () => {
      const { deadLetters } = await read("/api/dead-letters?reason=body_unavailable");
      expect(deadLetters).toContainEqual(expect.objectContaining({ id: one.id, detail: expect.stringContaining(one.key) }));
    });
    expect(await arrived(one.id)).toEqual([]);
  });

  it("of dead letters stay, even where the message comes again", async () => {
    const body = JSON.stringify({ text: "☕".repeat(50_000) });
    const one = await storedParcel("contact-center", body);
    await destination.behave({ status: 410, times: 1 });
    await consume(DELIVERIES, [one.message]);
    expect((await letterOf(one.id)).body).toBe(body);
    // Queues deliver at least once: the acknowledgement may be lost.
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await kept(one.key)).toBe(true);
    expect((await api(`/api/dead-letters/${one.id}`)).json?.body).toBe(body);
  });
});

describe("storage that fails", () => {
  it("a ledger that does not answer puts deliveries off, and they are handed on when it does", async () => {
    const one = parcel("contact-center");
    const stub = env.DELIVERY_LEDGER.getByName(ledgerPlace("contact-center", one.dedupeKey as string).shard);
    const rename = (from: string, to: string) =>
      runInDurableObject(stub, (_, state) => void state.storage.sql.exec(`ALTER TABLE ${from} RENAME TO ${to}`));
    await rename("deliveries", "hidden");
    expect(await consume(DELIVERIES, [one.message])).toEqual(putOff(one, 10));
    expect(await arrived(one.id)).toEqual([]);
    expect((await api("/api/deliveries")).json).toMatchObject({ code: "storage_unavailable" });
    await rename("hidden", "deliveries");
    expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
    expect(await arrived(one.id)).toHaveLength(1);
  });

  it("a letter that cannot be stored is put off, and stored when it can", async () => {
    const one = parcel("contact-center");
    const stub = env.DEAD_LETTER_STORE.getByName("dead-letters");
    const rename = (from: string, to: string) =>
      runInDurableObject(stub, (_, state) => void state.storage.sql.exec(`ALTER TABLE ${from} RENAME TO ${to}`));
    await rename("letters", "hidden");
    expect(await consume(DEAD_LETTERS, [one.message])).toEqual(putOff(one, 30));
    await rename("hidden", "letters");
    expect(await consume(DEAD_LETTERS, [one.message])).toEqual(acknowledged(one));
    expect(await read(`/api/dead-letters/${one.id}`)).toMatchObject({ body: one.body });
  });
});
