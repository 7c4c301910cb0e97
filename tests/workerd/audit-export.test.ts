/** The audit trail as files: written in segments, verified by their names, removed from the log only then; and what is known of it outside. */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";

import { api, read } from "./support/client.ts";
import { call } from "./support/messages.ts";

const SEGMENT = 1_000;
const ENTRIES = 2_500;
const DAY_MS = 86_400_000;

const log = env.AUDIT_LOG.getByName("audit");
const retain = async () => {
  const answer = await api("/api/retention", { method: "POST" });
  expect(answer.status, answer.text).toBe(200);
  return answer.json;
};
const draft = (n: number) => ({ action: "CREATE", actor: "admin", source: `source-${n % 10}`, userAgent: "tests/1" });
const append = (count: number, from = 0, object = log) =>
  call(object, { append: { drafts: Array.from({ length: count }, (_, offset) => draft(from + offset)) } });
const sql = (statement: string, ...values: SqlStorageValue[]) =>
  runInDurableObject(log, (_, state) => state.storage.sql.exec(statement, ...values).toArray());
const keys = async () => (await env.PAYLOADS.list({ prefix: "audit/" })).objects.map(({ key }) => key);
const stored = async (key: string) => (await env.PAYLOADS.get(key))?.text() as Promise<string>;
const parsed = (lines: string) => lines.split("\n").filter(Boolean).map((line) => JSON.parse(line));
const numbers = (lines: string) => parsed(lines).map(({ seq }) => seq);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
const last = async () => (await read("/api/audit?limit=1")).entries[0];

/** All pages of the export. */
async function exported(from = 1): Promise<number[]> {
  const found: number[] = [];
  for (let next: string | null = String(from); next !== null;) {
    const page = await api(`/api/audit/export?from=${next}&limit=700`);
    expect([page.status, page.headers.get("content-type")], page.text).toEqual([200, "application/x-ndjson"]);
    found.push(...numbers(page.text));
    next = page.headers.get("x-next-from");
  }
  return found;
}

/** Does `damage` to what was kept, looks, and repairs rows, marks and files. */
async function damaged(damage: () => Promise<unknown>, look: () => Promise<void>) {
  const tables = ["entries (seq, entry)", "marks (name, seq, hash)"];
  const rows = await Promise.all(tables.map((table) => sql(table.replace(/(.*) \((.*)\)/, "SELECT $2 FROM $1"))));
  const files = await Promise.all((await keys()).map(async (key) => [key, await stored(key)]));
  await damage();
  await look();
  for (const [index, table] of tables.entries()) {
    await runInDurableObject(log, (_, state) => {
      state.storage.sql.exec(`DELETE FROM ${table.split(" ")[0]}`);
      for (const row of rows[index]) {
        const values = Object.values(row);
        state.storage.sql.exec(`INSERT INTO ${table} VALUES (${values.map(() => "?")})`, ...values);
      }
    });
  }
  await env.PAYLOADS.delete(await keys());
  for (const [key, text] of files) await env.PAYLOADS.put(key, text);
}

const start = Date.now();

beforeAll(async () => {
  for (let from = 0; from < ENTRIES; from += 250) {
    vi.setSystemTime(start + from);
    await append(250, from);
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

it("is written in complete segments, once, and their names and lines alone are a chain", async () => {
  expect(await retain()).toMatchObject({ auditExported: 2 * SEGMENT, auditEntries: 0, failures: 0 });
  const names = await keys();
  expect(await retain()).toMatchObject({ auditExported: 0, auditEntries: 0, failures: 0 });
  expect(await keys()).toEqual(names);
  let [seq, hash] = [0, "0".repeat(64)];
  for (const key of names) {
    const entries = parsed(await stored(key));
    expect(entries.map(({ seq }) => seq)).toEqual(range(seq + 1, seq + SEGMENT));
    expect(entries[0].previousHash).toBe(hash);
    [seq, hash] = [entries[SEGMENT - 1].seq, entries[SEGMENT - 1].hash];
    expect(key).toBe(`audit/${String(seq - SEGMENT + 1).padStart(12, "0")}-${hash}.jsonl`);
  }
  expect(seq).toBe(2 * SEGMENT);
  // Nothing is old: the log has everything still.
  expect(await read("/api/audit/verify?limit=10000")).toEqual({ intact: true, checked: ENTRIES });
});

it("has its last number and hash in the metrics and in the log line of retention", async () => {
  const logged = vi.spyOn(console, "log");
  const { seq, hash } = await last();
  expect((await read("/metrics")).auditHead).toEqual({ seq, hash });
  expect((await api("/metrics?format=prometheus")).text).toContain(`\ngenesys_gateway_audit_head{hash="${hash}"} ${seq}.0\n`);
  await retain();
  const line = logged.mock.calls.map(([text]) => JSON.parse(String(text))).find(({ event }) => event === "retention");
  expect(line.audit_head).toBe(`${seq} ${hash}`);
});

describe("a segment", () => {
  const verify = (segment: number) => read(`/api/audit/verify?segment=${segment}`);
  const rewrite = async (index: number, spoil: (text: string, other: string) => string) => {
    const [one, other] = await keys();
    const [key, text] = index === 0 ? [one, await stored(one)] : [other, await stored(other)];
    await env.PAYLOADS.put(key, spoil(text, await stored(index === 0 ? other : one)));
  };
  const rename = async (index: number, to: (key: string) => string) => {
    const key = (await keys())[index];
    const text = await stored(key);
    await env.PAYLOADS.delete(key);
    await env.PAYLOADS.put(to(key), text);
  };
  const otherHash = (key: string) => key.replace(/-.*/, `-${"a".repeat(64)}.jsonl`);

  it("verifies", async () => {
    expect(await verify(1)).toEqual({ intact: true, checked: SEGMENT });
    expect(await verify(2)).toEqual({ intact: true, checked: SEGMENT });
    expect((await api("/api/audit/verify?segment=3")).status).toBe(404);
    expect((await api("/api/audit/verify?segment=0")).status).toBe(400);
  });

  it.each<[string, () => Promise<unknown>, number, object]>([
    ["was changed", () => rewrite(0, (text) => text.replace('"source":"source-5"', '"source":"source-6"')), 1, { changed: 6 }],
    ["was cut", () => rewrite(0, (text) => text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1)), 1, { missing: 1_000 }],
    ["has another's place", () => rewrite(0, (_, other) => other), 1, { missing: 1 }],
    ["is no text", () => rewrite(0, () => "\xff"), 1, { changed: 1 }],
    ["is gone", async () => env.PAYLOADS.delete((await keys())[0]), 1, { missing: 1 }],
    ["follows one that is gone", async () => env.PAYLOADS.delete((await keys())[0]), 2, { missing: 1 }],
    ["was renamed", () => rename(0, otherHash), 1, { changed: 1_000 }],
    ["follows one that was renamed", () => rename(0, otherHash), 2, { unlinked: 1_001 }],
    ["is there twice", async () => env.PAYLOADS.put(otherHash((await keys())[1]), ""), 2, { unrecorded: 1_001 }],
    ["is not the one up to which the log exported", () => sql("UPDATE marks SET hash = 'x' WHERE name = 'exported'"), 2, { changed: 2_000 }],
  ])("that %s is found out", async (_, damage, segment, broken) => {
    await damaged(damage, async () => expect(await verify(segment)).toEqual({ intact: false, checked: 0, broken }));
    expect(await verify(segment)).toMatchObject({ intact: true });
  });

  it("ends with an entry that the log has too", async () => {
    await damaged(() => sql("UPDATE marks SET hash = 'x' WHERE name = 'exported'"), async () => {
      const found = { intact: false, checked: 1_999, broken: { changed: 2_000 } };
      expect(await read("/api/audit/verify?limit=10000")).toEqual(found);
    });
  });

  it("that does not hold in the log is not made good by a file", async () => {
    await append(500);
    const logged = vi.spyOn(console, "error");
    for (const [damage, named] of [
      ["UPDATE entries SET entry = replace(entry, 'admin', 'nobody') WHERE seq = 2222", "entry 2222 was changed"],
      ["DELETE FROM entries WHERE seq = 2222", "entry 2222 is missing"],
      // The head says that there was one, and which.
      ["DELETE FROM entries WHERE seq = 3000", "entry 3000 is missing"],
      ["UPDATE marks SET hash = 'x' WHERE name = 'head'", "entry 3000 was changed"],
    ]) {
      await damaged(() => sql(damage), async () => {
        expect(await retain(), damage).toMatchObject({ auditExported: 0, failures: 1, unfinished: true });
        expect(String(logged.mock.lastCall?.[0])).toContain(named);
      });
    }
    expect(await keys()).toHaveLength(2);
    expect(await retain()).toMatchObject({ auditExported: SEGMENT, failures: 0 });
  });
});

describe("entries that are old", () => {
  it("stay while their file is not there, or is that of other entries", async () => {
    await append(10);
    vi.setSystemTime(start + 365 * DAY_MS + 2_100);
    const [, second] = await keys();
    const logged = vi.spyOn(console, "error");
    await damaged(() => env.PAYLOADS.delete(second), async () => {
      // What was done before is told first, and the next run says what is wrong.
      expect(await retain()).toMatchObject({ auditEntries: SEGMENT, failures: 1, unfinished: true });
      expect(String(logged.mock.lastCall?.[0])).toContain(`no file ${second}`);
      expect(await read("/api/audit/verify?from=1001&limit=10000")).toMatchObject({ intact: true, checked: 2_011 });
    });
  });

  it("leave the log with their segment, and are verified and exported from its file", async () => {
    // The third segment ends later than the cutoff.
    expect(await retain()).toMatchObject({ auditEntries: 2 * SEGMENT, failures: 0 });
    await evictDurableObject(log);
    expect(await read("/api/audit/verify?limit=10000")).toEqual({ intact: true, checked: 1_010, afterFiles: 2_000 });
    expect(await read("/api/audit/verify?from=2001&limit=10000")).toEqual({ intact: true, checked: 1_010 });
    expect(await exported()).toEqual(range(1, 3_010));
    expect(await exported(1_500)).toEqual(range(1_500, 3_010));
    await damaged(async () => env.PAYLOADS.delete((await keys())[0]), async () => {
      const { status, json } = await api("/api/audit/export?from=1");
      expect([status, json.code, json.detail]).toEqual([409, "segment_broken", { missing: 1 }]);
    });
  });

  it("cannot be replaced by cutting the log short, at whatever entry", async () => {
    for (const seq of [2_100, 3_000]) {
      await damaged(() => sql("DELETE FROM entries WHERE seq <= ?", seq), async () => {
        expect(await read("/api/audit/verify?limit=10000")).toMatchObject({ intact: false, broken: { missing: 2_001 } });
      });
    }
  });

  it("leave a chain that goes on behind them, even where nothing is left", async () => {
    await append(990);
    vi.setSystemTime(start + 800 * DAY_MS);
    expect(await retain()).toMatchObject({ auditExported: SEGMENT, auditEntries: 2 * SEGMENT, failures: 0 });
    expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: 0, afterFiles: 4_000 });
    expect(await append(3)).toBe(4_003);
    expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: 3, afterFiles: 4_000 });
    for (const segment of [1, 2, 3, 4]) {
      expect(await read(`/api/audit/verify?segment=${segment}`)).toMatchObject({ intact: true });
    }
    expect(await exported()).toEqual(range(1, 4_003));
  });
});

it("goes on until everything is written, and up to what does not hold", async () => {
  // More than one step of the export takes.
  for (let segment = 0; segment < 23; segment += 1) {
    await append(SEGMENT);
  }
  const change = (from: string, to: string) => sql("UPDATE entries SET entry = replace(entry, ?, ?) WHERE seq = 26500", from, to);
  await change("admin", "nobody");
  expect(await retain()).toMatchObject({ auditExported: 22 * SEGMENT, failures: 1, unfinished: true });
  await change("nobody", "admin");
  expect(await retain()).toMatchObject({ auditExported: SEGMENT, failures: 0, unfinished: false });
  expect(await read("/api/audit/verify?segment=27")).toMatchObject({ intact: true, checked: SEGMENT });
});

it("leaves the log early where too much came after it", async () => {
  const full = env.AUDIT_LOG.getByName("full");
  await append(SEGMENT, 0, full);
  await env.PAYLOADS.delete(await keys());
  expect(await call(full, "export")).toBe(SEGMENT);
  for (const [more, removed] of [[1_999_999, 0], [2_000_000, SEGMENT]]) {
    await runInDurableObject(full, (_, state) => {
      state.storage.sql.exec("UPDATE marks SET seq = ? WHERE name = 'head'", SEGMENT + more);
    });
    expect(await call(full, { expire: { before_ms: 0 } })).toBe(removed);
  }
});
