/** Replays of many dead letters: jobs that outlive evictions, failures and crashes. */

import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";

import { api, eventually, read } from "./support/client.ts";
import { account, expectDelivered, failing, put, refused, refusedMany, replayMany, store } from "./support/letters.ts";

afterEach(() => void vi.restoreAllMocks());

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

  it("are cut in a dry run where there are more than it judges", async () => {
    await refusedMany("slow", 201);
    const { status, json } = await replayMany({ filter: { source: "slow" }, dryRun: true });
    expect([status, json]).toMatchObject([200, { state: "done", cut: true, matched: 200, replayed: 200 }]);
    await runInDurableObject(store, (_, state) => void state.storage.sql.exec("DELETE FROM letters WHERE source = 'slow'"));
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

  it("a job goes past a letter with which no step has ended, and says so", async () => {
    const ids = await refusedMany("unsigned", 3);
    failing(env.DELIVERIES, "send");
    const { json } = await replayMany({ filter: { ids } });
    expect(json).toMatchObject({ state: "running", stalls: 1 });
    vi.restoreAllMocks();
    // As the eleventh step left it, which took the object down.
    const crashed = "UPDATE jobs SET job = json_set(job, '$.stalls', 11) WHERE id = ?";
    await runInDurableObject(store, (_, state) => void state.storage.sql.exec(crashed, json.id));
    await eventually(async () => {
      await runDurableObjectAlarm(store);
      const job = await read(`/api/dead-letters/replays/${json.id}`);
      expect(job).toMatchObject({ state: "done", matched: 3, replayed: 2, skipped: 1, byCode: { crashed: 1 }, stalls: 0 });
    });
    expect((await read(`/api/dead-letters/${ids.toSorted()[0]}`)).status).toBe("stored");
    const { entries } = await read("/api/audit?action=REPLAY&limit=500");
    expect(entries).toContainEqual(expect.objectContaining({ correlationId: ids.toSorted()[0], error: "crashed" }));
    await expectDelivered(ids.toSorted().slice(1));
  });

  it("a step that has not ended is known as one that failed, and large letters go one by one", async () => {
    const large = { stored: { key: "payloads/large", size_bytes: 5_000_000, sha256: "ab" } };
    const letters = await Promise.all([1, 2, 3].map(() => refused("unsigned", { body: large })));
    await put(...letters.map(({ letter }) => ({ letter })));
    let [reads, most] = [0, 0];
    const stalls: number[] = [];
    vi.spyOn(Object.getPrototypeOf(env.PAYLOADS), "get").mockImplementation(async () => {
      most = Math.max(most, (reads += 1));
      const { replays } = await read("/api/dead-letters/replays");
      stalls.push(replays[0].stalls);
      reads -= 1;
      return null;
    });
    const { json } = await replayMany({ filter: { ids: letters.map(({ id }) => id) } });
    expect(json).toMatchObject({ state: "done", matched: 3, skipped: 3, byCode: { body_lost: 3 }, stalls: 0 });
    expect([most, stalls]).toEqual([1, [1, 1, 1]]);
  });
});
