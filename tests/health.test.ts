import { SELF } from "cloudflare:test";
import { expect, it } from "vitest";

it("answers the health check", async () => {
  const response = await SELF.fetch("https://gateway.example/healthz");
  expect(response.status).toBe(200);
});
