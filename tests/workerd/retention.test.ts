/** Retention: what the daily cron removes, and what it must not. */

import { env, exports } from "cloudflare:workers";
import { afterEach, expect, it, vi } from "vitest";

import { api, read, sha256, unique } from "./support/client.ts";
import { call, deliveryId, ledgerPlace } from "./support/messages.ts";

const DAY_MS = 86_400_000;

const now = Date.now();
const ago = (days: number) => now - days * DAY_MS;
const datePath = (days: number) => new Date(ago(days)).toISOString().slice(0, 10).replaceAll("-", "/");
const kept = async (key: string) => (await env.PAYLOADS.head(key)) !== null;

afterEach(() => vi.useRealTimers());

/** A letter that died so many days ago, with its body in the bucket. */
async function letter(days: number) {
  const [id, key] = [deliveryId(ago(days)), `payloads/${datePath(days)}/kept/${unique("body")}`];
  await env.PAYLOADS.put(key, "body");
  const body = { stored: { key, size_bytes: 4, sha256: await sha256("body") } };
  const died = { received_at_ms: ago(days), dead_at_ms: ago(days), attempts: 1, headers: [], body };
  const put = {
    letters: [{ letter: { id, source: "kept", stage: "deliver", reason: "retries_exhausted", verified: true, ...died } }],
  };
  await call(env.DEAD_LETTER_STORE.getByName("dead-letters"), { put });
  return { id, key };
}

/** A delivery that came to the ledger so many days ago. */
async function entry(days: number, outcome?: unknown): Promise<string> {
  const [id, name] = [deliveryId(ago(days)), unique("entry")];
  const { key, shard } = ledgerPlace("kept", name);
  vi.setSystemTime(ago(days));
  const item = { id, key, source: "kept", received_at_ms: ago(days), event_count: 1, size_bytes: 2 };
  await call(env.DELIVERY_LEDGER.getByName(shard), { claim: { items: [item] } });
  if (outcome !== undefined) {
    await call(env.DELIVERY_LEDGER.getByName(shard), { settle: { items: [{ id, attempt: 1, outcome }] } });
  }
  vi.useRealTimers();
  return id;
}

it("removes what is old, by its cron, and nothing else", async () => {
  const [oldLetter, youngLetter] = [await letter(31), await letter(29)];
  const old = [await entry(8, "delivered"), await entry(9, { dead: { reason: "x" } })];
  const young = [await entry(6, "delivered"), await entry(40), await entry(41, { retry: { next_attempt_ms: 1 } })];
  const orphans = [`payloads/${datePath(60)}/kept/orphan`, `dead-letters/${datePath(60)}/orphan`];
  const others = [
    `payloads/${datePath(1)}/kept/waiting`,
    `dead-letters/${datePath(29)}/kept`,
    "deliveries/archive/2020/01/01/archived.json",
  ];
  for (const key of [...orphans, ...others]) {
    await env.PAYLOADS.put(key, "body");
  }

  expect(await exports.default.scheduled({ cron: "17 3 * * *", scheduledTime: new Date() })).toMatchObject({ outcome: "ok" });

  expect((await api(`/api/dead-letters/${oldLetter.id}`)).status).toBe(404);
  expect((await read(`/api/dead-letters/${youngLetter.id}`)).body).toBe("body");
  expect(await kept(oldLetter.key)).toBe(false);
  for (const id of old) {
    expect((await api(`/api/deliveries/${id}`)).status).toBe(404);
  }
  for (const id of young) {
    expect((await api(`/api/deliveries/${id}`)).status).toBe(200);
  }
  expect(await Promise.all(orphans.map(kept))).toEqual([false, false]);
  expect(await Promise.all(others.map(kept))).toEqual([true, true, true]);
});

it("counts what it removed, for the operator, and finds nothing to do again", async () => {
  await letter(100);
  await entry(100, "delivered");
  await env.PAYLOADS.put(`payloads/${datePath(50)}/kept/orphan`, "body");
  const run = async () => (await api("/api/retention", { method: "POST" })).json;
  const nothing = { deadLetters: 0, deliveries: 0, bodies: 0, lost: 0, auditExported: 0, auditEntries: 0, failures: 0, unfinished: false };
  expect(await run()).toEqual({ ...nothing, deadLetters: 1, deliveries: 1, bodies: 1 });
  const { entries } = await read("/api/audit?action=PURGE&limit=1");
  expect(entries).toMatchObject([{ actor: "admin", count: 3 }]);
  expect(await run()).toEqual(nothing);
});

it("forgets no count with the rows that it removes", async () => {
  const delivered = async () => (await read("/metrics")).sources.kept.delivered;
  await entry(30, "delivered");
  const before = await delivered();
  await api("/api/retention", { method: "POST" });
  expect(await delivered()).toBe(before);
});

it("makes letters of what the queue does not hold any more, a day after it was suspected", async () => {
  const run = async () => (await api("/api/retention", { method: "POST" })).json;
  const [id, name, body] = [deliveryId(ago(20)), unique("lost"), JSON.stringify({ events: ["x".repeat(60_000)] })];
  const { key, shard } = ledgerPlace("archive", name);
  const ledger = env.DELIVERY_LEDGER.getByName(shard);
  vi.setSystemTime(ago(20));
  const item = { id, key, source: "archive", received_at_ms: ago(20), event_count: 1, size_bytes: body.length };
  await call(ledger, { claim: { items: [item] } });
  await call(ledger, { settle: { items: [{ id, attempt: 1, outcome: { retry: { next_attempt_ms: 1 } } }] } });
  await env.PAYLOADS.put(`payloads/${datePath(20)}/archive/${id}`, body);
  vi.setSystemTime(now);
  await run();
  expect((await run()).lost).toBe(0);
  expect((await read(`/api/deliveries/${id}`)).status).toBe("waiting");
  vi.setSystemTime(now + 21 * 3_600_000);
  expect((await run()).lost).toBeGreaterThan(0);
  vi.useRealTimers();
  await vi.waitFor(async () => expect((await read(`/api/deliveries/${id}`)).status).toBe("dead"), { timeout: 20_000, interval: 100 });
  expect(await read(`/api/dead-letters/${id}`)).toMatchObject({ reason: "message_lost", status: "stored", source: "archive", body });
  expect((await api(`/api/dead-letters/${id}/replay`, { method: "POST" })).json.outcome).toBe("replayed");
  await vi.waitFor(async () => expect((await read(`/api/deliveries/${id}`)).status).toBe("delivered"), { timeout: 20_000, interval: 100 });
});
