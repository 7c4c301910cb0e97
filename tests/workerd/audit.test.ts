/** The audit trail: its entries, its lists, and what its chain of hashes finds. */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";

import { api, pages, read, sha256 } from "./support/client.ts";
import { call } from "./support/messages.ts";

const GENESIS_HASH = "0".repeat(64);
const ENTRIES = 60;

/** What an entry may say, in the order in which it is hashed. */
const FIELDS = [
  "seq",
  "timestamp",
  "action",
  "actor",
  "source",
  "webhookId",
  "targetUrl",
  "statusCode",
  "error",
  "correlationId",
  "userAgent",
];

const log = env.AUDIT_LOG.getByName("audit");
const sqlOf =
  (object: typeof log) =>
  (statement: string, ...values: unknown[]) =>
    runInDurableObject(object, (_, state) => state.storage.sql.exec(statement, ...(values as SqlStorageValue[])).toArray());
const sql = sqlOf(log);

const draft = (index: number) => ({
  action: index % 3 === 0 ? "PROBE" : "CREATE",
  actor: "admin",
  target_url: undefined,
  source: `source-${index}`,
  statusCode: 200 + index,
  userAgent: "tests/1",
});

beforeAll(async () => {
  // In batches of different sizes, as consumers append.
  for (let index = 0; index < ENTRIES;) {
    const batch = Array.from({ length: Math.min(1 + (index % 7), ENTRIES - index) }, (_, offset) => draft(index + offset));
    await call(log, { append: { drafts: batch } });
    index += batch.length;
  }
});

it("chains entries by a hash over the previous one and everything that an entry says", async () => {
  const entries = (await read("/api/audit?limit=500")).entries.reverse();
  expect(entries.map(({ seq }: { seq: number }) => seq)).toEqual(Array.from({ length: ENTRIES }, (_, index) => index + 1));
  let previous = GENESIS_HASH;
  for (const entry of entries) {
    expect(entry.previousHash).toBe(previous);
    const said = Object.fromEntries(FIELDS.filter((field) => field in entry).map((field) => [field, entry[field]]));
    expect(Object.keys(entry).toSorted()).toEqual([...Object.keys(said), "previousHash", "hash"].toSorted());
    expect(entry.hash).toBe(await sha256(`${previous}\n${JSON.stringify(said)}`));
    expect(entry.timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    previous = entry.hash;
  }
});

it("continues its chain after an eviction", async () => {
  await evictDurableObject(log);
  expect(await call(log, { append: { drafts: [] } })).toBe(ENTRIES);
  expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: ENTRIES });
});

it("takes a batch once, however often it is appended, and all of one that failed half-way", async () => {
  const drafts = [draft(0), draft(1)];
  const object = env.AUDIT_LOG.getByName("another");
  const length = async () => (await call(object, { verify: { from_seq: 1, limit: 1_000 } })).checked;
  const run = (statement: string) => runInDurableObject(object, (_, state) => void state.storage.sql.exec(statement));
  expect(await call(object, { append: { drafts, batch: "a" } })).toBe(2);
  expect(await call(object, { append: { drafts, batch: "a" } })).toBe(2);
  await evictDurableObject(object);
  expect(await call(object, { append: { drafts, batch: "a" } })).toBe(2);
  await run("CREATE TRIGGER failing BEFORE INSERT ON entries WHEN NEW.seq = 4 BEGIN SELECT RAISE(ABORT, 'no room'); END");
  await expect(call(object, { append: { drafts, batch: "b" } })).rejects.toThrow(/^500: /);
  expect(await length()).toBe(2);
  await run("DROP TRIGGER failing");
  expect(await call(object, { append: { drafts, batch: "b" } })).toBe(4);
  // As versions append that give no name.
  expect(await call(object, { append: { drafts } })).toBe(6);
  expect(await call(object, { append: { drafts } })).toBe(8);
  expect(await length()).toBe(8);
});

it("lists newest first, page by page, each entry once", async () => {
  const found = (await pages("/api/audit?limit=7", "entries")).flat();
  expect(found.map(({ seq }) => seq)).toEqual(Array.from({ length: ENTRIES }, (_, index) => ENTRIES - index));
});

it("filters by action", async () => {
  const found = (await pages("/api/audit?action=PROBE&limit=6", "entries")).flat();
  expect(found.map(({ source }) => source)).toEqual(
    Array.from({ length: ENTRIES / 3 }, (_, index) => `source-${ENTRIES - 3 - index * 3}`),
  );
  const unknown = await api("/api/audit?action=GUESS");
  expect([unknown.status, unknown.json.code]).toEqual([400, "invalid_parameter"]);
  expect(unknown.json.detail).toMatch(/^action: expected one of CREATE, /);
});

describe("verification", () => {
  it("walks in steps that follow each other", async () => {
    let [from, checked] = [1, 0];
    for (;;) {
      const step = await read(`/api/audit/verify?from=${from}&limit=9`);
      expect(step.intact).toBe(true);
      checked += step.checked;
      if (step.nextSeq === undefined) {
        break;
      }
      from = step.nextSeq;
    }
    expect(checked).toBe(ENTRIES);
  });

  const change = (seq: number, from: string, to: string) =>
    sql("UPDATE entries SET entry = replace(entry, ?, ?) WHERE seq = ?", from, to, seq);
  const entryOf = async (seq: number) => (await sql("SELECT entry FROM entries WHERE seq = ?", seq))[0].entry as string;
  /** An entry as somebody would forge it who knows how they are chained. */
  const forge = async (seq: number, fields: object) => {
    const { previousHash, hash, ...said } = JSON.parse(await entryOf(seq));
    const forged = { ...said, ...fields };
    return JSON.stringify({ ...forged, previousHash, hash: await sha256(`${previousHash}\n${JSON.stringify(forged)}`) });
  };

  it.each<[string, () => Promise<unknown>, object]>([
    ["a changed entry", () => change(20, '"statusCode":219', '"statusCode":200'), { changed: { seq: 20 } }],
    ["the first entry, changed", () => change(1, '"actor":"admin"', '"actor":"nobody"'), { changed: { seq: 1 } }],
    ["the last entry, changed", () => change(ENTRIES, '"actor":"admin"', '"actor":"nobody"'), { changed: { seq: ENTRIES } }],
    ["an entry that is none", () => sql("UPDATE entries SET entry = 'x' WHERE seq = 20"), { changed: { seq: 20 } }],
    ["the last entry, made unreadable", () => change(ENTRIES, '"CREATE"', '"MAYBE"'), { changed: { seq: ENTRIES } }],
    [
      "an entry that is found under another action",
      () => sql("UPDATE entries SET action = 'PROBE' WHERE seq = 20"),
      { changed: { seq: 20 } },
    ],
    ["the last entry, removed", () => sql("DELETE FROM entries WHERE seq = ?", ENTRIES), { gap: { expected: ENTRIES } }],
    ["the last entries, removed", () => sql("DELETE FROM entries WHERE seq > 57"), { gap: { expected: 58 } }],
    ["all entries, removed", () => sql("DELETE FROM entries"), { gap: { expected: 1 } }],
    [
      "the last entry with a hash of its own making",
      async () => sql("UPDATE entries SET entry = ? WHERE seq = ?", await forge(ENTRIES, { actor: "nobody" }), ENTRIES),
      { changed: { seq: ENTRIES } },
    ],
    [
      "an entry behind the last",
      async () => {
        const { hash: previousHash } = JSON.parse(await entryOf(ENTRIES));
        const said = { seq: ENTRIES + 1, timestamp: "2026-11-23T00:00:00.000Z", action: "CREATE", actor: "x", userAgent: "u" };
        const hash = await sha256(`${previousHash}\n${JSON.stringify(said)}`);
        const text = JSON.stringify({ ...said, previousHash, hash });
        await sql("INSERT INTO entries VALUES (?, 'CREATE', ?)", ENTRIES + 1, text);
      },
      { unrecorded: { seq: ENTRIES + 1 } },
    ],
    ["a removed entry", () => sql("DELETE FROM entries WHERE seq = 33"), { gap: { expected: 33 } }],
    ["the first entry, removed", () => sql("DELETE FROM entries WHERE seq = 1"), { gap: { expected: 1 } }],
    [
      "two entries, swapped with their numbers",
      async () => {
        const [a, b] = [await entryOf(10), await entryOf(11)];
        await sql("UPDATE entries SET entry = ? WHERE seq = 10", b);
        await sql("UPDATE entries SET entry = ? WHERE seq = 11", a);
      },
      { gap: { expected: 10 } },
    ],
    [
      "two entries, swapped and renumbered",
      async () => {
        const [a, b] = [await entryOf(10), await entryOf(11)];
        await sql("UPDATE entries SET entry = ? WHERE seq = 10", b.replace('"seq":11', '"seq":10'));
        await sql("UPDATE entries SET entry = ? WHERE seq = 11", a.replace('"seq":10', '"seq":11'));
      },
      { unlinked: { seq: 10 } },
    ],
    [
      "a removed entry whose followers were renumbered",
      async () => {
        await sql("DELETE FROM entries WHERE seq = 50");
        for (let seq = 51; seq <= ENTRIES; seq += 1) {
          await sql(
            "UPDATE entries SET seq = ?, entry = replace(entry, ?, ?) WHERE seq = ?",
            seq - 1,
            `"seq":${seq},`,
            `"seq":${seq - 1},`,
            seq,
          );
        }
      },
      { unlinked: { seq: 50 } },
    ],
    [
      "an entry with a hash of its own making",
      async () => sql("UPDATE entries SET entry = ? WHERE seq = 40", await forge(40, { actor: "nobody" })),
      { unlinked: { seq: 41 } },
    ],
  ])("finds %s", async (_, tamper, broken) => {
    const rows = await sql("SELECT * FROM entries");
    await tamper();
    expect(await read("/api/audit/verify")).toMatchObject({ intact: false, broken });
    await sql("DELETE FROM entries");
    for (const { seq, action, entry } of rows) {
      await sql("INSERT INTO entries VALUES (?, ?, ?)", seq, action, entry);
    }
    expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: ENTRIES });
  });

  it("names the entry that is missing, where the walk goes on behind it", async () => {
    const [row] = await sql("SELECT * FROM entries WHERE seq = 30");
    await sql("DELETE FROM entries WHERE seq = 30");
    const walk = await read("/api/audit/verify?from=31");
    await sql("INSERT INTO entries VALUES (?, ?, ?)", row.seq, row.action, row.entry);
    expect(walk).toMatchObject({ intact: false, broken: { gap: { expected: 30 } } });
  });

  it("names the entry before the first, where that cannot be read", async () => {
    await change(30, '"CREATE"', '"MAYBE"');
    const walk = await read("/api/audit/verify?from=31");
    await change(30, '"MAYBE"', '"CREATE"');
    expect(walk).toMatchObject({ intact: false, checked: 0, broken: { changed: { seq: 30 } } });
  });

  it("says how far the chain held", async () => {
    await change(20, '"statusCode":219', '"statusCode":200');
    expect((await read("/api/audit/verify")).checked).toBe(19);
    await change(20, '"statusCode":200', '"statusCode":219');
  });
});

describe("whatever became of the last entry, the next is recorded", () => {
  let objects = 0;
  /** A log of its own with three entries. */
  async function three() {
    objects += 1;
    const object = env.AUDIT_LOG.getByName(`three-${objects}`);
    const append = () => call(object, { append: { drafts: [draft(0)] } });
    for (let seq = 1; seq <= 3; seq += 1) {
      expect(await append()).toBe(seq);
    }
    return { object, append, run: sqlOf(object), verify: () => call(object, { verify: { from_seq: 1, limit: 100 } }) };
  }
  const UNREADABLE = "UPDATE entries SET entry = replace(entry, '\"PROBE\"', '\"MAYBE\"') WHERE seq = 3";

  it("behind one that cannot be read", async () => {
    const { append, run, verify } = await three();
    await run(UNREADABLE);
    expect(await append()).toBe(4);
    expect(await verify()).toEqual({ intact: false, checked: 2, broken: { changed: { seq: 3 } } });
    // It was only made unreadable: once that is undone, the chain holds.
    await run("UPDATE entries SET entry = replace(entry, '\"MAYBE\"', '\"PROBE\"') WHERE seq = 3");
    expect(await verify()).toEqual({ intact: true, checked: 4 });
  });

  it("under a number of its own behind those that were removed", async () => {
    const { append, run, verify } = await three();
    await run("DELETE FROM entries WHERE seq >= 2");
    expect(await append()).toBe(4);
    expect(await verify()).toEqual({ intact: false, checked: 1, broken: { gap: { expected: 2 } } });
  });

  it("behind one that the log did not record, which stays a break", async () => {
    const { append, run, verify } = await three();
    await run("INSERT INTO entries SELECT 4, action, entry FROM entries WHERE seq = 3");
    expect(await append()).toBe(5);
    expect(await verify()).toMatchObject({ intact: false, checked: 3 });
  });

});

describe("a list", () => {
  const long = env.AUDIT_LOG.getByName("long");
  const ROWS = 25_000;
  const START_S = 1_767_225_600;
  const list = (filter: object, { before_seq = null as number | null, limit = 50 } = {}) =>
    call(long, { list: { filter, before_seq, limit } });
  const numbers = ({ entries }: any) => entries.map(({ seq }: any) => seq);
  const at = (seq: number) => new Date((START_S + seq) * 1_000).toISOString();

  beforeAll(async () => {
    await call(long, { append: { drafts: [] } });
    // A row a second; two of a source that is rare.
    await sqlOf(long)(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       INSERT INTO entries (seq, action, entry) SELECT i, iif(i % 1000 = 0, 'PROBE', 'CREATE'), json_object('seq', i,
         'timestamp', strftime('%Y-%m-%dT%H:%M:%S.000Z', ? + i, 'unixepoch'), 'source', iif(i IN (3, 24000), 'rare', 'common'))
       FROM n`,
      ROWS,
      START_S,
    );
  });

  it("by source looks at a bounded number of entries, and says where to go on", async () => {
    const found = [];
    for (let before_seq: number | null = null; ;) {
      const page: any = await list({ source: "rare" }, { before_seq });
      found.push(numbers(page));
      if (page.nextCursor === null) {
        break;
      }
      before_seq = Number(page.nextCursor);
    }
    expect(found).toEqual([[24_000], [], [3]]);
    // An action has an index: what else there is need not be looked at.
    expect(await list({ source: "rare", action: "PROBE" })).toMatchObject({ entries: [{ seq: 24_000 }], nextCursor: null });
  });

  it("by time is exact, wherever it begins and ends", async () => {
    for (const [since, until] of [[1, 2], [7, 7], [12_344, 12_390], [24_999, 25_001]]) {
      const expected = Array.from({ length: until - since }, (_, index) => until - 1 - index);
      const filters = { since: at(since), until: at(until) };
      expect(await list(filters)).toMatchObject({ entries: expected.map((seq) => ({ seq })), nextCursor: null });
    }
    expect(numbers(await list({ until: at(0) }))).toEqual([]);
    expect(numbers(await list({ since: at(ROWS + 1) }))).toEqual([]);
    // A gap and a row that says no time are passed over.
    await sqlOf(long)("DELETE FROM entries WHERE seq BETWEEN 12000 AND 13000");
    await sqlOf(long)("UPDATE entries SET entry = '{' WHERE seq = 13001");
    expect(numbers(await list({ since: at(11_999), until: at(13_003) }))).toEqual([13_002, 13_001, 11_999]);
  });

  it("is JSON whatever is in its rows", async () => {
    const [first, second] = (await list({}, { before_seq: 13_003, limit: 2 })).entries;
    expect([first.seq, second]).toEqual([13_002, { seq: 13_001, unreadable: "{" }]);
    expect(numbers(await list({ source: "rare" }, { before_seq: 13_003 }))).toEqual([]);
  });
});
