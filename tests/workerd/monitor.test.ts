/** What the monitor notices, which notices it sends, and how often. */

import { abortAllDurableObjects, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";

import { api, base64, deliver, eventually, hmac, post, read } from "./support/client.ts";
import { DEAD_LETTERS_OVER, SECRETS, SILENCE_AFTER_S } from "./support/gateway.ts";
import { call } from "./support/messages.ts";
import { failing } from "./support/objects.ts";
import { parseOpenMetrics } from "./support/openmetrics.ts";
import { sink } from "./support/sink.ts";

const HOUR_MS = 3_600_000;
const WEEK_MS = 168 * HOUR_MS;

const object = () => env.MONITOR.getByName("monitor");
const pager = sink("alerts");
/** The time of the next run of the cron. */
const fiveMinutesOn = () => vi.setSystemTime(Date.now() + 300_000);
const evaluate = async () => {
  const { status, json, text } = await api("/api/health", { method: "POST" });
  expect(status, text).toBe(200);
  return json;
};
const cron = () => exports.default.scheduled({ cron: "*/5 * * * *", scheduledTime: new Date() });

/** Notices that were taken, oldest first. */
const told = async () =>
  (await pager.latest())
    .filter(({ status }) => status === 200)
    .map(({ body, headers }) => ({ headers, text: body, json: JSON.parse(body) }));

async function family(name: string) {
  const { text } = await api("/metrics?format=prometheus");
  const found = parseOpenMetrics(text).get(`genesys_gateway_${name}`)?.samples ?? [];
  return Object.fromEntries(
    found.map(({ labels, value }) => [Object.values(labels).join(" "), value]),
  );
}

beforeAll(async () => {
  // A sink is there from its first request on.
  await pager.behaveWell();
  expect((await deliver("monitored")).status).toBe(200);
  await eventually(async () => expect((await read("/metrics")).sources.monitored.lastDeliveryAtMs).toBeGreaterThan(0));
});

afterEach(() => {
  vi.useRealTimers();
});

it("knows nothing before it was told anything", async () => {
  const health = await read("/api/health");
  expect(health).toMatchObject({ evaluatedAtMs: null, alerts: [], noticesWaiting: 0, missing: [] });
  expect(health.sources.monitored).toEqual({
    lastRequestAtMs: expect.any(Number),
    lastDeliveryAtMs: expect.any(Number),
    activity: "unknown",
    expected: false,
    subscription: null,
    alerts: [],
  });
  expect(health.sources["contact-center"]).toMatchObject({ lastDeliveryAtMs: null, subscription: null });
  expect(await family("source_silent")).toEqual({});
});

it("shows subscriptions as the last reconciliation left them, and counts its requests", async () => {
  expect((await api("/api/reconcile", { method: "POST" })).json).toMatchObject({ failed: 0 });
  const { sources } = await evaluate();
  expect(sources["contact-center"].subscription).toEqual({ state: "repaired" });
  expect((await api("/api/reconcile", { method: "POST" })).json).toMatchObject({ failed: 0, applied: 0 });
  expect((await evaluate()).sources["contact-center"].subscription).toEqual({ state: "as_declared" });
  const { vendorRequests, tokenRefreshes, reconcile } = await read("/metrics");
  expect(vendorRequests.webhooks["2xx"]).toBeGreaterThan(2);
  expect(vendorRequests.oauth).toEqual({ "2xx": tokenRefreshes.ok });
  expect(reconcile.lastSuccessAtMs).toBe(reconcile.startedAtMs);
  expect(await family("subscription_changes")).toMatchObject({ "contact-center create applied": 1 });
  expect(await family("subscription_state")).toMatchObject({ "messaging as_declared": 1, "messaging unrepaired": 0 });
});

describe("a source with a limit", () => {
  const activity = async () => (await evaluate()).sources.monitored;

  it("is not silent because the object that may know of its deliveries does not answer", async () => {
    expect((await activity()).activity).toBe("normal");
    const repair = await failing(env.COUNTERS.getByName("counters-1"), "seen");
    vi.setSystemTime(Date.now() + SILENCE_AFTER_S * 1_000 + 5_000);
    const blind = await evaluate();
    expect(blind.missing).toEqual(["counters-1"]);
    expect(blind.sources.monitored).toMatchObject({ activity: "normal", alerts: [] });
    await repair();
  });

  it("is silent when it has been quiet for longer, and somebody is told once", async () => {
    expect((await activity()).activity).toBe("normal");
    expect(await family("source_silent")).toEqual({ monitored: 0 });
    vi.setSystemTime(Date.now() + SILENCE_AFTER_S * 1_000 + 5_000);
    for (let round = 0; round < 3; round += 1) {
      const own = await activity();
      expect(own.activity).toBe("silent");
      expect(own.alerts).toEqual([{ kind: "silence", source: "monitored", sinceMs: expect.any(Number) }]);
      await evictDurableObject(object());
    }
    expect((await told()).map(({ json }) => [json.type, json.data.kind, json.data.source])).toEqual([
      ["alert.raised", "silence", "monitored"],
    ]);
    expect(await family("source_silent")).toEqual({ monitored: 1 });
    expect(await family("alerts_raised")).toMatchObject({ silence: 1, dead_letters: 0 });
  });

  it("is signed so that its receiver can tell", async () => {
    const [{ headers, text }] = await told();
    const key = Uint8Array.from(atob(SECRETS.ALERT_SECRET.slice("whsec_".length)), (char) => char.charCodeAt(0));
    const { "webhook-id": id, "webhook-timestamp": timestamp } = headers;
    expect(id).toMatch(/^alert-\d+-silence\.monitored-raised$/);
    expect(headers["webhook-signature"]).toBe(`v1,${base64(await hmac(key, `${id}.${timestamp}.${text}`))}`);
  });

  it("recovers once it delivers again, after three evaluations", async () => {
    expect((await deliver("monitored")).status).toBe(200);
    const before = (await read("/api/health")).sources.monitored.lastDeliveryAtMs;
    await eventually(async () =>
      expect((await read("/api/health")).sources.monitored.lastDeliveryAtMs).toBeGreaterThanOrEqual(before),
    );
    await eventually(async () => expect((await activity()).activity).toBe("normal"));
    // Whoever asks three times in a row has not waited three times.
    await evaluate();
    await evaluate();
    await evaluate();
    expect((await read("/api/health")).alerts).toHaveLength(1);
    for (let round = 0; round < 2; round += 1) {
      fiveMinutesOn();
      // It delivers all the time.
      expect((await deliver("monitored")).status).toBe(200);
      await eventually(async () =>
        expect((await read("/api/health")).sources.monitored.lastDeliveryAtMs).toBeGreaterThan(Date.now() - SILENCE_AFTER_S * 500),
      );
      expect((await activity()).activity).toBe("normal");
    }
    expect((await told()).map(({ json }) => json.type)).toEqual(["alert.raised", "alert.recovered"]);
    expect((await read("/api/health")).alerts).toEqual([]);
  });

  it("has its alerts in the audit trail, what arose and what was sent", async () => {
    const { entries } = await read("/api/audit?action=ALERT");
    expect(entries.map(({ error, source, statusCode }: any) => [error, source, statusCode])).toEqual([
      ["silence recovered", "monitored", 200],
      ["silence recovered", "monitored", undefined],
      ["silence raised", "monitored", 200],
      ["silence raised", "monitored", undefined],
    ]);
    expect((await read("/api/audit/verify")).intact).toBe(true);
  });
});

describe("an alert destination that does not answer", () => {
  it("is asked again by later evaluations, under the same identifier, and told once", async () => {
    const before = (await told()).length;
    await pager.behave({ status: 500 });
    for (let index = 0; index <= DEAD_LETTERS_OVER; index += 1) {
      expect((await post("archive", `{"${index}":`, { "x-genesys-signature": "0".repeat(64) })).status).toBe(401);
    }
    await eventually(async () => expect((await read("/metrics")).deadLetters.stored).toBe(DEAD_LETTERS_OVER + 1));
    expect((await evaluate()).noticesWaiting).toBe(1);
    expect(await cron()).toMatchObject({ outcome: "ok" });
    const waiting = await read("/api/health");
    expect(waiting.noticesWaiting).toBe(1);
    expect(waiting.alerts).toContainEqual({ kind: "dead_letters", sinceMs: expect.any(Number) });
    await abortAllDurableObjects();
    await pager.behaveWell();
    // At the same time: one of them sends.
    await Promise.all([evaluate(), evaluate(), cron(), evaluate()]);
    expect((await evaluate()).noticesWaiting).toBe(0);
    const all = (await told()).slice(before);
    expect(all.map(({ json }) => [json.type, json.data.kind, json.data.value]).filter(([, kind]) => kind === "dead_letters")).toEqual([
      ["alert.raised", "dead_letters", DEAD_LETTERS_OVER + 1],
    ]);
    const attempts = (await pager.latest()).map(({ headers }) => headers["webhook-id"]);
    const id = all[0].headers["webhook-id"];
    expect(attempts.filter((one) => one === id).length).toBeGreaterThanOrEqual(3);
    const { alertsSent } = await eventually(async () => {
      const metrics = await read("/metrics");
      expect(metrics.alertsSent.failed).toBeGreaterThanOrEqual(2);
      return metrics;
    });
    expect(alertsSent.delivered).toBeGreaterThanOrEqual(3);
  });
});

describe("a source without a limit", () => {
  const learning = env.MONITOR.getByName("learning");
  const NEVER = { conditions: {}, incomplete: false };
  /** Monday 2026-11-02, 00:00 UTC. */
  const MONDAY_MS = 1_793_577_600_000;

  /** Monday to Friday, eight to six; every hour has a delivery. */
  const works = (atMs: number) => {
    const hour = Math.floor(((atMs - MONDAY_MS) % WEEK_MS) / HOUR_MS);
    return hour < 120 && hour % 24 >= 8 && hour % 24 < 18;
  };

  it("is compared with its own hours of the week, through evictions", async () => {
    const activity = async (deliveries: object) =>
      (await call(learning, { evaluate: { ...NEVER, deliveries } })).sources.archive.activity;
    let lastMs = 0;
    const tuesdayMs = MONDAY_MS + 3 * WEEK_MS + 24 * HOUR_MS;
    const verdicts = new Set<string>();
    for (let atMs = MONDAY_MS; atMs < tuesdayMs + 8 * HOUR_MS; atMs += HOUR_MS / 2) {
      vi.setSystemTime(atMs);
      lastMs = works(atMs) ? atMs : lastMs;
      verdicts.add(await activity(lastMs === 0 ? {} : { archive: lastMs }));
      if (atMs % (24 * HOUR_MS) === 0) {
        await evictDurableObject(learning);
      }
    }
    // Three weeks with their nights and weekends.
    expect([...verdicts]).toEqual(["unknown", "normal"]);
    vi.setSystemTime(tuesdayMs + 9 * HOUR_MS);
    expect(await activity({ archive: lastMs })).toBe("normal");
    vi.setSystemTime(tuesdayMs + 11 * HOUR_MS);
    expect(await activity({ archive: lastMs })).toBe("silent");
    const rows = await runInDurableObject(learning, (_, state) =>
      state.storage.sql.exec("SELECT length(history) AS length FROM histories WHERE source = 'archive'").toArray(),
    );
    expect(rows[0].length).toBeLessThan(1_000);
  });
});

describe("what it is told of subscriptions", () => {
  const judged = (unrepaired: string[] | null) => call(object(), { evaluate: { deliveries: {}, conditions: { unrepaired }, incomplete: false } });
  const open = (health: any) => health.alerts.filter(({ kind }: any) => kind === "subscription");

  it("is raised when it was so twice, and stays while nobody can tell", async () => {
    expect(open(await judged(["messaging"]))).toEqual([]);
    expect(open(await judged(["messaging"]))).toEqual([]);
    fiveMinutesOn();
    expect(open(await judged(["messaging"]))).toMatchObject([{ source: "messaging" }]);
    for (let round = 0; round < 4; round += 1) {
      expect(open(await judged(null))).toHaveLength(1);
    }
    for (const left of [1, 1, 0]) {
      expect(open(await judged([]))).toHaveLength(left);
      fiveMinutesOn();
    }
  });
});

describe("subscriptions that nobody looks after", () => {
  const lifecycle = env.LIFECYCLE.getByName("lifecycle");
  const keep = (name: string, value: object) =>
    runInDurableObject(lifecycle, (_, state) =>
      void state.storage.sql.exec("INSERT OR REPLACE INTO kept VALUES (?, ?)", name, JSON.stringify(value)),
    );
  const states = ({ sources }: any) => ["contact-center", "messaging"].map((name) => sources[name].subscription);
  const raised = ({ alerts }: any) => alerts.filter(({ kind }: any) => kind === "subscription").map(({ source }: any) => source);
  const asDeclared = { state: "as_declared" };

  it("are not as declared while runs are refused, and somebody is told once", async () => {
    expect(states(await evaluate())).toEqual([asDeclared, asDeclared]);
    await keep("refused", { sinceMs: Date.now(), code: "missing_secret" });
    const refused = { state: "unrepaired", error: "missing_secret" };
    const first = await evaluate();
    expect([states(first), raised(first)]).toEqual([[refused, refused], []]);
    fiveMinutesOn();
    expect(raised(await evaluate())).toEqual(["contact-center", "messaging"]);
    expect(await family("subscription_state")).toMatchObject({ "messaging unrepaired": 1, "messaging as_declared": 0 });
    expect((await read("/metrics")).reconcileRefused).toEqual({ sinceMs: expect.any(Number), code: "missing_secret" });
    // A run that is not refused ends it.
    expect((await api("/api/reconcile", { method: "POST" })).json).toMatchObject({ failed: 0 });
    expect((await read("/api/reconcile")).refused).toBeUndefined();
    for (let round = 0; round < 2; round += 1) {
      fiveMinutesOn();
      const again = await evaluate();
      expect([states(again), raised(again)]).toEqual([[asDeclared, asDeclared], ["contact-center", "messaging"]]);
    }
    fiveMinutesOn();
    expect(raised(await evaluate())).toEqual([]);
  });

  it("are not what a report of half an hour ago says", async () => {
    const { report } = await read("/api/reconcile");
    vi.setSystemTime(report.started_at_ms + 1_800_000);
    expect(states(await read("/api/health"))).toEqual([asDeclared, asDeclared]);
    vi.setSystemTime(report.started_at_ms + 1_800_001 + 10_000);
    const stale = { state: "unrepaired", error: "reconcile_stale" };
    expect(states(await read("/api/health"))).toEqual([stale, stale]);
  });
});
