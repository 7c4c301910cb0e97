/** The management API: who may call it, and how it answers what it cannot do. */

import { describe, expect, it } from "vitest";

import {
  api,
  base64,
  bytes,
  events,
  eventually,
  expectNormalService,
  hmac,
  post,
  read,
  send,
  webhooksHeaders,
} from "./support/client.ts";
import { CONFIDENTIAL, SECRETS } from "./support/gateway.ts";
import { deliveryId } from "./support/messages.ts";
import management from "../../src/api/routes.rs?raw";

/** A line of the route table, with a path that fits its pattern. */
interface Route {
  method: string;
  path: string;
  query: string[];
  takesBody: boolean;
}

/** Every management call, as the table has it. */
const ROUTES: Route[] = management
  .split("const MANAGEMENT")[1]
  .split("};")[0]
  .split("\n")
  .slice(1)
  .filter((line) => line.trim() !== "")
  .map((line) => {
    const [, method, pattern, query, body] = /^ +([A-Z]+) +"([^"]+)"(?: \?([\w&]+))?( with \w+)? => [\w:(), ]+;$/.exec(line) ?? [line];
    const path = pattern.replace("{source}", "contact-center").replace("{id}", deliveryId());
    return { method, path, query: query?.split("&") ?? [], takesBody: body !== undefined };
  });

describe("without the operator's token nobody learns anything", () => {
  const token = SECRETS.ADMIN_TOKEN;
  it.each<[string, Record<string, string>]>([
    ["no header", {}],
    ["an empty one", { authorization: "" }],
    ["no token", { authorization: "Bearer" }],
    ["an empty token", { authorization: "Bearer " }],
    ["another token", { authorization: "Bearer another-token-of-nobody" }],
    ["the beginning of the token", { authorization: `Bearer ${token.slice(0, -1)}` }],
    ["more than the token", { authorization: `Bearer ${token}x` }],
    ["another case", { authorization: `Bearer ${token.toUpperCase()}` }],
    ["another scheme", { authorization: `Basic ${btoa(`admin:${token}`)}` }],
    ["the bare token", { authorization: token }],
    ["the token in another header", { "x-admin-token": token }],
  ])("%s", async (_, headers) => {
    for (const { method, path } of [...ROUTES, { method: "GET", path: "/api/nonsense" }, { method: "PATCH", path: "/metrics" }]) {
      const answer = await send(path, { method, headers });
      expect([answer.status, answer.json], `${method} ${path}`).toEqual([401, { error: "Unauthorized", code: "unauthorized" }]);
      expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    }
  });

  it("in the query", async () => {
    expect((await send(`/metrics?token=${token}&authorization=Bearer%20${token}`)).status).toBe(401);
  });

  it("lets it in, however the scheme is written", async () => {
    for (const scheme of ["Bearer", "bearer", "BEARER"]) {
      expect((await send("/api/audit", { headers: { authorization: `${scheme} ${token}` } })).status).toBe(200);
    }
  });
});

describe("errors have one form", () => {
  it.each([
    "/api",
    "/api/",
    "/api/nonsense",
    "/api/deliveries/a/b",
    "/api/audit/verify/x",
    "/api/dead-letters/a/b",
    "/metrics/x",
  ])("404 for %s", async (path) => {
    const answer = await api(path);
    expect([answer.status, answer.json]).toEqual([404, { error: "Not found", code: "not_found" }]);
  });

  it("HEAD is answered as GET is, without a body", async () => {
    for (const path of ["/metrics", "/api/deliveries", "/api/audit/verify"]) {
      const [get, head] = [await api(path), await api(path, { method: "HEAD" })];
      expect([head.status, head.text, head.headers.get("content-type")]).toEqual([get.status, "", get.headers.get("content-type")]);
    }
    expect((await api("/api/deliveries/none", { method: "HEAD" })).status).toBe(404);
  });

  it("405 for every method that a path does not have, with those that it has", async () => {
    expect(ROUTES.length).toBeGreaterThan(30);
    const paths = Map.groupBy(ROUTES, ({ path }) => path.replace(/[0-9A-Z]{26}/, "{id}"));
    for (const [pattern, own] of paths) {
      const methods = own.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method]));
      for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].filter((other) => !methods.includes(other))) {
        const answer = await api(own[0].path, { method });
        expect([answer.status, answer.headers.get("allow")], `${method} ${pattern}`).toEqual([405, methods.join(", ")]);
        expect(method === "HEAD" || answer.json.code === "method_not_allowed").toBe(true);
      }
    }
  });

  it("400 for a query parameter that a call does not know, with those that it knows", async () => {
    for (const { method, path, query } of ROUTES) {
      const answer = await api(`${path}?size=1`, { method });
      const known = query.length > 0 ? `known here: ${query.join(", ")}` : "none is known here";
      expect([answer.status, answer.json], `${method} ${path}`).toEqual([
        400,
        { error: "Invalid parameter", code: "invalid_parameter", detail: `size: unknown parameter; ${known}` },
      ]);
      for (const name of query) {
        const twice = await api(`${path}?${name}=1&${name}=1`, { method });
        expect([twice.status, twice.json.detail], `${method} ${path}`).toEqual([400, `${name}: given twice`]);
      }
    }
  });

  it("400 for a body where none is taken, and for a field that a body does not have", async () => {
    for (const { method, path, takesBody } of ROUTES.filter(({ method }) => method !== "GET")) {
      const answer = await api(path, { method, body: '{"dryRn":true}' });
      const detail = takesBody ? expect.stringContaining("unknown field `dryRn`") : "this call takes no body";
      expect([answer.status, answer.json], `${method} ${path}`).toEqual([400, { error: "Invalid body", code: "invalid_body", detail }]);
    }
    const filter = await api("/api/dead-letters/replay", { method: "POST", body: '{"filter":{"origin":"a"}}' });
    expect([filter.status, filter.json.code]).toEqual([400, "invalid_body"]);
  });

  it.each([
    ...["deliveries", "dead-letters", "audit"].flatMap((list) =>
      ["0", "501", "-1", "1.5", "ten", "99999999999", "%31%30x"].map((limit) => [`/api/${list}?limit=${limit}`, /^limit: /]),
    ),
    ...["deliveries", "dead-letters"].flatMap((list) =>
      ["x", "12", "x-y", "-1-y", "1.5-y"].map((cursor) => [`/api/${list}?cursor=${cursor}`, /^cursor: /]),
    ),
    ["/api/audit?cursor=x", /^cursor: /],
    ["/api/audit?cursor=-1", /^cursor: /],
    ["/api/audit/verify?from=0", /^from: /],
    ["/api/audit/verify?limit=10001", /^limit: /],
    ["/api/audit/verify?segment=0", /^segment: /],
    ["/api/audit/verify?segment=1&from=2", /^segment: expected to stand alone/],
    ["/api/audit?action=SING", /^action: expected one of CREATE, /],
    ["/metrics?format=xml", /^format: expected one of json, /],
    ["/api/deliveries?status=lost", /^status: expected one of claimed, /],
    ["/api/dead-letters?since=yesterday", /^since: /],
    ["/api/reconcile?dryRun=maybe", /^dryRun: /],
  ] as [string, RegExp][])("400 for %s", async (path, detail) => {
    const answer = await api(path, { method: path.startsWith("/api/reconcile") ? "POST" : "GET" });
    expect([answer.status, answer.json]).toEqual([
      400,
      { error: "Invalid parameter", code: "invalid_parameter", detail: expect.stringMatching(detail) },
    ]);
  });

  it("an empty parameter is none", async () => {
    expect((await api("/api/deliveries?limit=&cursor=&status=&source=")).status).toBe(200);
  });

  it.each<[string, string | Uint8Array]>([
    ["nothing", ""],
    ["no JSON", "{"],
    ["an array", "[]"],
    ["a field too many", '{"source":"archive","headers":{},"body":"","x":1}'],
    ["a field too few", '{"source":"archive","body":""}'],
    ["no UTF-8", new Uint8Array([0x7b, 0xff, 0x7d])],
    ["100,000 brackets", "[".repeat(100_000)],
  ])("400 for a body that is %s", async (_, body) => {
    for (const path of ["/api/explain", "/api/probe", "/api/subscriptions"]) {
      const answer = await api(path, { method: "POST", body });
      expect([answer.status, answer.json]).toEqual([
        400,
        { error: "Invalid body", code: "invalid_body", detail: expect.any(String) },
      ]);
    }
    await expectNormalService();
  });

  it("413 for a body that is too large to be one", async () => {
    const answer = await api("/api/explain", { method: "POST", body: "x".repeat(8_000_001) });
    expect([answer.status, answer.json.code]).toEqual([413, "body_too_large"]);
    await expectNormalService();
  });
});

describe("the signature doctor", () => {
  const explain = async (request: object) =>
    (await api("/api/explain", { method: "POST", body: JSON.stringify(request) })).json;
  const body = events(2);

  it("accepts what the gateway accepts, and names the secret", async () => {
    const explanation = await explain({
      source: "contact-center",
      headers: await webhooksHeaders(body, SECRETS.WEBHOOK_SECRET_PREVIOUS),
      body,
    });
    expect(explanation).toMatchObject({
      verdict: "accepted",
      secret_label: "previous",
      event_count: 2,
      findings: [],
      complete: true,
    });
  });

  it.each<[string, string, () => Promise<Record<string, string>>, string]>([
    ["a line end that was added", '{ "events":[] }\n', () => webhooksHeaders('{ "events":[] }'), "line_end_added"],
    ["a line end that was removed", body, () => webhooksHeaders(`${body}\n`), "line_end_removed"],
    ["JSON that was written anew", '{ "events": [] }', () => webhooksHeaders('{"events":[]}'), "json_rewritten"],
    [
      "a signature in base64",
      body,
      async () => ({ "x-genesys-signature": base64(await hmac(SECRETS.WEBHOOK_SECRET, body)) }),
      "other_encoding",
    ],
    [
      "a signature in another header",
      body,
      async () => ({ "x-hub-signature-256": `sha256=${(await webhooksHeaders(body))["x-genesys-signature"]}` }),
      "other_header",
    ],
    [
      "a secret that was pasted with a line end",
      body,
      () => webhooksHeaders(body, `${SECRETS.WEBHOOK_SECRET}\n`),
      "secret_line_end",
    ],
    [
      "the secret in place of the signature",
      body,
      async () => ({ "x-genesys-signature": SECRETS.WEBHOOK_SECRET }),
      "secret_in_header",
    ],
    ["another secret", body, () => webhooksHeaders(body, "another secret of nobody"), "unexplained"],
    ["no signature", body, async () => ({}), "no_signature"],
  ])("explains %s", async (_, sent, headers, code) => {
    const explanation = await explain({ source: "archive", headers: await headers(), bodyBase64: base64(bytes(sent)) });
    expect(explanation.verdict).not.toBe("accepted");
    expect(explanation.findings.map((finding: { code: string }) => finding.code)).toContain(code);
    expect(explanation.summary).not.toBe("");
    const shown = JSON.stringify(explanation);
    expect(CONFIDENTIAL.filter((secret) => shown.includes(secret))).toEqual([]);
  });

  it("says of a source without secrets whose fault it is", async () => {
    expect(await explain({ source: "no-secret", headers: await webhooksHeaders(body), body })).toMatchObject({
      verdict: "no_active_secret",
    });
  });

  it("refuses what is no recording", async () => {
    const call = (request: object) => api("/api/explain", { method: "POST", body: JSON.stringify(request) });
    for (const [request, status, code] of [
      [{ source: "unknown", headers: {}, body }, 404, "not_found"],
      [{ source: "archive", headers: {} }, 400, "invalid_parameter"],
      [{ source: "archive", headers: {}, body, bodyBase64: "" }, 400, "invalid_parameter"],
      [{ source: "archive", headers: {}, bodyBase64: "*" }, 400, "invalid_parameter"],
    ] as [object, number, string][]) {
      const answer = await call(request);
      expect([answer.status, answer.json.code], JSON.stringify(request)).toEqual([status, code]);
    }
  });

  it("keeps nothing of what it is shown", async () => {
    const stored = (await read("/metrics")).deadLetters.stored;
    expect(await explain({ source: "archive", headers: {}, body: "{}" })).toMatchObject({ verdict: "missing_signature" });
    // A delivery behind it, so that whatever it had sent to a queue would be stored by now.
    await post("archive", "{}");
    await eventually(async () => expect((await read("/metrics")).deadLetters.stored).toBe(stored + 1));
    expect((await read("/metrics")).sources.archive.refused).toEqual({ missing_signature: 1 });
  });
});
