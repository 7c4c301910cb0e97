/** The audit trail as files: written in segments, verified by their anchors, removed from the log only then. */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";

import { api, read, sha256 } from "./support/client.ts";
import { call } from "./support/messages.ts";

const SEGMENT = 1_000;
const ENTRIES = 2_500;
const DAY_MS = 86_400_000;
const KEYS = ["audit/000000000001-000000001000.jsonl", "audit/000000001001-000000002000.jsonl"];

const log = () => env.AUDIT_LOG.getByName("audit");
const retain = async () => {
  const answer = await api("/api/retention", { method: "POST" });
  expect(answer.status, answer.text).toBe(200);
  return answer.json;
};
const append = (from: number, count: number) =>
  call(log(), {
    append: {
      drafts: Array.from({ length: count }, (_, offset) => ({
        action: "CREATE",
        actor: "admin",
        source: `source-${(from + offset) % 10}`,
        userAgent: "tests/1",
      })),
    },
  });
const stored = async (key: string) => (await env.PAYLOADS.get(key))?.text() as Promise<string>;
const numbers = (lines: string) => lines.split("\n").filter(Boolean).map((line) => JSON.parse(line).seq);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** All pages of the export. */
async function exported(from = 1): Promise<number[]> {
  const found: number[] = [];
  for (let next: string | null = String(from); next !== null;) {
    const page = await api(`/api/audit/export?from=${next}&limit=700`);
    expect([page.status, page.headers.get("content-type")]).toEqual([200, "application/x-ndjson"]);
    found.push(...numbers(page.text));
    next = page.headers.get("x-next-from");
  }
  return found;
}

const start = Date.now();

beforeAll(async () => {
  vi.setSystemTime(start);
  for (let from = 0; from < ENTRIES; from += 250) {
    vi.setSystemTime(start + from);
    await append(from, 250);
  }
});

afterAll(() => {
  vi.useRealTimers();
});

it("is listed by source and time", async () => {
  const list = async (query: string) => (await read(`/api/audit?limit=500&${query}`)).entries.map(({ seq }: any) => seq);
  const bySource = await list("source=source-3");
  expect(bySource).toHaveLength(ENTRIES / 10);
  expect(bySource.every((seq: number) => seq % 10 === 4)).toBe(true);
  const iso = (ms: number) => new Date(start + ms).toISOString();
  expect((await list(`since=${iso(250)}&until=${iso(500)}`)).toReversed()).toEqual(range(251, 500));
  expect(await list(`until=${iso(0)}`)).toEqual([]);
  const bad = await api("/api/audit?since=yesterday");
  expect([bad.status, bad.json.code]).toEqual([400, "invalid_parameter"]);
});

it("is exported whole before anything was written to files", async () => {
  expect(await exported()).toEqual(range(1, ENTRIES));
  expect(await exported(2_499)).toEqual([2_499, 2_500]);
  expect(await exported(ENTRIES + 1)).toEqual([]);
});

it("is written in complete segments, once", async () => {
  expect(await retain()).toMatchObject({ auditExported: 2 * SEGMENT, auditEntries: 0, failures: 0 });
  expect(await retain()).toMatchObject({ auditExported: 0, auditEntries: 0, failures: 0 });
  expect((await env.PAYLOADS.list({ prefix: "audit/" })).objects.map(({ key }) => key)).toEqual(KEYS);
  expect(numbers(await stored(KEYS[1]))).toEqual(range(1_001, 2_000));
  // Nothing is old: the log has everything still.
  expect(await read("/api/audit/verify?limit=10000")).toEqual({ intact: true, checked: ENTRIES });
});

describe("a segment", () => {
  it("verifies by its anchor", async () => {
    for (const [index, key] of KEYS.entries()) {
      const verified = await read(`/api/audit/verify?segment=${index + 1}`);
      expect(verified).toMatchObject({ intact: true, checked: SEGMENT });
      expect(verified.anchor.sha256).toBe(await sha256(await stored(key)));
    }
    expect((await api("/api/audit/verify?segment=3")).status).toBe(404);
    expect((await api("/api/audit/verify?segment=0")).status).toBe(400);
  });

  it.each<[string, (text: string, other: string) => string, object | string]>([
    ["was changed", (text) => text.replace('"source":"source-5"', '"source":"source-6"'), { chain: { changed: { seq: 6 } } }],
    ["was cut", (text) => text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1), { end: { to: 1_000 } }],
    ["has another's place", (_, other) => other, { chain: { gap: { expected: 1 } } }],
    ["ends otherwise", (text) => text.slice(0, -1), "file"],
    ["is no trail", () => "{}\n", { chain: { changed: { seq: 1 } } }],
    ["says more than was written", (text) => text.replace('"actor"', '"approvedBy":"x","actor"'), { chain: { changed: { seq: 1 } } }],
  ])("that %s is found out", async (_, spoil, broken) => {
    const text = await stored(KEYS[0]);
    await env.PAYLOADS.put(KEYS[0], spoil(text, await stored(KEYS[1])));
    expect(await read("/api/audit/verify?segment=1")).toMatchObject({ intact: false, broken });
    await env.PAYLOADS.put(KEYS[0], text);
    expect(await read("/api/audit/verify?segment=1")).toMatchObject({ intact: true });
  });

  it("that is gone is found out", async () => {
    const text = await stored(KEYS[0]);
    await env.PAYLOADS.delete(KEYS[0]);
    expect(await read("/api/audit/verify?segment=1")).toMatchObject({ intact: false, broken: "file" });
    await env.PAYLOADS.put(KEYS[0], text);
  });

  it("that does not hold in the log is not made good by a file", async () => {
    await append(0, 500);
    const sql = (statement: string) =>
      runInDurableObject(log(), (_, state) => state.storage.sql.exec(statement).toArray());
    const rows = await sql("SELECT * FROM entries WHERE seq IN (2222, 3000)");
    const logged = vi.spyOn(console, "error");
    for (const [damage, named] of [
      ["UPDATE entries SET entry = replace(entry, 'admin', 'nobody') WHERE seq = 2222", "entry 2222 was changed"],
      [`UPDATE entries SET entry = replace(entry, '"actor"', '"x":1,"actor"') WHERE seq = 2222`, "entry 2222 was changed"],
      ["UPDATE entries SET entry = 'x' WHERE seq = 3000", "entry 3000 was changed"],
      ["DELETE FROM entries WHERE seq = 2222", "entry 2222 is missing"],
      // The head says that there was one.
      ["DELETE FROM entries WHERE seq = 3000", "entry 3000 is missing"],
    ]) {
      await sql(damage);
      expect(await retain(), damage).toMatchObject({ auditExported: 0, failures: 1, unfinished: true });
      expect(String(logged.mock.lastCall?.[0])).toContain(named);
      for (const { seq, action, entry } of rows) {
        await runInDurableObject(log(), (_, state) => {
          state.storage.sql.exec("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", seq, action, entry);
        });
      }
    }
    expect((await env.PAYLOADS.list({ prefix: "audit/" })).objects).toHaveLength(2);
    expect(await retain()).toMatchObject({ auditExported: SEGMENT, failures: 0 });
  });
});

describe("entries that are old", () => {
  it("leave the log with their segment, and are verified and exported from its file", async () => {
    // Five of the ten tell of the runs that failed.
    await append(0, 5);
    vi.setSystemTime(start + 365 * DAY_MS + 2_100);
    // The third segment ends later than the cutoff.
    expect(await retain()).toMatchObject({ auditEntries: 2 * SEGMENT, failures: 0 });
    await evictDurableObject(log());
    expect(await read("/api/audit/verify?limit=10000")).toEqual({ intact: true, checked: 1_010, afterAnchor: 2_000 });
    expect(await read("/api/audit/verify?from=2001&limit=10000")).toEqual({ intact: true, checked: 1_010 });
    expect(await exported()).toEqual(range(1, 3_010));
    expect(await exported(1_500)).toEqual(range(1_500, 3_010));
  });

  it("cannot be replaced by cutting the log short", async () => {
    const rows = await runInDurableObject(log(), (_, state) => {
      const found = state.storage.sql.exec("SELECT * FROM entries WHERE seq <= 2100").toArray();
      state.storage.sql.exec("DELETE FROM entries WHERE seq <= 2100");
      return found;
    });
    expect(await read("/api/audit/verify?limit=10000")).toMatchObject({ intact: false, broken: { gap: { expected: 1 } } });
    await runInDurableObject(log(), (_, state) => {
      for (const { seq, action, entry } of rows) {
        state.storage.sql.exec("INSERT INTO entries VALUES (?, ?, ?)", seq, action, entry);
      }
    });
  });

  it("leave a chain that goes on behind them, even where nothing is left", async () => {
    await append(0, 990);
    vi.setSystemTime(start + 800 * DAY_MS);
    expect(await retain()).toMatchObject({ auditExported: SEGMENT, auditEntries: 2 * SEGMENT, failures: 0 });
    expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: 0, afterAnchor: 4_000 });
    expect(await append(0, 3)).toBe(4_003);
    expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: 3, afterAnchor: 4_000 });
    for (const segment of [1, 2, 3, 4]) {
      expect(await read(`/api/audit/verify?segment=${segment}`)).toMatchObject({ intact: true });
    }
    expect(await exported()).toEqual(range(1, 4_003));
  });
});

it("goes on until everything is written, and up to what does not hold", async () => {
  // More than one step of the export takes.
  for (let from = 0; from < 23; from += 1) {
    await append(0, SEGMENT);
  }
  const run = (from: string, to: string) =>
    runInDurableObject(log(), (_, state) => {
      state.storage.sql.exec("UPDATE entries SET entry = replace(entry, ?, ?) WHERE seq = 26500", from, to);
    });
  await run("admin", "nobody");
  expect(await retain()).toMatchObject({ auditExported: 22 * SEGMENT, failures: 1, unfinished: true });
  await run("nobody", "admin");
  expect(await retain()).toMatchObject({ auditExported: SEGMENT, failures: 0, unfinished: false });
  expect(await read("/api/audit/verify?segment=27")).toMatchObject({ intact: true, checked: SEGMENT });
});

it("leaves the log early where too much came after it", async () => {
  const full = env.AUDIT_LOG.getByName("full");
  const sql = (statement: string, ...values: SqlStorageValue[]) =>
    runInDurableObject(full, (_, state) => void state.storage.sql.exec(statement, ...values));
  const drafts = Array.from({ length: SEGMENT }, () => ({ action: "CREATE", actor: "admin", userAgent: "tests/1" }));
  await call(full, { append: { drafts } });
  const anchor = { from: 1, to: SEGMENT, untilMs: Date.now(), previousHash: "", lastHash: "", sha256: "" };
  await sql("INSERT INTO segments VALUES (?, ?)", SEGMENT, JSON.stringify(anchor));
  const expire = () => call(full, { expire: { before_ms: 0 } });
  await sql("UPDATE head SET seq = ?", SEGMENT + 1_999_999);
  expect(await expire()).toBe(0);
  await sql("UPDATE head SET seq = ?", SEGMENT + 2_000_000);
  expect(await expire()).toBe(SEGMENT);
});
