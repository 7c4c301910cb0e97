/** What the caps of a source do: unverified letters go, bodies of verified ones move to segments, where they can be read and replayed. */

import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";

import { api, eventually, pages, read, unique } from "./support/client.ts";
import { acknowledged } from "./support/deliveries.ts";
import { CAPPED_BYTES, CAPPED_LETTERS } from "./support/gateway.ts";
import { expectDelivered, failing, put, refused, replay, replayMany, store } from "./support/letters.ts";
import { DEAD_LETTERS, call, consume, frame, message } from "./support/messages.ts";

const DAY_MS = 86_400_000;
const totals = async () => (await read("/metrics")).deadLetters;
const segments = async () =>
  (await env.PAYLOADS.list({ prefix: "dead-letters/" })).objects.map(({ key }) => key).filter((key) => key.includes("/segment-"));
const remove = async (id: string) => expect((await api(`/api/dead-letters/${id}`, { method: "DELETE" })).status).toBe(204);
/** Verified letters of a source that keeps no body of more than three in rows. */
const verified = (count: number, fields: Record<string, unknown> = {}) =>
  Promise.all(Array.from({ length: count }, () => refused("capped", { verified: true, ...fields })));

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("unverified letters", () => {
  it("go over the cap, the oldest first, counted and audited; a verified one neither goes nor has another go", async () => {
    expect(CAPPED_LETTERS).toBe(3);
    const arrive = async (ms: number, isVerified: boolean) => {
      const { letter, body } = await refused("capped", { dead_at_ms: ms, verified: isVerified });
      const one = message(frame({ kind: "dead_letter", v: 1, ...letter }, body));
      expect(await consume(DEAD_LETTERS, [one])).toEqual(acknowledged({ message: one }));
    };
    const kept = async () => (await read("/api/dead-letters?source=capped")).deadLetters.map((letter: any) => letter.deadAtMs);
    for (const ms of [1, 3, 5]) await arrive(ms, true);
    for (const ms of [2, 4, 6]) await arrive(ms, false);
    expect(await kept()).toEqual([6, 5, 4, 3, 2, 1]);
    expect(await segments()).toEqual([]);
    await arrive(7, false);
    await arrive(8, true);
    expect(await kept()).toEqual([8, 7, 6, 5, 4, 3, 1]);
    expect(await totals()).toMatchObject({ purged: { capped: 1 }, moved: 4 });
    const { entries } = await read("/api/audit?action=PURGE");
    expect(entries).toMatchObject([{ source: "capped", count: 1, actor: "consumer", error: "over the cap" }]);
  });

  it("go over the cap of bytes, to the byte", async () => {
    const stored = async (ms: number, bytes: number, fields: object = {}) => {
      const body = { stored: { key: `payloads/none/${ms}`, size_bytes: bytes, sha256: "ab" } };
      return put({ letter: (await refused("capped-bytes", { dead_at_ms: ms, body, ...fields })).letter });
    };
    const kept = async () => (await read("/api/dead-letters?source=capped-bytes")).deadLetters.map((letter: any) => letter.deadAtMs);
    // What a verified one has in the bucket is in nobody's way.
    await stored(7, CAPPED_BYTES * 2, { verified: true });
    for (const ms of [1, 2, 3, 4]) {
      expect(await stored(ms, CAPPED_BYTES / 4)).toMatchObject({ purged: {}, keys: [] });
    }
    expect(await stored(5, CAPPED_BYTES / 2)).toMatchObject({
      purged: { "capped-bytes": 2 },
      keys: ["payloads/none/1", "payloads/none/2"],
    });
    expect(await kept()).toEqual([7, 5, 4, 3]);
    // One that is more than the cap by itself.
    await stored(6, CAPPED_BYTES + 1);
    expect(await kept()).toEqual([7]);
  });
});

describe("verified letters", () => {
  it("stay, thousands over the cap, with their bodies in few objects and the store small", { timeout: 60_000 }, async () => {
    const before = await totals();
    const body = JSON.stringify({ events: [{ text: "☕".repeat(1_000) }] });
    const ids: string[] = [];
    for (let batch = 0; batch < 25; batch += 1) {
      const letters = (await verified(100)).map((one) => ({
        letter: { ...one.letter, body: { inline: { size_bytes: new TextEncoder().encode(body).length } } },
        inline: { body },
      }));
      ids.push(...letters.map(({ letter }) => letter.id as string));
      expect(await put(...letters)).toMatchObject({ new: 100, purged: {} });
      await put(...(await Promise.all(Array.from({ length: 10 }, () => refused("capped")))));
    }
    const after = await totals();
    expect(after.moved - before.moved).toBe(2_500);
    expect(after.purged.capped - before.purged.capped).toBe(250);
    const listed = (await pages("/api/dead-letters?source=capped&limit=500", "deadLetters")).flat().map(({ id }) => id);
    expect(ids.filter((id) => !listed.includes(id))).toEqual([]);
    // A body has 3 KB.
    expect((after.storageBytes - before.storageBytes) / 2_500).toBeLessThan(1_200);
    expect((await read("/metrics")).storageBytes["dead-letters"]).toBeGreaterThanOrEqual(after.storageBytes);
    for (const id of [ids[0], ids[1_234], ids[2_499]]) {
      expect(await read(`/api/dead-letters/${id}`)).toMatchObject({ body, verified: true, status: "stored" });
    }
    expect((await segments()).length).toBeLessThan(30);
    // One call: no more than a thousand to a segment.
    const many = await segments();
    await put(...(await verified(1_200)));
    expect((await totals()).moved).toBe(after.moved + 1_200);
    expect(await segments()).toHaveLength(many.length + 2);
  });

  it("are replayed from their segment, one and many, whatever bytes they have", async () => {
    const letters = await verified(6);
    await put(...letters);
    const [first, ...others] = letters;
    expect((await replay(first.id)).json).toEqual({ id: first.id, outcome: "replayed" });
    const ids = others.map(({ id }) => id);
    expect((await replayMany({ filter: { ids }, dryRun: true })).json).toMatchObject({ matched: 5, replayed: 5 });
    const { json } = await replayMany({ filter: { ids } });
    await eventually(async () => {
      await runDurableObjectAlarm(store);
      expect(await read(`/api/dead-letters/replays/${json.id}`)).toMatchObject({ state: "done", replayed: 5 });
    });
    await expectDelivered(letters.map(({ id }) => id));
    const raw = await verified(4, { stage: "queue", body: { inline: { size_bytes: 3 } } });
    await put(...raw.map(({ letter }) => ({ letter, inline: { bodyBase64: "/wCA" } })));
    expect(await read(`/api/dead-letters/${raw[1].id}`)).toMatchObject({ bodyBase64: "/wCA" });
    const empty = await verified(4, { body: { inline: { size_bytes: 0 } } });
    await put(...empty.map(({ letter }) => ({ letter, inline: { body: "" } })));
    expect(await read(`/api/dead-letters/${empty[1].id}`)).toMatchObject({ body: "" });
  });

  it("take their segment with them when the last one goes: deleted, or dead again with a body of its own", async () => {
    const before = await segments();
    const letters = await verified(4);
    await put(...letters);
    const [segment] = (await segments()).filter((key) => !before.includes(key));
    const [first, second, third, again] = letters;
    for (const { id } of [first, second, third]) {
      await remove(id);
      expect(await segments()).toContain(segment);
    }
    expect((await read(`/api/dead-letters/${again.id}`)).body).toBe(again.body);
    const { keys } = await put({ ...again, letter: { ...again.letter, replay: 1, dead_at_ms: Date.now() + 1 } });
    expect(keys).toEqual([segment]);
    expect((await read(`/api/dead-letters/${again.id}`)).body).toBe(again.body);
    const { entries } = await read("/api/audit?action=DLQ_DELETE");
    expect(entries.map(({ correlationId, source, actor }: any) => [correlationId, source, actor]).toReversed()).toEqual(
      [first, second, third].map(({ id }) => [id, "capped", "admin"]),
    );
  });

  it("say so where their segment is lost, and are not replayed", async () => {
    const before = await segments();
    const letters = await verified(4);
    await put(...letters);
    const [segment] = (await segments()).filter((key) => !before.includes(key));
    const whole = await (await env.PAYLOADS.get(segment))!.text();
    await env.PAYLOADS.put(segment, whole.replaceAll("events", "EVENTS"));
    for (const spoil of [async () => {}, () => env.PAYLOADS.delete(segment)]) {
      await spoil();
      const { body, bodyLost } = await read(`/api/dead-letters/${letters[2].id}`);
      expect([body, bodyLost]).toEqual([undefined, expect.stringContaining(segment)]);
      expect((await replay(letters[2].id)).json).toMatchObject({ outcome: "skipped", code: "body_lost" });
    }
  });

  it("stay in the store while the bucket fails, and their bodies move when it is back", async () => {
    const [before, { moved }] = [await segments(), await totals()];
    failing(env.PAYLOADS, "put");
    const letters = await verified(5);
    expect(await put(...letters)).toMatchObject({ new: 5 });
    vi.restoreAllMocks();
    expect((await totals()).moved).toBe(moved);
    expect((await read(`/api/dead-letters/${letters[0].id}`)).body).toBe(letters[0].body);
    const [last] = await verified(1);
    await put(last);
    expect((await totals()).moved).toBe(moved + 6);
    expect(await segments()).toHaveLength(before.length + 1);
    expect((await read(`/api/dead-letters/${letters[0].id}`)).body).toBe(letters[0].body);
  });

  it("that go or die again while their bodies are on the way leave nothing behind", async () => {
    const before = await segments();
    const letters = await verified(4);
    const [gone, again] = letters;
    let goOn = false;
    const bucket = Object.getPrototypeOf(env.PAYLOADS);
    const original = bucket.put;
    const writing = vi.spyOn(bucket, "put").mockImplementationOnce(async function (this: unknown, ...args: unknown[]) {
      // A promise of the test cannot be awaited in the object.
      while (!goOn) await scheduler.wait(5);
      return original.apply(this, args);
    });
    const putting = put(...letters);
    await vi.waitFor(() => expect(writing).toHaveBeenCalled());
    await call(store, { delete: { id: gone.id } });
    await put({ ...again, letter: { ...again.letter, replay: 1, dead_at_ms: Date.now() + 1 } });
    goOn = true;
    await putting;
    expect((await api(`/api/dead-letters/${gone.id}`)).status).toBe(404);
    for (const { id, body } of letters.slice(1)) {
      expect((await read(`/api/dead-letters/${id}`)).body).toBe(body);
    }
    const [segment] = (await segments()).filter((key) => !before.includes(key));
    for (const { id } of letters.slice(2)) await remove(id);
    expect(await segments()).not.toContain(segment);
    expect((await read(`/api/dead-letters/${again.id}`)).body).toBe(again.body);
  });
});

describe("retention", () => {
  const retain = async () => (await api("/api/retention", { method: "POST" })).json;

  it("removes a segment with its last letter, and one that a crash left behind by its date", async () => {
    await retain();
    // With them moves what other tests left.
    await put(...(await verified(4)));
    const [now, before] = [Date.now(), await segments()];
    const own = async () => (await segments()).filter((key) => !before.includes(key));
    vi.setSystemTime(now - 60 * DAY_MS);
    await put(...(await verified(4)));
    const [segment] = await own();
    const orphan = segment.replace(/segment-.*/, `segment-${unique("orphan")}`);
    await env.PAYLOADS.put(orphan, "bodies");
    vi.setSystemTime(now);
    // Some of its letters are old.
    const mixed = [...(await verified(2, { dead_at_ms: now - 31 * DAY_MS })), ...(await verified(2))];
    await put(...mixed);
    expect(await own()).toHaveLength(3);
    expect(await retain()).toMatchObject({ deadLetters: 6, bodies: 1, failures: 0, unfinished: false });
    const left = await own();
    expect(left).toHaveLength(1);
    expect([segment, orphan]).not.toContain(left[0]);
    for (const { id, body } of mixed.slice(2)) {
      expect((await read(`/api/dead-letters/${id}`)).body).toBe(body);
    }
    expect((await read("/metrics")).health.retention).toEqual({ endedAtMs: expect.any(Number), failures: 0, unfinished: false });
  });

  it("tells what it left over", async () => {
    failing(env.PAYLOADS, "list");
    expect(await retain()).toMatchObject({ failures: 2, unfinished: true });
    vi.restoreAllMocks();
    expect((await api("/metrics?format=prometheus")).text).toContain("\ngenesys_gateway_retention_unfinished 1.0\n");
    await retain();
    expect((await api("/metrics?format=prometheus")).text).toContain("\ngenesys_gateway_retention_unfinished 0.0\n");
  });
});
