/** Deliveries that are given up while the ledger or a late consumer says otherwise: one letter, one end, and accounts that hold. */

import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, expect, it } from "vitest";

import { api, eventually, events, read, unique } from "./support/client.ts";
import { acknowledged, arrived, letterOf, parcel, row, storedParcel } from "./support/deliveries.ts";
import { DEAD_LETTERS, DELIVERIES, consume, ledgerPlace } from "./support/messages.ts";
import { sink } from "./support/sink.ts";

const destination = sink("contact-center");
const account = async () => (await read("/metrics")).sources["contact-center"];
const replay = (id: string) => api(`/api/dead-letters/${id}/replay`, { method: "POST" });

afterEach(() => destination.behaveWell());

it("a death whose settlement fails is not tried again: its letter tells the ledger", async () => {
  const one = parcel("contact-center");
  const ledger = env.DELIVERY_LEDGER.getByName(ledgerPlace("contact-center", one.dedupeKey as string).shard);
  const run = (statement: string) => runInDurableObject(ledger, (_, state) => void state.storage.sql.exec(statement));
  await run("CREATE TRIGGER failing BEFORE UPDATE OF last_status ON deliveries BEGIN SELECT RAISE(ABORT, 'no room'); END");
  await destination.behave({ status: 410, times: 1 });
  expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
  await eventually(async () => expect(await row(one.id)).toMatchObject({ status: "dead", attempts: 1 }));
  await run("DROP TRIGGER failing");
  expect(await letterOf(one.id)).toMatchObject({ reason: "destination_gone", status: "stored", lastStatus: 410 });
  // The destination would take it now. The queue repeats the message, as it may at any time.
  expect(await consume(DELIVERIES, [one.message])).toEqual(acknowledged(one));
  expect((await arrived(one.id)).map(({ status }) => status)).toEqual([410]);
  expect((await replay(one.id)).json.outcome).toBe("replayed");
  await eventually(async () => expect((await row(one.id)).status).toBe("delivered"));
});

it("a letter whose delivery a late consumer made is marked, keeps its body and is not replayed", async () => {
  const before = await account();
  const one = await storedParcel("contact-center", JSON.stringify({ events: [{ text: unique("x".repeat(50_000)) }] }));
  await destination.behave({ delayMs: 2_000, times: 1 });
  const late = consume(DELIVERIES, [one.message]);
  await eventually(async () => expect((await row(one.id)).status).toBe("claimed"));
  expect(await consume(DEAD_LETTERS, [{ ...one.message, attempts: 100 }])).toEqual(acknowledged(one));
  expect(await row(one.id)).toMatchObject({ status: "dead" });
  expect(await late).toEqual(acknowledged(one));
  expect(await row(one.id)).toMatchObject({ status: "delivered" });
  const marked = await eventually(async () => {
    const letter = await letterOf(one.id);
    expect(letter).toMatchObject({ status: "replayed", lastReplay: { actor: "consumer", verdict: { code: "delivered_late" } } });
    return letter;
  });
  expect(marked.body).toHaveLength(marked.sizeBytes);
  // After its row has expired, too.
  const ledger = env.DELIVERY_LEDGER.getByName(ledgerPlace("contact-center", one.dedupeKey as string).shard);
  await runInDurableObject(ledger, (_, state) => void state.storage.sql.exec("DELETE FROM deliveries WHERE id = ?", one.id));
  expect((await replay(one.id)).json).toMatchObject({ outcome: "skipped", code: "already_replayed" });
  const after = await account();
  expect([after.dead, after.delivered]).toEqual([before.dead, before.delivered + 1]);
});

it("a letter of what is a duplicate is marked: nobody has counted its death", async () => {
  const first = parcel("contact-center");
  const second = parcel("contact-center", { dedupe_key: first.dedupeKey }, events(2));
  await consume(DELIVERIES, [first.message]);
  await consume(DEAD_LETTERS, [{ ...second.message, attempts: 100 }]);
  expect(await row(second.id)).toMatchObject({ status: "duplicate", duplicateOf: first.id });
  expect(await letterOf(second.id)).toMatchObject({ status: "replayed", lastReplay: { verdict: { code: "duplicate" } } });
});

it("a message that is older than queues may keep one goes on as a new one", async () => {
  const one = parcel("restless");
  await sink("restless").behave({ status: 500, times: 1 });
  const old = { ...one.message, timestamp: new Date(Date.now() - 2 * 86_400_000) };
  expect(await consume(DELIVERIES, [old])).toEqual(acknowledged(one));
  await eventually(async () => expect(await row(one.id)).toMatchObject({ status: "delivered", attempts: 2 }));
});
