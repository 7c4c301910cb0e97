/** What the gateway writes into its log: a line of JSON per event that matters, with what an operator looks for and nothing else. */

import { afterEach, expect, it, vi } from "vitest";

import { api, deliver, events, eventually, read, unique, webhooksHeaders, post } from "./support/client.ts";
import { arrived, parcel, putOff, row } from "./support/deliveries.ts";
import { DELIVERIES, consume } from "./support/messages.ts";
import { sink } from "./support/sink.ts";

/** The Worker shares the console of its tests. */
const written: { level: string; line: unknown[] }[] = [];
for (const level of ["log", "info", "warn", "error", "debug"] as const) {
  vi.spyOn(console, level).mockImplementation((...line) => void written.push({ level, line }));
}

/** The lines since the last look; each is one text, in the place of its level. */
function lines(): any[] {
  return written.splice(0).map(({ level, line }) => {
    expect(line).toHaveLength(1);
    const parsed = JSON.parse(line[0] as string);
    expect(Object.keys(parsed).slice(0, 2)).toEqual(["level", "event"]);
    expect(level).toBe({ error: "error", warn: "warn", info: "log" }[parsed.level as string]);
    expect(parsed.event).toMatch(/^[a-z_]+$/);
    expect(Object.values(parsed).filter((value) => typeof value !== "string" || value === "")).toEqual([]);
    return parsed;
  });
}
const linesOf = (event: string) => lines().filter((line) => line.event === event);

afterEach(() => sink("dressed").behaveWell());

it("says nothing of a delivery that is accepted and handed on", async () => {
  const body = events(1);
  // Of the configuration it may tell, once.
  await read("/api/destinations");
  lines();
  const headers = { ...(await webhooksHeaders(body)), "inin-correlation-id": "c-quiet" };
  const { json } = await post("dressed", body, headers);
  await eventually(async () => expect(await row(json.id)).toMatchObject({ status: "delivered" }));
  expect((await deliver("archive")).status).toBe(200);
  expect(lines()).toEqual([]);
});

it("names an attempt that failed by delivery and correlation id, and quotes nothing of the answer", async () => {
  const mark = unique("what-the-destination-quotes");
  const headers = [["inin-correlation-id", "c-loud"], ["content-type", `text/${mark}`]];
  const one = parcel("dressed", { headers });
  await sink("dressed").behave({ status: 500, times: 1, echoHeaders: true });
  lines();
  expect(await consume(DELIVERIES, [one.message])).toEqual(putOff(one, 2));
  expect(await arrived(one.id, "dressed")).toHaveLength(1);
  const told = lines();
  expect(told).toEqual([
    {
      level: "warn",
      event: "attempt_failed",
      delivery: one.id,
      correlation: "c-loud",
      source: "dressed",
      error: "HTTP 500",
      attempt: "1",
    },
  ]);
  // The destination has quoted it, and whoever may ask the ledger is shown it.
  expect((await row(one.id)).lastError).toContain(mark);
});

it.each([
  ["unreachable", /^connection refused or lost$/],
  ["unsignable", /secret is not set$/],
])("says in words of its own why there was no answer: %s", async (source, error) => {
  const one = parcel(source);
  lines();
  await consume(DELIVERIES, [one.message]);
  expect(linesOf("attempt_failed")).toMatchObject([{ delivery: one.id, source, error: expect.stringMatching(error) }]);
});

it("keeps what a destination answers out of the news of its circuit, in log and trail", async () => {
  const mark = unique("quoted-at-the-end");
  const failing = async (count: number) => {
    const parcels = Array.from({ length: count }, () => parcel("dressed", { headers: [["content-type", `text/${mark}`]] }));
    await consume(DELIVERIES, parcels.map((one) => one.message));
  };
  await sink("dressed").behave({ status: 503, echoHeaders: true });
  lines();
  await failing(20);
  const told = lines();
  expect(told.filter(({ event }) => event === "circuit_opened")).toMatchObject([{ source: "dressed", error: "HTTP 503" }]);
  expect(JSON.stringify(told)).not.toContain(mark);
  expect((await read("/api/destinations")).destinations).toContainEqual(
    expect.objectContaining({ source: "dressed", lastError: expect.stringContaining(mark) }),
  );
  const trail = await api("/api/audit?limit=500");
  expect(trail.json.entries).toContainEqual(expect.objectContaining({ action: "CIRCUIT_OPEN", error: "HTTP 503" }));
  expect(trail.text).not.toContain(mark);
});

it("tells what was changed at the vendor under the vendor's correlation id, as the trail does", async () => {
  lines();
  expect((await api("/api/reconcile", { method: "POST" })).json).toMatchObject({ failed: 0 });
  const changed = linesOf("vendor_changed");
  const { entries } = await read("/api/audit?action=CREATE");
  expect(changed.length).toBeGreaterThan(0);
  expect(changed.map(({ correlation }) => correlation)).toEqual(
    entries.map(({ correlationId }: any) => correlationId).toReversed(),
  );
  expect(changed[0]).toMatchObject({ level: "info", action: "CREATE", actor: "admin", source: "contact-center" });
});
