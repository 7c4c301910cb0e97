/** What probes ask: alive, and ready. */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { expect, it, vi } from "vitest";

it("answers the health check to anybody, and to no other method", async () => {
  const url = "https://gateway.example/healthz";
  const response = await exports.default.fetch(url);
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ status: "ok", version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
  expect((await exports.default.fetch(url, { method: "HEAD" })).status).toBe(200);
  const refused = await exports.default.fetch(url, { method: "POST" });
  expect(refused.status).toBe(405);
  expect(refused.headers.get("allow")).toBe("GET, HEAD");
});

const CHECKS = [
  "configuration",
  "secrets",
  "deliveries_queue",
  "dead_letters_queue",
  "bucket",
  "counters",
  "delivery_ledger",
  "dead_letter_store",
  "audit_log",
  "lifecycle",
  "monitor",
  "destinations",
];

it("has those wait for the first round of checks who ask during it", async () => {
  const url = "https://gateway.example/readyz";
  const answers = await Promise.all(Array.from({ length: 20 }, () => exports.default.fetch(url)));
  const texts = new Set(await Promise.all(answers.map((answer) => answer.text())));
  expect(texts.size).toBe(1);
  expect(JSON.parse([...texts][0]).checks).toMatchObject({ configuration: "ok" });
});

it("tells anybody which checks of readiness hold, and nothing else", async () => {
  const url = "https://gateway.example/readyz";
  const response = await exports.default.fetch(url);
  // These tests leave two secrets out on purpose.
  expect(response.status).toBe(503);
  const checks = Object.fromEntries(CHECKS.map((name) => [name, name === "secrets" ? "failed" : "ok"]));
  expect(await response.json()).toEqual({ status: "not_ready", checks });
  expect((await exports.default.fetch(url, { method: "POST" })).headers.get("allow")).toBe("GET, HEAD");
});

it("checks readiness once in ten seconds, however often it is asked", async () => {
  const url = "https://gateway.example/readyz";
  const before = await (await exports.default.fetch(url)).text();
  const answers = await Promise.all(Array.from({ length: 50 }, () => exports.default.fetch(url)));
  for (const answer of answers) {
    expect(await answer.text()).toBe(before);
  }
  vi.setSystemTime(Date.now() + 10_001);
  // A round that has run out is followed by one more, not by one for each that asks.
  const again = await Promise.all(Array.from({ length: 50 }, () => exports.default.fetch(url)));
  for (const answer of again) {
    expect(await answer.text()).toBe(before);
  }
  vi.useRealTimers();
});

it("is not ready where a newer version has changed an object's tables, although it answers", async () => {
  const objects = {
    counters: [env.COUNTERS, "counters-0"],
    delivery_ledger: [env.DELIVERY_LEDGER, "ledger-0"],
    dead_letter_store: [env.DEAD_LETTER_STORE, "dead-letters"],
    audit_log: [env.AUDIT_LOG, "audit"],
    lifecycle: [env.LIFECYCLE, "lifecycle"],
    monitor: [env.MONITOR, "monitor"],
    destinations: [env.DESTINATIONS, "readyz"],
  } as const;
  for (const [binding, name] of Object.values(objects)) {
    const object = binding.getByName(name);
    await runInDurableObject(object, (_, state) => void state.storage.sql.exec("UPDATE schema SET version = version + 1"));
    await evictDurableObject(object);
  }
  vi.setSystemTime(Date.now() + 20_002);
  const response = await exports.default.fetch("https://gateway.example/readyz");
  vi.useRealTimers();
  expect(response.status).toBe(503);
  const { checks } = (await response.json()) as { checks: Record<string, string> };
  for (const name of Object.keys(objects)) {
    expect(checks[name], name).toBe("failed");
  }
  expect(checks).toMatchObject({ configuration: "ok", bucket: "ok" });
});
