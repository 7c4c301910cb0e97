/** Replays of dead letters: one, many, and what the accounts say afterwards. */

import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";

import { api, bytes, events, eventually, hex, hmac, read, sha256, unique } from "./support/client.ts";
import { acknowledged, arrived, letterOf, parcel, row, storedParcel } from "./support/deliveries.ts";
import { CAPPED_LETTERS, SECRETS } from "./support/gateway.ts";
import { DEAD_LETTERS, call, consume, delivery, deliveryId, frame, ledgerPlace, message } from "./support/messages.ts";
import { sink } from "./support/sink.ts";

const store = env.DEAD_LETTER_STORE.getByName("dead-letters");

const replay = (id: string) => api(`/api/dead-letters/${id}/replay`, { method: "POST" });
const replayMany = (order: object) => api("/api/dead-letters/replay", { method: "POST", body: JSON.stringify(order) });
const account = async (source: string) => (await read("/metrics")).sources[source];

/** A letter of a delivery that was refused, whose signature is good by now: the secret was wrong then. */
async function refused(source: string, fields: Record<string, unknown> = {}, secret: string = SECRETS.WEBHOOK_SECRET) {
  const [id, body] = [deliveryId(), events(2)];
  const letter = {
    id,
    source,
    stage: "receive",
    reason: "signature_mismatch",
    detail: "then",
    verified: false,
    received_at_ms: Date.now(),
    dead_at_ms: Date.now(),
    attempts: 0,
    headers: [["x-genesys-signature", hex(await hmac(secret, body))]],
    body: { inline: { size_bytes: bytes(body).length } },
    ...fields,
  };
  return { id: letter.id as string, body, letter, inline: { body } };
}

const put = (...letters: object[]) => call(store, { put: { letters } });

async function refusedMany(source: string, count: number): Promise<string[]> {
  const letters = await Promise.all(Array.from({ length: count }, () => refused(source)));
  await put(...letters);
  return letters.map(({ id }) => id);
}

/** The ledger knows all of them as delivered. */
async function expectDelivered(ids: string[]) {
  await eventually(async () => {
    for (const id of ids) {
      expect((await row(id)).status).toBe("delivered");
    }
  });
}

afterEach(async () => {
  vi.restoreAllMocks();
  await sink("contact-center").behaveWell();
});

describe("one letter", () => {
  it("that was refused because of a wrong secret flows after the fix, once, and is accounted for", async () => {
    const one = await refused("unsigned");
    await put(one);
    const answer = await replay(one.id);
    expect([answer.status, answer.json]).toEqual([200, { id: one.id, outcome: "replayed" }]);
    await expectDelivered([one.id]);
    expect(await arrived(one.id, "unsigned")).toHaveLength(1);
    expect(await account("unsigned")).toMatchObject({ accepted: 0, readmitted: 1, delivered: 1, queued: 0, pending: 0 });
    // Nobody replays it twice.
    expect((await replay(one.id)).json).toMatchObject({ outcome: "skipped", code: "already_replayed" });
    const kept = await read(`/api/dead-letters/${one.id}`);
    expect(kept).toMatchObject({
      status: "replayed",
      reason: "signature_mismatch",
      detail: "then",
      body: one.body,
      lastReplay: { actor: "admin", verdict: { outcome: "replayed" } },
    });
    const { entries } = await read("/api/audit?action=REPLAY");
    expect(entries.filter((entry: any) => entry.correlationId === one.id && entry.error === undefined)).toHaveLength(1);
  });

  it("that is refused again keeps its reason and tells the new one", async () => {
    const one = await refused("archive", { reason: "missing_signature" }, "a secret that nobody configured");
    await put(one);
    const { status, json } = await replay(one.id);
    expect(status).toBe(200);
    expect(json).toMatchObject({ id: one.id, outcome: "still_refused", code: "signature_mismatch", diagnosis: expect.any(String) });
    const kept = await read(`/api/dead-letters/${one.id}`);
    expect(kept).toMatchObject({ status: "stored", reason: "missing_signature", lastReplay: { verdict: { code: "signature_mismatch" } } });
    const { entries } = await read("/api/audit?action=REPLAY");
    expect(entries).toContainEqual(expect.objectContaining({ correlationId: one.id, error: "signature_mismatch", source: "archive" }));
  });

  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ["a source that is gone", { source: "nobody" }, { outcome: "still_refused", code: "source_not_configured" }],
    ["no secret", { source: "no-secret" }, { outcome: "still_refused", code: "no_active_secret" }],
    ["a body that was not kept", { body: { omitted: { size_bytes: 9 } } }, { outcome: "skipped", code: "body_not_kept" }],
    [
      "a body that the bucket has lost",
      { body: { stored: { key: "payloads/none", size_bytes: 9, sha256: "ab" } } },
      { outcome: "skipped", code: "body_lost" },
    ],
    [
      "a body that the bucket has lost, accepted before",
      { stage: "deliver", verified: true, body: { stored: { key: "payloads/none", size_bytes: 9, sha256: "ab" } } },
      { outcome: "skipped", code: "body_lost" },
    ],
  ])("stays where it is with %s", async (_, fields, expected) => {
    const one = await refused("archive", fields);
    await put(one);
    expect((await replay(one.id)).json).toMatchObject(expected);
    expect((await read(`/api/dead-letters/${one.id}`)).status).toBe("stored");
  });

  it("is unknown where there is none, and 409 while somebody holds it", async () => {
    expect((await replay(deliveryId())).status).toBe(404);
    const one = await refused("archive");
    await put(one);
    await runInDurableObject(store, (_, state) =>
      void state.storage.sql.exec("INSERT INTO states VALUES (?, 1, ?, 0, NULL, NULL)", one.id, Date.now() + 60_000),
    );
    const busy = await replay(one.id);
    expect([busy.status, busy.json.code]).toEqual([409, "being_replayed"]);
    // A lease belongs to the instance that gave it.
    await evictDurableObject(store);
    expect((await replay(one.id)).json.outcome).toBe("replayed");
  });

  it("is replayed once by two callers at once", async () => {
    const one = await refused("unsigned");
    await put(one);
    const answers = await Promise.all([replay(one.id), replay(one.id), replay(one.id)]);
    expect(answers.filter(({ json }) => json.outcome === "replayed")).toHaveLength(1);
    await expectDelivered([one.id]);
    expect(await arrived(one.id, "unsigned")).toHaveLength(1);
  });

  it("comes back from a large body in the bucket, which outlives its delivery", async () => {
    const body = JSON.stringify({ events: [{ text: "x".repeat(200_000) }] });
    const key = `payloads/2026/11/24/unsigned/${unique("body")}`;
    await env.PAYLOADS.put(key, body);
    const one = await refused("unsigned", {
      headers: [["x-genesys-signature", hex(await hmac(SECRETS.WEBHOOK_SECRET, body))]],
      body: { stored: { key, size_bytes: body.length, sha256: await sha256(body) } },
    });
    await put({ letter: one.letter });
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    expect(await env.PAYLOADS.head(key)).not.toBeNull();
    expect((await api(`/api/dead-letters/${one.id}`, { method: "DELETE" })).status).toBe(204);
    expect(await env.PAYLOADS.head(key)).not.toBeNull();
  });

  it("that could not be read is read by today's code", async () => {
    const header = delivery("unsigned", "{}");
    const raw = new TextDecoder().decode(frame(header, "{}"));
    const one = await refused("", { stage: "queue", reason: "undecodable_message", body: { inline: { size_bytes: raw.length } } });
    const garbage = await refused("", { stage: "queue", reason: "undecodable_message" });
    await put({ letter: one.letter, inline: { body: raw } }, garbage);
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([header.id]);
    expect((await replay(garbage.id)).json).toMatchObject({ outcome: "still_refused", code: "undecodable_message" });
  });
});

describe("a dead delivery", () => {
  it("is pending again when it is replayed, dead again when it dies again, and a late letter reopens nothing", async () => {
    await sink("contact-center").behave({ status: 410 });
    const one = parcel("contact-center");
    const before = await account("contact-center");
    expect(await consume("genesys-deliveries", [one.message])).toEqual(acknowledged(one));
    expect(await letterOf(one.id)).toMatchObject({ reason: "destination_gone", status: "stored" });
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await eventually(async () =>
      expect(await read(`/api/dead-letters/${one.id}`)).toMatchObject({ status: "stored", replay: 1, lastReplay: { actor: "admin" } }),
    );
    await sink("contact-center").behaveWell();
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    const after = await account("contact-center");
    expect([after.dead, after.delivered]).toEqual([before?.dead ?? 0, (before?.delivered ?? 0) + 1]);
    // The queue repeats the letter of the second death.
    const kept = await refused("contact-center", { id: one.id, stage: "deliver", replay: 1 });
    await put(kept);
    expect((await read(`/api/dead-letters/${one.id}`)).status).toBe("replayed");
  });

  it("whose row has expired takes back its death once", async () => {
    const one = await refused("messaging", { stage: "deliver", verified: true, reason: "retries_exhausted", dedupe_key: unique("key") });
    await put(one);
    const { shard } = ledgerPlace("messaging", one.letter.dedupe_key as string);
    const ledger = env.DELIVERY_LEDGER.getByName(shard);
    await runInDurableObject(ledger, (_, state) =>
      void state.storage.sql.exec("INSERT INTO totals VALUES ('messaging', 'dead', 1) ON CONFLICT DO UPDATE SET n = n + 1"),
    );
    const { dead, delivered } = await account("messaging");
    await replay(one.id);
    await expectDelivered([one.id]);
    expect(await account("messaging")).toMatchObject({ dead: dead - 1, delivered: delivered + 1 });
  });

  it("that the platform gave up is dead in the ledger too, once", async () => {
    const one = await storedParcel("unsigned", events(1));
    const before = (await account("unsigned"))?.dead ?? 0;
    for (const _ of [1, 2]) {
      expect(await consume(DEAD_LETTERS, [{ ...one.message, attempts: 100 }])).toEqual(acknowledged(one));
    }
    expect(await row(one.id)).toMatchObject({ status: "dead", lastError: "given up by the queue" });
    expect((await account("unsigned")).dead).toBe(before + 1);
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    expect((await account("unsigned")).dead).toBe(before);
  });
});

describe("many letters", () => {
  const jobOf = (id: string) => read(`/api/dead-letters/replays/${id}`);

  it("are judged without sending anything in a dry run", async () => {
    const source = "standard";
    await put(await refused(source), await refused(source));
    const { status, json } = await replayMany({ filter: { source }, dryRun: true });
    expect([status, json]).toMatchObject([200, { state: "done", dryRun: true, cut: false, matched: 2, stillRefused: 2, replayed: 0 }]);
    const { deadLetters } = await read(`/api/dead-letters?source=${source}&status=stored`);
    expect(deadLetters).toHaveLength(2);
    expect(deadLetters[0].lastReplay).toBeUndefined();
    expect((await read("/api/dead-letters/replays")).replays.map((job: any) => job.id)).not.toContain(json.id);
  });

  it("are done at once where they are few, and what dies later is not meant", async () => {
    const ids = await refusedMany("fenced", 3);
    const still = await refused("fenced", {}, "another secret");
    await put(still, await refused("fenced", { dead_at_ms: Date.now() + 3_600_000 }));
    const { status, json } = await replayMany({ filter: { source: "fenced", reason: "signature_mismatch" } });
    expect([status, json]).toMatchObject([
      200,
      { state: "done", matched: 4, replayed: 3, stillRefused: 1, skipped: 0, byCode: { signature_mismatch: 1 } },
    ]);
    await expectDelivered(ids);
    const { entries } = await read("/api/audit?action=REPLAY&limit=500");
    expect(entries.find((entry: any) => entry.correlationId === json.id)).toMatchObject({ count: 3, error: "1 of 4 not replayed" });
    expect((await replayMany({ filter: { source: "fenced" } })).json).toMatchObject({ matched: 1, stillRefused: 1 });
  });

  it("go on after an eviction where they were, by the alarm, and none goes twice", async () => {
    const ids = await refusedMany("restless", 25);
    const { status, json } = await replayMany({ filter: { source: "restless" }, ratePerS: 10 });
    expect([status, json]).toMatchObject([202, { state: "running", matched: 10 }]);
    await evictDurableObject(store);
    // The alarm may come by itself as well: each step is one of ten.
    await eventually(async () => {
      await runDurableObjectAlarm(store);
      expect((await jobOf(json.id)).state).toBe("done");
    });
    expect(await jobOf(json.id)).toMatchObject({ matched: 25, replayed: 25, skipped: 0 });
    await expectDelivered(ids);
    expect(await account("restless")).toMatchObject({ readmitted: 25, delivered: 25, duplicate: 0, queued: 0 });
  });

  it("stop when somebody cancels, and go on when somebody resumes", async () => {
    const ids = await refusedMany("slow", 12);
    const { json } = await replayMany({ filter: { ids }, ratePerS: 2 });
    const cancelled = await api(`/api/dead-letters/replays/${json.id}`, { method: "DELETE" });
    expect([cancelled.status, cancelled.json.state]).toEqual([200, "cancelled"]);
    const { matched } = cancelled.json;
    expect(matched).toBeLessThan(12);
    await runDurableObjectAlarm(store);
    expect(await jobOf(json.id)).toMatchObject({ state: "cancelled", matched });
    await api(`/api/dead-letters/replays/${json.id}/resume`, { method: "POST" });
    await eventually(async () => {
      await runDurableObjectAlarm(store);
      expect(await jobOf(json.id)).toMatchObject({ state: "done", matched: 12, replayed: 12 });
    });
    expect((await api(`/api/dead-letters/replays/${json.id}/resume`, { method: "POST" })).status).toBe(409);
  });

  it("of two jobs go once", async () => {
    const ids = await refusedMany("budgeted", 15);
    const jobs = await Promise.all([1, 2].map(() => replayMany({ filter: { source: "budgeted" }, ratePerS: 200 })));
    await eventually(async () => {
      await runDurableObjectAlarm(store);
      const done = await Promise.all(jobs.map(({ json }) => jobOf(json.id)));
      expect(done.map(({ state }) => state)).toEqual(["done", "done"]);
      expect(done.reduce((sum, { replayed }) => sum + replayed, 0)).toBe(15);
    });
    await expectDelivered(ids);
    expect(await account("budgeted")).toMatchObject({ readmitted: 15, delivered: 15, duplicate: 0 });
  });

  it.each<[string, object]>([
    ["a key that is misspelt", { filter: { sources: "a" } }],
    ["no filter", { dryRun: true }],
    ["a rate of nothing", { filter: {}, ratePerS: 0 }],
    ["a status that is none", { filter: { status: "dead" } }],
    ["a time that is none", { filter: { since: "yesterday" } }],
    ["an identifier that is none", { filter: { ids: ["x"] } }],
  ])("are not touched with %s", async (_, order) => {
    expect((await replayMany(order)).status).toBe(400);
  });
});

describe("while the platform fails", () => {
  /** Makes a method of a binding fail, in the Worker too: it shares the prototypes of its tests. */
  const failing = (binding: object, method: string) =>
    vi.spyOn(Object.getPrototypeOf(binding), method).mockRejectedValue(new Error("away"));

  it("a letter that the queue does not take stays, and goes when it does", async () => {
    const one = await refused("unsigned");
    await put(one);
    failing(env.DELIVERIES, "send");
    expect((await replay(one.id)).json).toMatchObject({ outcome: "skipped", code: "queue_failed", detail: "Error: away" });
    expect((await read(`/api/dead-letters/${one.id}`)).status).toBe("stored");
    vi.restoreAllMocks();
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    expect(await arrived(one.id, "unsigned")).toHaveLength(1);
  });

  it("a letter whose body the bucket does not give stays", async () => {
    const one = await refused("unsigned", { body: { stored: { key: "payloads/away", size_bytes: 9, sha256: "ab" } } });
    await put({ letter: one.letter });
    failing(env.PAYLOADS, "get");
    expect((await replay(one.id)).json).toMatchObject({ outcome: "skipped", code: "body_unavailable" });
    vi.restoreAllMocks();
    expect((await read(`/api/dead-letters/${one.id}`)).status).toBe("stored");
  });

  it("a job waits and counts nothing, and goes on when it can", async () => {
    const ids = await refusedMany("unsigned", 5);
    failing(env.DELIVERIES, "send");
    const { status, json } = await replayMany({ filter: { ids } });
    expect([status, json]).toMatchObject([202, { state: "running", matched: 0, stalls: 1 }]);
    vi.restoreAllMocks();
    await eventually(async () => {
      await runDurableObjectAlarm(store);
      const job = await read(`/api/dead-letters/replays/${json.id}`);
      expect(job).toMatchObject({ state: "done", matched: 5, replayed: 5, skipped: 0, stalls: 0 });
    });
    await expectDelivered(ids);
  });

  it("a job whose alarm was lost is started again by retention", async () => {
    const ids = await refusedMany("unsigned", 4);
    const { json } = await replayMany({ filter: { ids }, ratePerS: 1 });
    expect(json.state).toBe("running");
    const alarm = () => runInDurableObject(store, (_, state) => state.storage.getAlarm());
    await runInDurableObject(store, (_, state) => state.storage.deleteAlarm());
    expect(await alarm()).toBeNull();
    await api("/api/retention", { method: "POST" });
    await eventually(async () => {
      await runDurableObjectAlarm(store);
      expect((await read(`/api/dead-letters/replays/${json.id}`)).state).toBe("done");
    });
    expect(await alarm()).toBeNull();
  });
});

describe("the store", () => {
  it("keeps no more of a source than its cap: unverified first, the oldest first, counted and audited", async () => {
    const at = (ms: number, verified: boolean) => refused("capped", { dead_at_ms: ms, verified });
    const letters = [await at(1, true), await at(2, false), await at(3, true), await at(4, false)];
    expect(CAPPED_LETTERS).toBe(3);
    const messages = letters.map(({ letter, body }) => message(frame({ kind: "dead_letter", v: 1, ...letter }, body)));
    for (const one of messages) {
      await consume(DEAD_LETTERS, [one]);
    }
    const kept = async () => (await read("/api/dead-letters?source=capped")).deadLetters.map((letter: any) => letter.deadAtMs);
    expect(await kept()).toEqual([4, 3, 1]);
    const next = await at(5, true);
    await consume(DEAD_LETTERS, [message(frame({ kind: "dead_letter", v: 1, ...next.letter }, next.body))]);
    expect(await kept()).toEqual([5, 3, 1]);
    const last = await at(6, false);
    await consume(DEAD_LETTERS, [message(frame({ kind: "dead_letter", v: 1, ...last.letter }, last.body))]);
    expect(await kept()).toEqual([6, 5, 3]);
    expect((await read("/metrics")).deadLetters.purged.capped).toEqual({ verified: 1, unverified: 2 });
    const { entries } = await read("/api/audit?action=PURGE");
    expect(entries.filter((entry: any) => entry.source === "capped" && entry.count === 1)).toHaveLength(3);
  });

  it("reads the rows of its first version", async () => {
    const [one, dead] = [await refused("small"), await refused("small", { body: { omitted: { size_bytes: 5_000_000 } } })];
    await runInDurableObject(store, (_, state) => {
      const sql = state.storage.sql;
      for (const trigger of ["letter_comes", "letter_goes"]) {
        sql.exec(`DROP TRIGGER ${trigger}`);
      }
      for (const table of ["states", "held", "purged", "jobs"]) {
        sql.exec(`DROP TABLE ${table}`);
      }
      sql.exec("DROP INDEX by_worth");
      sql.exec("DELETE FROM letters");
      for (const { letter, inline, id } of [one, dead]) {
        const size = "inline" in letter.body ? letter.body.inline.size_bytes : 5_000_000;
        const values = [id, letter.source, letter.reason, letter.dead_at_ms, 0, size, JSON.stringify(letter), JSON.stringify(inline)];
        sql.exec("INSERT INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?)", ...values);
      }
    });
    await evictDurableObject(store);
    const { deadLetters } = await read("/api/dead-letters?source=small");
    expect(deadLetters.map(({ id, status }: any) => [id, status])).toEqual(
      [one.id, dead.id].toSorted().reverse().map((id) => [id, "stored"]),
    );
    expect((await read("/metrics")).deadLetters).toMatchObject({ stored: 2, replayed: 0 });
    expect((await read(`/api/dead-letters/${one.id}`)).body).toBe(one.body);
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    expect((await read("/metrics")).deadLetters).toMatchObject({ stored: 1, replayed: 1 });
    const [{ bytes: held }] = await runInDurableObject(store, (_, state) =>
      state.storage.sql.exec<{ bytes: number }>("SELECT SUM(bytes) AS bytes FROM held").toArray(),
    );
    expect(held).toBe(bytes(one.body).length);
  });
});
