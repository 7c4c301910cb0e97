/** The audit trail: its entries, its lists, and what its chain of hashes finds. */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";

import { api, pages, read, sha256 } from "./support/client.ts";
import { call } from "./support/messages.ts";

const GENESIS_HASH = "0".repeat(64);
const ENTRIES = 60;

/** What an entry may say, in the order in which it is hashed. */
const FIELDS =
  "seq timestamp action actor source webhookId targetUrl statusCode error correlationId userAgent".split(" ");

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
  const remove = (which: string) => sql(`DELETE FROM entries WHERE ${which}`);
  /** Puts an entry into the row of its number as somebody would forge it who knows how they are chained. */
  const forge = async (from: number, fields: object, previous?: string) => {
    const [{ entry }] = await sql("SELECT entry FROM entries WHERE seq = ?", from);
    const { previousHash = "", hash, ...said } = { ...JSON.parse(entry as string), ...fields };
    const chained = { ...said, previousHash: previous ?? previousHash };
    const text = JSON.stringify({ ...chained, hash: await sha256(`${chained.previousHash}\n${JSON.stringify(said)}`) });
    await sql("INSERT OR REPLACE INTO entries (seq, entry) VALUES (?, ?)", said.seq, text);
    return hash;
  };

  it.each<[string, () => Promise<unknown>, number, object]>([
    ["a changed entry", () => change(20, '"statusCode":219', '"statusCode":200'), 19, { changed: 20 }],
    ["the first entry, changed", () => change(1, '"actor":"admin"', '"actor":"nobody"'), 0, { changed: 1 }],
    ["the last entry, changed", () => change(ENTRIES, '"actor":"admin"', '"actor":"nobody"'), 59, { changed: ENTRIES }],
    ["the last entry, made unreadable", () => change(ENTRIES, '"CREATE"', '"MAYBE"'), 59, { changed: ENTRIES }],
    ["an entry that is none", () => sql("UPDATE entries SET entry = 'x' WHERE seq = 20"), 19, { changed: 20 }],
    ["an entry with a hash of its own making", () => forge(40, { actor: "nobody" }), 40, { unlinked: 41 }],
    ["the last entry with a hash of its own making", () => forge(ENTRIES, { actor: "nobody" }), 59, { changed: ENTRIES }],
    [
      "an entry behind the last",
      async () => forge(ENTRIES, { seq: ENTRIES + 1 }, JSON.parse((await sql("SELECT entry FROM entries WHERE seq = 60"))[0].entry as string).hash),
      61,
      { unrecorded: ENTRIES + 1 },
    ],
    ["a removed entry", () => remove("seq = 33"), 32, { missing: 33 }],
    ["the first entry, removed", () => remove("seq = 1"), 0, { missing: 1 }],
    ["the last entry, removed", () => remove(`seq = ${ENTRIES}`), 59, { missing: ENTRIES }],
    ["the last entries, removed", () => remove("seq > 57"), 57, { missing: 58 }],
    ["all entries, removed", () => remove("true"), 0, { missing: 1 }],
    ["entries under other numbers", () => sql("UPDATE entries SET seq = seq + 1 WHERE seq = 60"), 59, { missing: ENTRIES }],
  ])("finds %s, and says how far the chain held", async (_, tamper, checked, broken) => {
    const rows = await sql("SELECT seq, entry FROM entries");
    await tamper();
    expect(await read("/api/audit/verify")).toEqual({ intact: false, checked, broken });
    await remove("true");
    for (const { seq, entry } of rows) {
      await sql("INSERT INTO entries (seq, entry) VALUES (?, ?)", seq, entry);
    }
    expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: ENTRIES });
  });

  it("names the entry before the first, where it is missing or cannot be read", async () => {
    const [{ entry }] = await sql("SELECT entry FROM entries WHERE seq = 30");
    for (const [damage, broken] of [["UPDATE entries SET entry = '{}' WHERE seq = 30", { changed: 30 }], ["DELETE FROM entries WHERE seq = 30", { missing: 30 }]] as const) {
      await sql(damage);
      expect(await read("/api/audit/verify?from=31")).toEqual({ intact: false, checked: 0, broken });
    }
    await sql("INSERT INTO entries (seq, entry) VALUES (30, ?)", entry);
  });
});

describe("whatever became of the last entry, the next is recorded", () => {
  it.each([
    // It was only made unreadable: once that is undone, the chain holds.
    ["behind one that cannot be read", "UPDATE entries SET entry = '{' || entry WHERE seq = 3", 4, { checked: 2, broken: { changed: 3 } }, "UPDATE entries SET entry = substr(entry, 2) WHERE seq = 3"],
    ["under a number of its own behind those that were removed", "DELETE FROM entries WHERE seq >= 2", 4, { checked: 1, broken: { missing: 2 } }, null],
    ["behind one that the log did not record, which stays a break", "INSERT INTO entries (seq, entry) SELECT 4, entry FROM entries WHERE seq = 3", 5, { checked: 3, broken: { missing: 4 } }, null],
  ])("%s", async (name, damage, next, found, repair) => {
    const object = env.AUDIT_LOG.getByName(name);
    const verify = () => call(object, { verify: { from_seq: 1, limit: 100 } });
    expect(await call(object, { append: { drafts: [draft(0), draft(0), draft(0)] } })).toBe(3);
    await sqlOf(object)(damage);
    expect(await call(object, { append: { drafts: [draft(0)] } })).toBe(next);
    expect(await verify()).toEqual({ intact: false, ...found });
    if (repair !== null) {
      await sqlOf(object)(repair);
      expect(await verify()).toEqual({ intact: true, checked: 4 });
    }
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
       INSERT INTO entries (seq, entry) SELECT i, json_object('seq', i, 'action', iif(i % 1000 = 0, 'PROBE', 'CREATE'),
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
