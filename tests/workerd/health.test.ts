import { exports } from "cloudflare:workers";
import { expect, it } from "vitest";

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
