/** What becomes of the audit entries of dead letters whose log does not take them. */

import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it, vi } from "vitest";

import { eventually, post, read } from "./support/client.ts";

const run = (statement: string) =>
  runInDurableObject(env.AUDIT_LOG.getByName("audit"), (_, state) => void state.storage.sql.exec(statement));
const fail = () => run("CREATE TRIGGER failing BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'no room'); END");
const recover = () => run("DROP TRIGGER failing");
const refuse = async () => expect((await post("archive", "{}", { "x-genesys-signature": "0".repeat(64) })).status).toBe(401);
const logged = (calls: unknown[][], event: string) => calls.filter(([line]) => String(line).includes(event)).length;
const routed = async () => (await read("/api/audit?action=DLQ_ROUTE")).entries.length;

it("are appended once, where the log recovers in time", async () => {
  const warned = vi.spyOn(console, "warn");
  await fail();
  await refuse();
  await eventually(async () => expect(logged(warned.mock.calls, "audit_repeated")).toBeGreaterThan(0));
  await recover();
  await eventually(async () => expect(await routed()).toBe(1));
  expect((await read("/metrics")).auditLost).toBe(0);
});

it("are counted as lost where it does not, and the letter is kept all the same", async () => {
  const failed = vi.spyOn(console, "error");
  await fail();
  await refuse();
  await eventually(async () => expect(logged(failed.mock.calls, "audit_not_appended")).toBe(1));
  await eventually(async () => expect((await read("/metrics")).auditLost).toBe(1));
  expect((await read("/metrics")).deadLetters.stored).toBe(2);
  await recover();
  expect(await routed()).toBe(1);
  expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: 1 });
});
