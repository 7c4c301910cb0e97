/** The Durable Objects that count and remember: each alone, through the calls that the Worker makes. */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";

import { api, pages, read, unique } from "./support/client.ts";
import { call, deliveryId, ledgerPlace } from "./support/messages.ts";

describe("a counter object", () => {
  const object = () => env.COUNTERS.getByName("counters-3");
  const flush = (isolate: string, seq: number, n: number) =>
    call(object(), {
      add: {
        v: 1,
        isolate,
        seq,
        at_ms: Date.now(),
        deltas: [
          [["received", "counted", ""], n],
          [["refused", "counted", "invalid_json"], 1],
        ],
      },
    });
  const sums = async () => {
    const { series } = await call(object(), "read");
    return Object.fromEntries(
      series.map(([[metric, , label], value]: [string[], number]) => [`${metric} ${label}`.trim(), value]),
    );
  };

  it("counts a flush once, however often it arrives", async () => {
    await flush("isolate-a", 1, 5);
    await flush("isolate-a", 1, 5);
    await flush("isolate-a", 2, 7);
    await flush("isolate-a", 1, 5);
    await flush("isolate-a", 2, 7);
    expect(await sums()).toEqual({ received: 12, "refused invalid_json": 2 });
  });

  it("tells isolates apart", async () => {
    await flush("isolate-b", 1, 100);
    expect(await sums()).toEqual({ received: 112, "refused invalid_json": 3 });
  });

  it("keeps sums and numbers through its eviction", async () => {
    await evictDurableObject(object());
    expect(await sums()).toEqual({ received: 112, "refused invalid_json": 3 });
    await flush("isolate-a", 2, 7);
    await evictDurableObject(object());
    await flush("isolate-a", 3, 1);
    expect(await sums()).toEqual({ received: 113, "refused invalid_json": 4 });
  });

  it("counts a hundred flushes at once exactly, repeated ones once", async () => {
    const before = (await sums()).received;
    await Promise.all(Array.from({ length: 100 }, (_, index) => flush(`isolate-${unique("many")}-${index}`, 1, index)));
    await Promise.all(Array.from({ length: 20 }, () => flush("isolate-repeated", 1, 1)));
    expect((await sums()).received).toBe(before + 4_950 + 1);
  });

  it("counts nothing of a flush of which it understands only a part", async () => {
    const before = await sums();
    const deltas = [
      [["received", "counted", ""], 1],
      [["unheard_of", "counted", ""], 1],
    ];
    await expect(call(object(), { add: { v: 1, isolate: "isolate-new", seq: 1, at_ms: 1, deltas } })).rejects.toThrow(/^400: /);
    expect(await sums()).toEqual(before);
  });

  it("counts nothing of a flush that fails half-way, and all of it when it is repeated", async () => {
    const before = await sums();
    const sql = (statement: string) =>
      runInDurableObject(object(), (_, state) => void state.storage.sql.exec(statement));
    await sql("CREATE TRIGGER failing BEFORE INSERT ON isolates BEGIN SELECT RAISE(ABORT, 'no room'); END");
    await expect(flush("isolate-half", 1, 1_000)).rejects.toThrow(/^500: .*no room/);
    expect(await sums()).toEqual(before);
    await sql("DROP TRIGGER failing");
    await flush("isolate-half", 1, 1_000);
    expect((await sums()).received).toBe(before.received + 1_000);
  });

  it("remembers when each source was last heard of, as exactly as a second", async () => {
    const tell = (seq: number, metric: string, at_ms: number) =>
      call(object(), { add: { v: 1, isolate: "isolate-seen", seq, deltas: [[[metric, "heard", ""], 1]], at_ms } });
    const heard = async () =>
      (await call(object(), "read")).seen.find(({ source }: { source: string }) => source === "heard");
    expect(await heard()).toBeUndefined();
    await tell(2, "received", 50_000);
    expect(await heard()).toEqual({ source: "heard", request_ms: 50_000 });
    await tell(3, "accepted", 51_500);
    // Late news changes nothing, and neither does what is a moment younger.
    await tell(4, "received", 20_000);
    await tell(5, "received", 50_900);
    await evictDurableObject(object());
    expect(await heard()).toEqual({ source: "heard", request_ms: 50_000, delivery_ms: 51_500 });
    await tell(6, "received", 51_001);
    expect(await heard()).toEqual({ source: "heard", request_ms: 51_001, delivery_ms: 51_500 });
  });

  it("reports nothing of a metric that another version counted", async () => {
    await runInDurableObject(
      object(),
      (_, state) => void state.storage.sql.exec("INSERT INTO series VALUES ('of_tomorrow', 'counted', '', 9)"),
    );
    expect(await sums()).not.toHaveProperty("of_tomorrow");
  });

  it("is read by /metrics wherever it is", async () => {
    for (const [shard, n] of [["counters-0", 2], ["counters-7", 3]] as [string, number][]) {
      const deltas = ["received", "accepted"].map((metric) => [[metric, "spread", ""], n]);
      await call(env.COUNTERS.getByName(shard), { add: { v: 1, isolate: "z", seq: 1, at_ms: 1, deltas } });
    }
    expect((await read("/metrics")).sources.spread).toMatchObject({ received: 5, accepted: 5, queued: 5, pending: 5 });
  });
});

describe("the ledger", () => {
  const object = env.DELIVERY_LEDGER.getByName("ledger-5");
  const claim = (id: string, key: string, fields: object = {}) =>
    call(object, {
      claim: { items: [{ id, key, source: "ledgered", received_at_ms: 1_000, event_count: 1, size_bytes: 2, ...fields }] },
    });
  const settle = (id: string, attempt: number, outcome: unknown) =>
    call(object, { settle: { items: [{ id, attempt, outcome }] } });
  const totals = async () => (await call(object, "totals")).sources.ledgered;
  const RETRY = { retry: { next_attempt_ms: 5_000 } };

  it("counts in step with its rows, also through its eviction", async () => {
    const [a, b, c, d] = Array.from({ length: 4 }, () => deliveryId());
    const [first, second, third] = ["k1", "k2", "k3"].map((name) => unique(name));
    expect(await claim(a, first)).toEqual([{ proceed: { attempt: 1 } }]);
    expect(await totals()).toEqual({ delivered: 0, duplicate: 0, dead: 0, retries: 0, readmitted: 0, revived: 0, pending: 1, oldest_pending_ms: 1_000 });
    expect(await claim(b, first)).toEqual([{ duplicate: { of: a } }]);
    expect((await settle(a, 1, RETRY)).counted).toBe(1);
    expect(await claim(a, first)).toEqual([{ proceed: { attempt: 2 } }]);
    expect((await settle(a, 2, "delivered")).counted).toBe(1);
    expect(await claim(c, second, { received_at_ms: 500 })).toEqual([{ proceed: { attempt: 1 } }]);
    expect((await settle(c, 1, { dead: { reason: "destination_gone" } })).counted).toBe(1);
    await claim(d, third, { received_at_ms: 700 });
    const expected = { delivered: 1, duplicate: 1, dead: 1, retries: 1, readmitted: 0, revived: 0, pending: 1, oldest_pending_ms: 700 };
    expect(await totals()).toEqual(expected);
    await evictDurableObject(object);
    expect(await totals()).toEqual(expected);
    // What was settled stays settled, and what is reported late counts only where it is good news.
    expect(await claim(a, first)).toEqual([{ settled: { state: "delivered" } }]);
    expect(await claim(b, first)).toEqual([{ settled: { state: "duplicate" } }]);
    expect((await settle(a, 2, "delivered")).counted).toBe(0);
    expect((await settle(d, 7, RETRY)).counted).toBe(0);
    expect(await totals()).toEqual(expected);
    expect(await settle(c, 1, "delivered")).toEqual({ counted: 1, revived: [c] });
    expect(await totals()).toEqual({ ...expected, delivered: 2, dead: 0, revived: 1 });
  });

  it("lets one of many claims at once proceed", async () => {
    const key = unique("contended");
    const claims = (await Promise.all(Array.from({ length: 30 }, () => claim(deliveryId(), key)))).flat();
    expect(claims.filter((one) => one.proceed)).toHaveLength(1);
    expect(claims.filter((one) => one.duplicate)).toHaveLength(29);
  });

  it("gives a claim up when its lease has run out, and not a millisecond before", async () => {
    const [id, key, start] = [deliveryId(), unique("leased"), Date.now()];
    vi.setSystemTime(start);
    await claim(id, key);
    vi.setSystemTime(start + 149_999);
    expect(await claim(id, key)).toEqual([{ busy: { until_ms: start + 150_000 } }]);
    vi.setSystemTime(start + 150_000);
    expect(await claim(id, key)).toEqual([{ proceed: { attempt: 2 } }]);
    vi.useRealTimers();
    // Whoever held it before has nothing to say any more, except that it was delivered.
    expect((await settle(id, 1, RETRY)).counted).toBe(0);
    expect((await settle(id, 1, "delivered")).counted).toBe(1);
  });

  it("takes back what was given up where somebody replays it, once", async () => {
    const [id, key] = [deliveryId(), unique("replayed")];
    await claim(id, key);
    await settle(id, 1, { dead: { reason: "retries_exhausted" } });
    const before = await totals();
    expect(await claim(id, key)).toEqual([{ settled: { state: "dead" } }]);
    expect(await claim(id, key, { replay: 1 })).toEqual([{ proceed: { attempt: 1 } }]);
    expect((await claim(id, key, { replay: 1 }))[0]).toHaveProperty("busy");
    await settle(id, 1, "delivered");
    // What has died so far has not become less.
    const [dead, revived, delivered] = [before.dead - 1, before.revived + 1, before.delivered + 1];
    expect(await totals()).toMatchObject({ dead, revived, delivered });
    // Tallies of a version that knows more than this one.
    await runInDurableObject(object, (_, state) => void state.storage.sql.exec("INSERT INTO totals VALUES ('archive', 'tomorrow', 5)"));
    expect(await totals()).toMatchObject({ dead, revived, delivered });
    expect(await claim(id, key, { replay: 2 })).toEqual([{ settled: { state: "delivered" } }]);
  });

  it("answers a call that it does not understand with an error, and lives on", async () => {
    await expect(call(object, { claim: {} })).rejects.toThrow(/^400: \{"call_not_understood":/);
    await expect(call(object, "no call")).rejects.toThrow(/^400: \{"call_not_understood":/);
    expect(await totals()).toEqual(expect.any(Object));
  });
});

describe("/api/deliveries", () => {
  const START_MS = 3_000_000_000_000;

  /** Enters a delivery into the ledger that its key belongs to. */
  async function enter(receivedAtMs: number, outcome: unknown, source = "listed"): Promise<string> {
    const [id, name] = [deliveryId(receivedAtMs), unique("listed")];
    const { key, shard } = ledgerPlace(source, name);
    const object = env.DELIVERY_LEDGER.getByName(shard);
    await call(object, {
      claim: { items: [{ id, key, source, received_at_ms: receivedAtMs, event_count: 1, size_bytes: 2 }] },
    });
    if (outcome) {
      await call(object, { settle: { items: [{ id, attempt: 1, outcome, status: 500, error: "HTTP 500: " }] } });
    }
    return id;
  }

  const OUTCOMES: [string, unknown][] = [
    ["delivered", "delivered"],
    ["waiting", { retry: { next_attempt_ms: 1 } }],
    ["dead", { dead: { reason: "x" } }],
    ["claimed", null],
  ];
  const entered: { id: string; at: number; status: string }[] = [];
  const ids = (rows: { id: string }[]) => rows.map(({ id }) => id);
  const newestFirst = (status?: string) =>
    ids(
      entered
        .filter((one) => status === undefined || one.status === status)
        .sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1)),
    );

  beforeAll(async () => {
    for (let index = 0; index < 40; index += 1) {
      const [status, outcome] = OUTCOMES[index % 4];
      // Pairs of the same millisecond, spread over all shards by their keys.
      const at = START_MS + Math.floor(index / 2);
      entered.push({ id: await enter(at, outcome), at, status });
    }
  });

  it.each([1, 7, 39, 40, 41])("lists all shards by time, newest first, each delivery once: %i a page", async (limit) => {
    const found = await pages(`/api/deliveries?source=listed&limit=${limit}`, "deliveries");
    expect(ids(found.flat())).toEqual(newestFirst());
  });

  it("is not disturbed by deliveries that arrive while somebody reads", async () => {
    let later = START_MS + 1_000;
    const found = await pages("/api/deliveries?source=listed&limit=6", "deliveries", async () => {
      later += 1;
      entered.push({ id: await enter(later, "delivered"), at: later, status: "delivered" });
    });
    expect(ids(found.flat())).toEqual(newestFirst().filter((id) => found.flat().some((row) => row.id === id)));
    expect(found.flat()).toHaveLength(40);
  });

  it.each(OUTCOMES.map(([status]) => status))("filters by status: %s", async (status) => {
    const { deliveries } = await read(`/api/deliveries?source=listed&status=${status}&limit=500`);
    expect(ids(deliveries)).toEqual(newestFirst(status));
    expect(deliveries.every((row: { status: string }) => row.status === status)).toBe(true);
  });

  it("filters by source", async () => {
    const id = await enter(START_MS, "delivered", "other");
    expect(ids((await read("/api/deliveries?source=other")).deliveries)).toEqual([id]);
    expect(await read("/api/deliveries?source=nobody")).toEqual({ deliveries: [], nextCursor: null });
  });

  it("reads one from whichever shard has it", async () => {
    for (const { id, status } of entered.slice(0, 8)) {
      expect(await read(`/api/deliveries/${id}`)).toMatchObject({
        id,
        source: "listed",
        status,
        attempts: 1,
        eventCount: 1,
        sizeBytes: 2,
        replay: 0,
      });
    }
    for (const id of [deliveryId(), "nonsense", "01ARYZ6S41", "..", "%00"]) {
      expect((await api(`/api/deliveries/${id}`)).status, id).toBe(404);
    }
  });
});
