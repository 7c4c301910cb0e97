/**
 * Ten thousand deliveries through the consumer while a tenth of all attempts fails in every way that a destination, a queue and
 * a store have: at the end each of them was taken by its destination exactly once or is a dead letter, by the books of the sink,
 * the bucket, the dead letters and the ledger, delivery by delivery. Only a delivery whose settlement never reached the ledger
 * may come twice: nobody knows of it that it was taken.
 *
 * The test plays the queue: it delivers in batches of 50, several at once, in any order, some of them again, and redelivers what
 * was put off when it is due. Time is moved, not waited for. Out of scope: consumers that die after the destination has answered
 * or after the time limit (such a delivery is repeated, see `destinations.test.ts`).
 */

import { env } from "cloudflare:workers";
import { afterAll, beforeAll, expect, it, vi } from "vitest";

import { bytes, hex, pages, read } from "./support/client.ts";
import { parcel } from "./support/deliveries.ts";
import { DELIVERIES, type Message, call, consume, ledgerPlace, message } from "./support/messages.ts";
import { control, sink } from "./support/sink.ts";
import { CROWD_SCHEDULE_S, sinkName } from "./support/gateway.ts";

/** As `wrangler.toml` has it. */
const BATCH = 50;

/** Batches that are worked on at once. */
const CONCURRENCY = 8;

const DELIVERIES_COUNT = 10_000;

/** What is due within so many seconds is delivered together: a queue is not punctual. */
const SLACK_MS = 3_000;

/**
 * Faults of the sinks, by probability at each request; a tenth together. The few that do not answer at all take their whole time
 * limit, in real time, beside the rest.
 */
const FAULTS = [
  { delayMs: 600_000, times: 3 },
  { status: 500, probability: 0.04 },
  // Each holds its destination.
  { status: 503, retryAfterS: 12, times: 2 },
  { status: 429, retryAfterS: 2, httpDate: true, times: 2 },
  { status: 503, probability: 0.02 },
  { status: 429, probability: 0.01 },
  { cut: true, probability: 0.02 },
  { status: 410, probability: 0.01 },
];

const SOURCES = ["crowd-a", "crowd-a", "crowd-b", "crowd-b", "crowd-archive"];

/** One idempotency key: what was received under it, and what a test did to it. */
interface Case {
  source: string;
  ids: string[];
  digest: string;
  /** Its body is not where its messages say: it cannot be delivered. */
  bodyMissing: boolean;
}

/** A small generator, so that a run can be repeated (xorshift32). */
let seed = 20_261_124;
function random(): number {
  seed ^= seed << 13;
  seed ^= seed >>> 17;
  seed ^= seed << 5;
  return (seed >>> 0) / 2 ** 32;
}

const chance = (probability: number) => random() < probability;

async function sha256(text: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes(text))));
}

/** Deliveries of which a settlement was lost on its way to the ledger. */
const unsettled = new Set<string>();

/** What the platform did to the gateway, by kind. */
const platformFaults: Record<string, number> = {};

/**
 * For so long of the time that is moved: the sinks take signatures of five minutes around their own time, and a claim that was
 * lost takes two and a half of them.
 */
const STRIKES_MS = 60_000;

let startMs = 0;

function strikes(kind: string, probability: number, most = Infinity): boolean {
  if (!chance(probability) || Date.now() - startMs > STRIKES_MS || (platformFaults[kind] ?? 0) >= most) {
    return false;
  }
  platformFaults[kind] = (platformFaults[kind] ?? 0) + 1;
  return true;
}

/** Calls that never arrive, and calls that arrive and whose answer is lost. The Worker shares the prototypes of its tests. */
function breakThePlatform() {
  const away = () => Promise.reject(new Error("away"));
  const namespace = Object.getPrototypeOf(env.DELIVERY_LEDGER);
  const { getByName } = namespace;
  vi.spyOn(namespace, "getByName").mockImplementation(function (this: unknown, ...given: unknown[]) {
    const stub = getByName.apply(this, given);
    const fetch = async (url: string, init: { body: string }) => {
      const [call] = /^{"\w+"/.exec(init.body) ?? [""];
      if (call === '{"put"' && strikes("storeAway", 1, 2)) {
        return away();
      }
      if (call === '{"claim"' || call === '{"settle"' || call === '{"give_up"') {
        if (strikes(`${call.slice(2, -1)}Away`, call === '{"give_up"' ? 0.01 : 0.02)) {
          for (const { id, outcome } of call === '{"settle"' ? JSON.parse(init.body).settle.items : []) {
            if (outcome === "delivered") {
              unsettled.add(id);
            }
          }
          return away();
        }
        const answer = await stub.fetch(url, init);
        return strikes(`${call.slice(2, -1)}Unheard`, call === '{"give_up"' ? 0.01 : 0.02) ? away() : answer;
      }
      return stub.fetch(url, init);
    };
    return { fetch };
  });
  const wrap = (binding: object, method: string, away: number, unheard: number) => {
    const prototype = Object.getPrototypeOf(binding);
    const original = prototype[method];
    vi.spyOn(prototype, method).mockImplementation(async function (this: unknown, ...given: unknown[]) {
      if (strikes(`${method}Away`, away)) {
        throw new Error("away");
      }
      const answer = await original.apply(this, given);
      if (strikes(`${method}Unheard`, unheard)) {
        throw new Error("unheard");
      }
      return answer;
    });
  };
  wrap(env.DEAD_LETTERS, "send", 0.05, 0.05);
  wrap(env.PAYLOADS, "get", 0.1, 0);
  wrap(env.PAYLOADS, "put", 0.01, 0.01);
}

interface Due {
  atMs: number;
  message: Message;
}

/** The messages of one key, and the consumer that died with it in its hands, sometimes. */
async function makeCase(index: number, nowMs: number): Promise<{ one: Case; messages: Due[] }> {
  const source = SOURCES[index % SOURCES.length];
  const body = JSON.stringify({ events: [{ eventType: "call:created", index }] });
  const digest = await sha256(body);
  const one: Case = { source, ids: [], digest, bodyMissing: chance(0.01) };
  const dedupe_key = `crowd-${index}`;
  const messages: Due[] = [];
  const add = (atMs: number, stored: boolean) => {
    const key = `payloads/2026/11/24/${source}/${index}`;
    const reference = stored ? { body: { stored: { key, size_bytes: body.length, sha256: digest } } } : {};
    const made = parcel(source, { dedupe_key, ...reference }, stored ? "" : body);
    one.ids.push(made.id);
    messages.push({ atMs, message: made.message });
    return made;
  };
  const stored = one.bodyMissing || chance(0.02);
  if (stored && !one.bodyMissing) {
    await env.PAYLOADS.put(`payloads/2026/11/24/${source}/${index}`, body);
  }
  const first = add(nowMs, stored);
  if (chance(0.02)) {
    // The same message twice.
    messages.push({ atMs: nowMs + (chance(0.5) ? 0 : 20_000), message: message(first.message.body) });
  }
  if (!stored && chance(0.03)) {
    // Another delivery with the same key, in the same batch or later.
    add(nowMs + (chance(0.5) ? 0 : 20_000), false);
  }
  if (chance(0.01)) {
    const { key, shard } = ledgerPlace(source, dedupe_key);
    const item = { id: first.id, key, source, received_at_ms: nowMs, event_count: 1, size_bytes: body.length };
    await call(env.DELIVERY_LEDGER.getByName(shard), { claim: { items: [item] } });
  }
  return { one, messages };
}

/** Works on all of them, so many at once; results in the order of the list. */
async function inParallel<T, R>(all: T[], atOnce: number, work: (one: T) => Promise<R>): Promise<R[]> {
  const done: R[] = [];
  let next = 0;
  const worker = async () => {
    while (next < all.length) {
      const index = next;
      next += 1;
      done[index] = await work(all[index]);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return done;
}

/** Delivers a batch as a queue does, and says when what is left of it is due. */
async function deliverBatch(batch: Due[], counts: Record<string, number>): Promise<Due[]> {
  const messages = batch.map(({ message }) => message);
  if (chance(0.05)) {
    // Half of it was done, and nobody heard of it.
    await consume(DELIVERIES, messages.slice(0, BATCH / 2));
    counts.halfDone += 1;
  }
  const { acknowledged, putOff } = await consume(DELIVERIES, messages);
  expect(acknowledged.length + putOff.length).toBe(messages.length);
  if (chance(0.02)) {
    // All of it was done, and nobody heard of it.
    counts.repeated += 1;
    return batch.map(({ message }) => ({ atMs: Date.now() + 5_000, message: { ...message, attempts: message.attempts + 1 } }));
  }
  const byId = new Map(messages.map((one) => [one.id, one]));
  return putOff.map(({ msgId, delaySeconds }) => {
    const one = byId.get(msgId) as Message;
    return { atMs: Date.now() + (delaySeconds as number) * 1000, message: { ...one, attempts: one.attempts + 1 } };
  });
}

function shuffle<T>(list: T[]): T[] {
  for (let index = list.length - 1; index > 0; index -= 1) {
    const other = Math.floor(random() * (index + 1));
    [list[index], list[other]] = [list[other], list[index]];
  }
  return list;
}

/** How often the sink of a source accepted each body. */
async function acceptedBy(source: string): Promise<Map<string, number>> {
  const accepted = new Map<string, number>();
  for (let offset: number | null = 0; offset !== null; ) {
    const page: any = await control("GET", `sink/${sinkName(env.RUN, source)}/arrivals?limit=5000&offset=${offset}`);
    for (const { digest, accepted: count } of page.arrivals) {
      accepted.set(digest, count);
    }
    offset = page.nextOffset;
  }
  return accepted;
}

/** The identifiers that the archive has of a source. */
async function archivedOf(source: string): Promise<Set<string>> {
  const ids = new Set<string>();
  let cursor: string | undefined;
  do {
    const page: any = await env.PAYLOADS.list({ prefix: `deliveries/${source}/`, cursor });
    for (const { key } of page.objects) {
      ids.add(key.slice(key.lastIndexOf("/") + 1, -".json".length));
    }
    cursor = page.truncated ? page.cursor : undefined;
  } while (cursor);
  return ids;
}

/** What all objects of the ledger know of a source together. */
async function ledgerTotals(source: string) {
  const sums = { delivered: 0, duplicate: 0, dead: 0, pending: 0 };
  for (let shard = 0; shard < 16; shard += 1) {
    const { sources } = await call(env.DELIVERY_LEDGER.getByName(`ledger-${shard}`), "totals");
    for (const field of Object.keys(sums) as (keyof typeof sums)[]) {
      sums[field] += sources[source]?.[field] ?? 0;
    }
  }
  return sums;
}

beforeAll(async () => {
  for (const source of ["crowd-a", "crowd-b"]) {
    await sink(source).verify();
    for (const fault of FAULTS) {
      await sink(source).behave(fault);
    }
  }
});

afterAll(() => void vi.useRealTimers());

it("10,000 deliveries with a tenth of faults: each is delivered once or dead, none lost, none twice", { timeout: 600_000 }, async () => {
  const began = performance.now();
  let nowMs = Date.now();
  vi.setSystemTime(nowMs);
  const indices = Array.from({ length: DELIVERIES_COUNT }, (_, index) => index);
  const made = await inParallel(indices, 50, (index) => makeCase(index, nowMs));
  // Bursts of one source each; what comes again later is mixed.
  const bursts = [...new Set(SOURCES)].map((source) => shuffle(made.filter(({ one }) => one.source === source).flatMap(({ messages }) => messages)));
  let waiting = bursts.flat();
  const sent = waiting.length;
  const counts = { halfDone: 0, repeated: 0, batches: 0 };
  startMs = nowMs;
  breakThePlatform();
  while (waiting.length > 0) {
    nowMs = Math.max(nowMs, waiting.reduce((least, { atMs }) => Math.min(least, atMs), Infinity) + SLACK_MS);
    vi.setSystemTime(nowMs);
    const due = waiting.filter(({ atMs }) => atMs <= nowMs);
    waiting = waiting.filter(({ atMs }) => atMs > nowMs);
    const batches = Array.from({ length: Math.ceil(due.length / BATCH) }, (_, n) => due.slice(n * BATCH, (n + 1) * BATCH));
    counts.batches += batches.length;
    waiting.push(...(await inParallel(batches, CONCURRENCY, (batch) => deliverBatch(batch, counts))).flat());
  }

  vi.restoreAllMocks();
  for (const kind of ["claimAway", "claimUnheard", "settleAway", "settleUnheard", "sendAway", "sendUnheard", "getAway", "putAway", "storeAway"]) {
    expect(platformFaults[kind], kind).toBeGreaterThan(0);
  }
  const truth: Record<string, { delivered: number; duplicate: number; dead: number }> = {};
  const reasons: Record<string, number> = {};
  for (const source of new Set(SOURCES)) {
    const cases = made.map(({ one }) => one).filter((one) => one.source === source);
    const letters: any[] = [];
    let totals = await ledgerTotals(source);
    // A store that is away has its letters put off for half a minute. One that is done with is of what was delivered after all.
    const settled = async () => {
      const all = (await pages(`/api/dead-letters?source=${source}&limit=500`, "deadLetters")).flat();
      letters.splice(0, letters.length, ...all.filter(({ status }) => status === "stored"));
      totals = await ledgerTotals(source);
      expect([letters.length, totals.pending]).toEqual([totals.dead, 0]);
    };
    await vi.waitFor(settled, { timeout: 100_000, interval: 500 });
    const reasonOf = new Map(letters.map(({ id, reason }) => [id, reason]));
    expect(reasonOf.size).toBe(letters.length);
    const accepted = source === "crowd-archive" ? undefined : await acceptedBy(source);
    const archived = source === "crowd-archive" ? await archivedOf(source) : undefined;
    const wrong: unknown[] = [];
    const found = { delivered: 0, duplicate: 0, dead: 0 };
    let again = 0;
    for (const one of cases) {
      const times = accepted ? (accepted.get(one.digest) ?? 0) : one.ids.filter((id) => archived?.has(id)).length;
      const dead = one.ids.filter((id) => reasonOf.has(id));
      // Nobody knew that it was taken: it was tried again, and may have been taken again or given up.
      const isExcused = one.ids.some((id) => unsettled.has(id));
      const isRight = isExcused ? times >= 1 && dead.length <= 1 : times + dead.length === 1 && (!one.bodyMissing || dead.length === 1);
      if (!isRight) {
        wrong.push({ ...one, times, dead, rows: await Promise.all(one.ids.map((id) => read(`/api/deliveries/${id}`))) });
      }
      found.delivered += dead.length === 0 ? 1 : 0;
      again += times - (dead.length === 0 ? 1 : 0);
      found.dead += dead.length;
      found.duplicate += one.ids.length - 1;
      for (const id of dead) {
        const reason = reasonOf.get(id) as string;
        reasons[reason] = (reasons[reason] ?? 0) + 1;
      }
    }
    expect(wrong).toEqual([]);
    expect(totals).toEqual({ ...found, pending: 0 });
    truth[source] = found;
    if (accepted) {
      const report = await sink(source).report();
      expect([report.accepted, report.duplicates, report.untracked, report.badSignatures]).toEqual([found.delivered + again, expect.any(Number), 0, 0]);
      expect(report.duplicates).toBeLessThanOrEqual(again);
      // Every fault did happen.
      for (const status of [0, 410, 429, 500, 503]) {
        expect(report.answers[status], `${status}`).toBeGreaterThan(0);
      }
    }
  }
  expect(Object.keys(reasons).toSorted()).toEqual(["body_unavailable", "destination_gone", "retries_exhausted"]);
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  console.log(JSON.stringify({ sent, ...counts, platformFaults, unsettled: unsettled.size, reasons, truth, schedule: CROWD_SCHEDULE_S, seconds }));
});
