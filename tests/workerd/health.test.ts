/** What probes ask: alive, and ready. */

import { exports } from "cloudflare:workers";
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
  "watch",
  "destinations",
];

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
