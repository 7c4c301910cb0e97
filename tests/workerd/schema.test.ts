/** The schema of each object (its version, the way from an older one, tables of a newer one), and what callers learn of an object that fails. */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";

import { api } from "./support/client.ts";
import { call } from "./support/messages.ts";

type Stub = Parameters<typeof runInDurableObject>[0];
type Row = Record<string, SqlStorageValue>;

/** Class, namespace, version of its tables, and a call that reads them. */
const CLASSES: [string, DurableObjectNamespace, number, unknown][] = [
  ["Counters", env.COUNTERS, 1, "read"],
  ["DeliveryLedger", env.DELIVERY_LEDGER, 1, "totals"],
  ["DeadLetterStore", env.DEAD_LETTER_STORE, 1, "totals"],
  ["AuditLog", env.AUDIT_LOG, 1, "marks"],
  ["Lifecycle", env.LIFECYCLE, 1, "last"],
  ["Destination", env.DESTINATIONS, 1, "read"],
  ["Monitor", env.MONITOR, 1, "read"],
];

const sql = (stub: Stub, statement: string) =>
  runInDurableObject(stub, (_, state) => state.storage.sql.exec<Row>(statement).toArray());

/** Everything that a schema consists of, in the order of its making. */
const schema = (stub: Stub) =>
  sql(stub, "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\' AND sql IS NOT NULL ORDER BY name");

async function setVersion(stub: Stub, version: number) {
  await sql(stub, `UPDATE schema SET version = ${version}`);
  await evictDurableObject(stub);
}

describe.each(CLASSES)("%s", (_, namespace, version, read) => {
  it("has the version that is pinned, and keeps its rows when it starts again", async () => {
    const stub = namespace.getByName("pinned") as Stub;
    const answer = await call(stub, read);
    const before = await schema(stub);
    expect(await sql(stub, "SELECT id, version FROM schema")).toEqual([{ id: 1, version }]);
    await evictDurableObject(stub);
    expect(await call(stub, read)).toEqual(answer);
    expect(await schema(stub)).toEqual(before);
  });

  it("takes the steps that its tables have not seen, as a whole", async () => {
    const stub = namespace.getByName("older") as Stub;
    const answer = await call(stub, read);
    const complete = await schema(stub);
    // The object as a version before the first step left it.
    for (const { type, name } of complete.filter(({ name }) => name !== "schema")) {
      if (type !== "index") await sql(stub, `DROP ${type} IF EXISTS ${name}`);
    }
    await setVersion(stub, 0);
    expect(await call(stub, read)).toEqual(answer);
    expect(await schema(stub)).toEqual(complete);
    expect(await sql(stub, "SELECT version FROM schema")).toEqual([{ version }]);
    // A step that fails leaves nothing behind: its first table is there already.
    await setVersion(stub, 0);
    await expect(call(stub, read)).rejects.toThrow(/^500: \{"failed":"set-up: /);
    expect(await sql(stub, "SELECT version FROM schema")).toEqual([{ version: 0 }]);
    expect(await schema(stub)).toEqual(complete);
  });

  it("refuses every call where a newer version has changed its tables, and leaves them alone", async () => {
    const stub = namespace.getByName("newer") as Stub;
    await call(stub, read);
    await sql(stub, "CREATE TABLE of_tomorrow (id INTEGER PRIMARY KEY)");
    const tables = await schema(stub);
    await setVersion(stub, version + 1);
    const refusal = `503: ${JSON.stringify({ newer_schema: { found: version + 1, known: version } })}`;
    for (const request of [read, read, "no call"]) {
      await expect(call(stub, request)).rejects.toThrow(refusal);
    }
    expect(await schema(stub)).toEqual(tables);
    expect(await sql(stub, "SELECT version FROM schema")).toEqual([{ version: version + 1 }]);
    // The newer version is back.
    await setVersion(stub, version);
    await call(stub, read);
  });
});

it("names what an operator has to do in the answer of the API", async () => {
  const stub = env.AUDIT_LOG.getByName("audit") as Stub;
  expect((await api("/api/audit")).status).toBe(200);
  await setVersion(stub, 9);
  const { status, json } = await api("/api/audit");
  expect(status).toBe(503);
  const detail = "AUDIT_LOG: newer_schema: the tables have schema version 9, this version of the gateway knows 1";
  expect(json).toEqual({ error: "Storage is not available", code: "storage_unavailable", detail });
  await setVersion(stub, 1);
  expect((await api("/api/audit")).status).toBe(200);
});

it("tells an object that was stopped while it worked from one that refuses", async () => {
  const stub = env.AUDIT_LOG.getByName("audit") as Stub;
  // The call waits behind it, and the object is stopped.
  const stopped = runInDurableObject(stub, (_, state) =>
    state.blockConcurrencyWhile(() => new Promise<void>((_, fail) => setTimeout(() => fail(new Error("stopped")), 500))),
  ).catch(String);
  const { status, json } = await api("/api/audit");
  expect(await stopped).toBe("Error: stopped");
  expect([status, json.code]).toEqual([503, "storage_unavailable"]);
  expect(json.detail).toMatch(/^AUDIT_LOG: reset: /);
  await vi.waitFor(async () => expect((await api("/api/audit")).status).toBe(200));
});
