/**
 * Two thousand requests with known outcomes, while counter objects are evicted, lose flushes before and after they have
 * counted them, and cannot store: in the end the counters are the truth, exactly.
 */

import { evictAllDurableObjects, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";

import { type Answer, deliver, events, eventually, messagingHeaders, post, read, unique, webhooksHeaders } from "./support/client.ts";

const REQUESTS = 2_000;
const AT_ONCE = 100;

/** The consumers have a thousand deliveries and letters to work off, on whatever machine this is. */
const WAIT = { timeout: 90_000, interval: 250 };

/** Sources with what is counted of them; every one but `unavailable` delivers to the archive. */
type Counts = Record<string, number>;
const truth: Record<string, Counts> = {};
const count = (source: string, what: string, n = 1) => {
  truth[source] ??= {};
  truth[source][what] = (truth[source][what] ?? 0) + n;
};

/** The n-th request: whose it is and what it comes to follow from its number. */
function request(n: number): () => Promise<Answer> {
  const kind = (n * 7) % 20;
  if (kind < 10) {
    const eventCount = n % 4;
    count("archive", "accepted");
    count("archive", "events", eventCount);
    return () => deliver("archive", events(eventCount));
  }
  if (kind < 14) {
    count("standard", "missing_signature");
    return () => post("standard", "{}");
  }
  if (kind < 16) {
    count("archive", "invalid_json");
    return async () => post("archive", `${n}:`, await webhooksHeaders(`${n}:`));
  }
  if (kind < 18) {
    count("messaging", "accepted");
    count("messaging", "events");
    return () => deliver("messaging", JSON.stringify({ id: unique("m"), type: "Text", channel: { time: "t" } }), messagingHeaders);
  }
  count("no-secret", "no_active_secret");
  return () => deliver("no-secret");
}

const counters = () => Array.from({ length: 8 }, (_, shard) => env.COUNTERS.getByName(`counters-${shard}`));
const onAll = (statement: string) =>
  Promise.all(counters().map((object) => runInDurableObject(object, (_, state) => void state.storage.sql.exec(statement))));

describe("two thousand requests", () => {
  it("are counted exactly, whatever happens to the counters meanwhile", { timeout: 150_000 }, async () => {
    const statuses: Counts = {};
    let sent = 0;
    const warned = vi.spyOn(console, "warn");
    const failures = () => warned.mock.calls.filter(([line]) => String(line).includes("flush_failed")).length;
    const disturbances = [
      // Nothing that is stored may be counted from what is only in memory.
      () => evictAllDurableObjects(),
      // Half-way: the sums are written when the object finds that it cannot remember the flush.
      () => onAll("CREATE TRIGGER failing BEFORE INSERT ON isolates BEGIN SELECT RAISE(ABORT, 'no room'); END"),
      () => eventually(async () => expect(failures()).toBeGreaterThan(0)),
      () => onAll("DROP TRIGGER failing"),
      // In the middle of whatever the objects are doing: a flush that was counted may lose its answer.
      () => Promise.all(counters().map((object) => runInDurableObject(object, (_, state) => state.abort("a test")).catch(() => {}))),
    ];
    for (let round = 0; sent < REQUESTS; round += 1) {
      const batch = Array.from({ length: AT_ONCE }, (_, index) => request(sent + index));
      sent += batch.length;
      const under_way = batch.map((one) => one());
      warned.mockClear();
      await disturbances[round % disturbances.length]();
      for (const { status } of await Promise.all(under_way)) {
        statuses[status] = (statuses[status] ?? 0) + 1;
      }
    }
    const total = (what: string) => Object.values(truth).reduce((sum, own) => sum + (own[what] ?? 0), 0);
    expect(statuses).toEqual({
      200: total("accepted"),
      400: total("invalid_json"),
      401: total("missing_signature"),
      503: total("no_active_secret"),
    });
    const metrics = await vi.waitFor(async () => {
      // A flush that failed is repeated by the next request's driver: one that is refused at the door of nobody's source.
      const found = await read("/metrics");
      if (found.totalRequests < REQUESTS) {
        await deliver("no-secret");
        count("no-secret", "no_active_secret");
      }
      const expected = Object.values(truth).reduce(
        (sum, own) => sum + Object.entries(own).reduce((all, [what, n]) => (what === "events" ? all : all + n), 0),
        0,
      );
      expect(found.totalRequests).toBe(expected);
      expect(found.accounting.pending).toBe(0);
      return found;
    }, WAIT);
    expect(metrics.missing).toEqual([]);
    expect(metrics.flushFailures, "no flush failed: nothing was tested").toBeGreaterThan(0);
    for (const [source, own] of Object.entries(truth)) {
      const account = metrics.sources[source];
      const { accepted = 0, events: eventCount = 0, no_active_secret, ...refused } = own;
      expect([account.accepted, account.events], source).toEqual([accepted, eventCount]);
      expect(account.refused, source).toEqual(refused);
      expect(account.unavailable, source).toEqual(no_active_secret === undefined ? {} : { no_active_secret });
      const requests = Object.entries(own).reduce((all, [what, n]) => (what === "events" ? all : all + n), 0);
      expect(account.received, source).toBe(requests);
      expect(account.latencyMs.buckets.reduce((sum: number, [, n]: [string, number]) => sum + n, 0), source).toBe(requests);
      expect(account.delivered + account.duplicate, source).toBe(accepted);
    }
    const { accounting } = metrics;
    expect(accounting.received).toBe(accounting.accepted + accounting.refused + accounting.unavailable);
    expect(accounting.accepted).toBe(accounting.delivered + accounting.duplicate + accounting.pending + accounting.dead);
  });
});
