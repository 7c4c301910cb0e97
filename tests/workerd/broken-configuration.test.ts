/** With a configuration that cannot be read nothing is removed: how long and how much is kept was written there. */

import { env } from "cloudflare:workers";
import { expect, it } from "vitest";

import { api, read } from "./support/client.ts";
import { acknowledged, parcel } from "./support/deliveries.ts";
import { DELIVERIES, call, consume, deliveryId, frame, message } from "./support/messages.ts";

// Read once an isolate, at the first event: no event came before.
(env as unknown as Record<string, unknown>).GATEWAY = { sources: "none" };

const DAY_MS = 86_400_000;

const store = env.DEAD_LETTER_STORE.getByName("dead-letters");

/** A letter that died so many days ago. */
function letter(days: number, fields: Record<string, unknown> = {}) {
  const [id, atMs] = [deliveryId(Date.now() - days * DAY_MS), Date.now() - days * DAY_MS];
  const died = { received_at_ms: atMs, dead_at_ms: atMs, attempts: 1, headers: [], body: { inline: { size_bytes: 2 } }, ...fields };
  return { letter: { id, source: "kept", stage: "deliver", reason: "retries_exhausted", verified: true, ...died }, inline: { body: "{}" } };
}

it("retention removes nothing, and says that it failed", async () => {
  // The configuration that cannot be read may have said 365 and 90.
  const [old, key] = [letter(100), "payloads/2020/01/01/kept/body"];
  await call(store, { put: { letters: [old] } });
  await env.PAYLOADS.put(key, "body");
  const ledger = env.DELIVERY_LEDGER.getByName("ledger-0");
  const id = deliveryId(1_000);
  await call(ledger, { claim: { items: [{ id, key: "k", source: "kept", received_at_ms: 1_000, event_count: 1, size_bytes: 2 }] } });
  await call(ledger, { settle: { items: [{ id, attempt: 1, outcome: "delivered" }] } });

  const { json } = await api("/api/retention", { method: "POST" });
  expect(json).toMatchObject({ deadLetters: 0, deliveries: 0, bodies: 0, failures: 1, unfinished: true });

  expect((await read("/metrics")).configurationProblems.map((problem: any) => problem.key)).toContain("sources");
  expect((await read(`/api/dead-letters/${old.letter.id}`)).status).toBe("stored");
  expect((await read(`/api/deliveries/${id}`)).status).toBe("delivered");
  expect(await env.PAYLOADS.head(key)).not.toBeNull();
  const { entries } = await read("/api/audit?action=PURGE&limit=1");
  expect(entries).toMatchObject([{ actor: "admin", count: 0, error: "1 steps failed" }]);
});

it("no letter has to go for another", async () => {
  // More than the default cap of a source in two letters.
  const large = { body: { stored: { key: "payloads/none", size_bytes: 700_000_000, sha256: "ab" } } };
  const letters = [letter(2, large), letter(1, large)].map(({ letter: one }) => ({ letter: one }));
  expect(await call(store, { put: { letters } })).toMatchObject({ new: 2, purged: {}, keys: [] });
  for (const { letter: { id } } of letters) {
    expect((await read(`/api/dead-letters/${id}`)).id).toBe(id);
  }
});

it("deliveries wait, and go on as new messages before the queue gives them up", async () => {
  const [early, late] = [79, 80].map((attempts) => {
    const one = parcel("archive");
    return { ...one, message: { ...one.message, attempts } };
  });
  expect(await consume(DELIVERIES, [early.message, late.message])).toEqual({
    acknowledged: [late.message.id],
    putOff: [expect.objectContaining({ msgId: early.message.id, delaySeconds: 30 })],
  });
});

it("letters are stored, whatever their queue is called", async () => {
  const { letter: died } = letter(0);
  const one = { message: message(frame({ kind: "dead_letter", v: 1, ...died }, "{}")) };
  expect(await consume("letters-of-another-name", [one.message])).toEqual(acknowledged(one));
  expect((await read(`/api/dead-letters/${died.id}`)).status).toBe("stored");
});
