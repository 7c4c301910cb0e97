/**
 * The lifecycle of subscriptions on the real runtime, against the simulator's API: cron, management calls, the one object that
 * holds the token. What a reconciliation decides is tested with the client; the whole way with the vendor's deliveries needs an
 * address that the vendor reaches, which a runtime in a test does not have.
 */

import { abortAllDurableObjects } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, describe, expect, it } from "vitest";

import { api, expectNormalService, read, sha256 } from "./support/client.ts";
import { CLIENT_ID, CLIENT_SECRET, CONFIDENTIAL, SECRETS } from "./support/gateway.ts";
import { control } from "./support/sink.ts";

const RECONCILE = "*/5 * * * *";
const NAME = `Contact center ${env.RUN}`;
const MESSAGING = `Messaging ${env.RUN}`;

const cron = async (expression: string = RECONCILE) =>
  expect(await exports.default.scheduled({ cron: expression, scheduledTime: new Date() })).toMatchObject({ outcome: "ok" });
const reconcile = (query = "") => api(`/api/reconcile${query}`, { method: "POST" });
const item = (report: any, name: string) => report.items.find((one: any) => one.name === name);

/** The subscription as the vendor has it. */
const actual = async (name: string) =>
  (await control("GET", "subscriptions")).find((one: any) => one.name === name && !one.deleted);

/** A request to the vendor's API as somebody else makes it. */
async function vendor(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const credentials = {
    authorization: `Basic ${btoa(`${CLIENT_ID}:${CLIENT_SECRET}`)}`,
    "content-type": "application/x-www-form-urlencoded",
  };
  const answer = await fetch(`${env.SIMULATOR}/oauth/token`, {
    method: "POST",
    headers: credentials,
    body: "grant_type=client_credentials",
  });
  const { access_token } = (await answer.json()) as { access_token: string };
  const authorization = { authorization: `Bearer ${access_token}`, "content-type": "application/json" };
  return fetch(`${env.SIMULATOR}${path}`, {
    method,
    headers: { ...authorization, ...headers },
    body: body === undefined ? null : JSON.stringify(body),
  });
}

/** Somebody changes the webhook at the vendor. */
async function drift(change: Record<string, unknown>): Promise<void> {
  const path = `/api/v2/webhooks/webhooks/${(await actual(NAME)).id}`;
  const found = await vendor("GET", path);
  const { name, address, enabled, eventFilters, customProperties } = (await found.json()) as Record<string, unknown>;
  const whole = { name, address, enabled, eventFilters, customProperties, ...change };
  expect((await vendor("PUT", path, whole, { "if-match": found.headers.get("etag") as string })).status).toBe(200);
}

afterEach(async () => {
  await control("DELETE", "faults");
});

describe("before anything was reconciled", () => {
  it("there is no report", async () => {
    expect(await read("/api/reconcile")).toEqual({ report: null });
    expect((await read("/metrics")).reconcile).toBeNull();
  });

  it("a dry run says what would be done, and does nothing", async () => {
    const answer = await reconcile("?dryRun=true");
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({ dry_run: true, planned: 2, applied: 0, failed: 0 });
    expect(item(answer.json, NAME)).toMatchObject({ action: "create", outcome: "planned", source: "contact-center" });
    expect(await actual(NAME)).toBeUndefined();
    expect(await read("/api/reconcile")).toEqual({ report: null });
  });
});

describe("the cron", () => {
  it("creates what is declared, at both APIs, and keeps its report", async () => {
    await cron();
    const { report } = await read("/api/reconcile");
    expect(report).toMatchObject({ dry_run: false, planned: 2, failed: 0, unchanged: 0 });
    expect(item(report, NAME)).toMatchObject({ outcome: "applied", action: "create", correlationId: expect.any(String) });
    expect(await actual(NAME)).toMatchObject({
      api: "webhooks",
      delivers: true,
      address: expect.stringMatching(/\/webhook\/contact-center$/),
      secretSha256: await sha256(SECRETS.WEBHOOK_SECRET),
      fields: { enabled: true },
    });
    const { eventFilters } = (await actual(NAME)).fields;
    expect(eventFilters).toHaveLength(2);
    expect(eventFilters).toEqual(
      expect.arrayContaining(["call:created", "call:answered"].map((eventType) => ({ eventType, filter: "true" }))),
    );
    expect(await actual(MESSAGING)).toMatchObject({
      api: "open-messaging",
      secretSha256: await sha256(SECRETS.MESSAGING_SECRET),
    });
    expect((await read("/metrics")).reconcile).toMatchObject({ planned: 2, failed: 0, durationMs: expect.any(Number) });
  });

  it("changes nothing that is as declared", async () => {
    // The second run sees the end of what the first one began: an integration is created in the background.
    await cron();
    const version = (await actual(NAME)).version;
    await cron();
    expect((await read("/api/reconcile")).report).toMatchObject({ planned: 0, applied: 0, failed: 0, unchanged: 2 });
    expect((await actual(NAME)).version).toBe(version);
  });

  it("brings back what somebody else changed", async () => {
    await drift({ enabled: false, eventFilters: [{ eventType: "call:created", filter: "false" }] });
    await cron();
    const { report } = await read("/api/reconcile");
    expect(report).toMatchObject({ planned: 1, applied: 1, failed: 0, unchanged: 1 });
    expect(
      item(report, NAME)
        .diff.map(({ field }: { field: string }) => field)
        .toSorted(),
    ).toEqual(["enabled", "event_filters"]);
    const { enabled, eventFilters } = (await actual(NAME)).fields;
    expect([enabled, eventFilters.length, eventFilters.every(({ filter }: { filter: string }) => filter === "true")]).toEqual([
      true,
      2,
      true,
    ]);
  });

  it("that nobody knows does no harm", async () => {
    const before = await read("/api/reconcile");
    await cron("1 2 3 4 5");
    expect(await read("/api/reconcile")).toEqual(before);
    await expectNormalService();
  });

  it("fails without harm where the vendor does, says so, and recovers", async () => {
    await control("POST", "faults", { kind: "error", status: 400, path: "/api/v2/webhooks" });
    await cron();
    const { report } = await read("/api/reconcile");
    expect(report.failed).toBeGreaterThan(0);
    expect(item(report, NAME).error).toMatchObject({ code: expect.any(String), fault: expect.any(String), status: 400 });
    expect((await read("/metrics")).reconcile.failed).toBe(report.failed);
    await control("DELETE", "faults");
    await cron();
    expect((await read("/api/reconcile")).report).toMatchObject({ failed: 0, unchanged: 2 });
  });
});

describe("POST /api/reconcile", () => {
  it("does what the cron does, for the operator", async () => {
    await drift({ enabled: false });
    const answer = await reconcile("?dryRun=false");
    expect([answer.status, answer.json.applied]).toEqual([200, 1]);
    expect((await read("/api/reconcile")).report).toEqual(answer.json);
    const [entry] = (await read("/api/audit?action=RECONCILE&limit=1")).entries;
    expect(entry.actor).toBe("admin");
  });

  it("waits when the vendor says so", async () => {
    await control("POST", "faults", { kind: "rate_limited", retryAfterS: 1, times: 1 });
    expect((await reconcile()).json).toMatchObject({ failed: 0, unchanged: 2 });
  });

  it("recomputes when somebody else was faster", async () => {
    await drift({ enabled: false });
    await control("POST", "faults", { kind: "concurrent_writer", times: 1 });
    expect((await reconcile()).json).toMatchObject({ applied: 1, failed: 0 });
    expect((await actual(NAME)).fields.enabled).toBe(true);
  });

  it("runs once at a time", async () => {
    await control("POST", "faults", { kind: "slow", delayMs: 400, times: 2 });
    const answers = await Promise.all([reconcile(), reconcile(), reconcile()]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409, 409]);
    expect(answers.find(({ status }) => status === 409)?.json).toMatchObject({ code: "already_running" });
    expect((await reconcile()).status).toBe(200);
  });
});

describe("the token", () => {
  const issued = async () => (await control("GET", "state")).oauth.issued;

  it("is shared by all calls, and survives the object's restart", async () => {
    await read("/api/event-types");
    const before = await issued();
    await Promise.all(Array.from({ length: 5 }, () => read("/api/event-types")));
    // Not an eviction: it would wait for the time limits of the calls, which go on after their answers.
    await abortAllDurableObjects();
    await read("/api/event-types");
    expect(await issued()).toBe(before);
  });

  it("is replaced once, where the vendor has revoked it", async () => {
    const before = await issued();
    await control("POST", "oauth/revoke");
    await Promise.all(Array.from({ length: 5 }, () => read("/api/event-types")));
    expect(await issued()).toBe(before + 1);
  });
});

describe("management calls to the vendor", () => {
  it("list the catalogue from all of its pages", async () => {
    const { eventTypes } = await read("/api/event-types");
    expect(eventTypes.length).toBeGreaterThan(100);
    expect(new Set(eventTypes.map(({ id }: { id: string }) => id)).size).toBe(eventTypes.length);
    expect(eventTypes).toContainEqual({ id: "call:answered", name: "call:answered", description: expect.any(String) });
  });

  it("list the networks that webhooks come from", async () => {
    const { ipRanges } = await read("/api/ip-ranges");
    expect(ipRanges.map(({ cidr }: { cidr: string }) => cidr)).toEqual([
      "192.0.2.0/26",
      "192.0.2.64/26",
      "198.51.100.0/25",
      "2001:db8:17::/48",
    ]);
  });

  it("list and read subscriptions", async () => {
    const { id } = await actual(NAME);
    const { subscriptions } = await read("/api/subscriptions?source=contact-center");
    expect(subscriptions.map((one: any) => one.id)).toEqual([id]);
    const one = await api(`/api/subscriptions/contact-center/${id}`);
    expect([one.status, one.json.name]).toEqual([200, NAME]);
    expect(one.headers.get("etag")).toBeTruthy();
    for (const secret of CONFIDENTIAL) {
      expect(one.text).not.toContain(secret);
    }
  });

  it("update against the version that was read", async () => {
    const path = `/api/subscriptions/contact-center/${(await actual(NAME)).id}`;
    const stale = (await api(path)).headers.get("etag") as string;
    await drift({ enabled: false });
    const refused = await api(path, { method: "PUT", headers: { "if-match": stale } });
    expect([refused.status, refused.json.code]).toEqual([412, "version_mismatch"]);
    expect(refused.json.detail).toMatchObject({ status: 412, correlationId: expect.any(String), fault: expect.any(String) });
    expect((await actual(NAME)).fields.enabled).toBe(false);
    const done = await api(path, { method: "PUT" });
    expect([done.status, done.json.changes.map(({ field }: { field: string }) => field)]).toEqual([200, ["enabled"]]);
    expect((await actual(NAME)).fields.enabled).toBe(true);
  });

  it("create, refuse to create twice, and delete, where deleting again changes nothing", async () => {
    const create = () => api("/api/subscriptions", { method: "POST", body: '{"source":"contact-center"}' });
    const { id } = await actual(NAME);
    const exists = await create();
    expect([exists.status, exists.json.code]).toEqual([409, "exists"]);
    const path = `/api/subscriptions/contact-center/${id}`;
    for (const _ of ["the first time", "again"]) {
      expect((await api(path, { method: "DELETE" })).status).toBe(204);
      expect(await actual(NAME)).toBeUndefined();
    }
    expect((await api(path)).status).toBe(404);
    const created = await create();
    expect([created.status, created.json.name]).toEqual([201, NAME]);
    expect((await actual(NAME)).id).not.toBe(id);
  });

  it("delete nothing that is not the gateway's", async () => {
    const body = {
      name: "Somebody's",
      address: "https://example.com/",
      eventFilters: [{ eventType: "call:created", filter: "true" }],
    };
    const { id } = await control("POST", "subscriptions", { api: "webhooks", body });
    const answer = await api(`/api/subscriptions/contact-center/${id}`, { method: "DELETE" });
    expect([answer.status, answer.json.code]).toEqual([409, "not_owned"]);
    expect(await actual("Somebody's")).toBeDefined();
    expect((await reconcile()).json).toMatchObject({ planned: 0, failed: 0 });
  });

  it.each<[string, string, number, string]>([
    ["an unknown source", "/api/subscriptions?source=unknown", 404, "unknown_source"],
    ["a source whose profile has no subscriptions", "/api/subscriptions?source=github", 409, "no_subscription_api"],
    ["a subscription of nobody", "/api/subscriptions/contact-center/none", 404, "not_found"],
  ])("name what is wrong with %s", async (_, path, status, code) => {
    const answer = await api(path);
    expect([answer.status, answer.json.code]).toEqual([status, code]);
  });

  it("show the vendor's failures as a bad gateway, with its correlation id", async () => {
    await control("POST", "faults", { kind: "error", status: 403, path: "/api/v2/webhooks" });
    const answer = await api("/api/subscriptions?source=contact-center");
    expect([answer.status, answer.json.code]).toEqual([502, "missing_permission"]);
    expect(answer.json.detail).toMatchObject({ status: 403, fault: "configuration", correlationId: expect.any(String) });
  });

  it("probe addresses", async () => {
    const probe = async (url: string) => api("/api/probe", { method: "POST", body: JSON.stringify({ url }) });
    expect((await probe(`${env.SIMULATOR}/sink/probed`)).json).toMatchObject({ reachable: true, status: 204 });
    expect((await probe(`${env.SIMULATOR}/nothing/here`)).json).toMatchObject({
      reachable: false,
      status: 404,
      error: "it answered 404",
    });
    expect((await probe("http://127.0.0.1:1/")).json).toMatchObject({ reachable: false, error: expect.any(String) });
    for (const url of ["ftp://example.com/", "example.com", "https://user:password@example.com/", ""]) {
      const answer = await probe(url);
      expect([answer.status, answer.json.code], url).toEqual([400, "address_refused"]);
    }
  });
});

it("every action is in the audit trail, with its actor and the vendor's correlation id, and no secret is", async () => {
  const { entries } = await read("/api/audit?limit=500");
  const actions = new Set(entries.map(({ action, actor }: { action: string; actor: string }) => `${action} ${actor}`));
  for (const expected of [
    "CREATE cron",
    "UPDATE cron",
    "RECONCILE cron",
    "RECONCILE admin",
    "CREATE admin",
    "UPDATE admin",
    "DELETE admin",
    "PROBE admin",
  ]) {
    expect(actions).toContain(expected);
  }
  for (const entry of entries.filter(
    ({ action, error }: any) => ["CREATE", "UPDATE", "DELETE"].includes(action) && error === undefined,
  )) {
    expect(entry).toMatchObject({
      source: expect.any(String),
      webhookId: expect.any(String),
      correlationId: expect.any(String),
      statusCode: expect.any(Number),
    });
  }
  const failed = entries.find(({ action, error }: any) => action === "UPDATE" && error !== undefined);
  expect(failed).toMatchObject({ actor: "admin", error: "version_mismatch", statusCode: 412 });
  expect(await read("/api/audit/verify")).toEqual({ intact: true, checked: entries.length });
  const shown = JSON.stringify([entries, await read("/api/reconcile")]);
  expect(CONFIDENTIAL.filter((secret) => shown.includes(secret))).toEqual([]);
});
