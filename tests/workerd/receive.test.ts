/** `POST /webhook/{source}`: what is accepted and refused, and how it is answered. */

import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";

import {
  DELIVERY_ID,
  bytes,
  deliver,
  events,
  eventually,
  expectNormalService,
  githubHeaders,
  messagingHeaders,
  post,
  read,
  send,
  sha256,
  standardHeaders,
  unique,
  webhooksHeaders,
} from "./support/client.ts";
import { RATE_LIMIT, SECRETS, SMALL_LIMIT_BYTES } from "./support/gateway.ts";
import { sink } from "./support/sink.ts";

const nowS = () => Math.floor(Date.now() / 1000);
const message = () =>
  JSON.stringify({ id: unique("message"), type: "Text", channel: { time: "2025-06-10T21:03:05.427Z" }, text: "Hi" });

describe("genuine deliveries are answered 200 with their events and an identifier", () => {
  const body = events(3);
  const single = message();
  const cases: [string, string, string, () => Promise<Record<string, string>>, number][] = [
    ["of webhooks", "contact-center", body, () => webhooksHeaders(body), 3],
    [
      "with upper-case digits in the signature",
      "archive",
      body,
      async () => {
        const headers = await webhooksHeaders(body);
        return { ...headers, "x-genesys-signature": headers["x-genesys-signature"].toUpperCase() };
      },
      3,
    ],
    [
      "signed with the previous secret",
      "contact-center",
      events(2, "previous"),
      () => webhooksHeaders(events(2, "previous"), SECRETS.WEBHOOK_SECRET_PREVIOUS),
      2,
    ],
    [
      "without any content type",
      "archive",
      body,
      async () => ({ "x-genesys-signature": (await webhooksHeaders(body))["x-genesys-signature"] }),
      3,
    ],
    ["without events", "archive", '{"events":[]}', () => webhooksHeaders('{"events":[]}'), 0],
    ["of Open Messaging", "messaging", single, () => messagingHeaders(single), 1],
    [
      "of Open Messaging of a type that nobody knows",
      "messaging",
      '{"type":"Hologram"}',
      () => messagingHeaders('{"type":"Hologram"}'),
      1,
    ],
    ["of Standard Webhooks", "standard", '{"test": 1}', () => standardHeaders('{"test": 1}', unique("msg"), nowS()), 1],
    ["of a custom scheme", "github", "{}", () => githubHeaders("{}", unique("delivery")), 1],
  ];
  it.each(cases)("%s", async (_, source, sent, headers, eventCount) => {
    const answer = await post(source, sent, await headers());
    expect(answer.json).toEqual({ received: true, eventCount, id: expect.stringMatching(DELIVERY_ID) });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });
});

it("answers a repeated delivery 200, so that its sender does not repeat it again", async () => {
  const body = events(1);
  const answers = [await deliver("archive", body), await deliver("archive", body)];
  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  expect(answers[0].json.id).not.toBe(answers[1].json.id);
});

describe("refused deliveries are answered with what is wrong and where", () => {
  const body = events(1);
  const signature = { error: "Invalid signature" };
  const payload = { error: "Invalid payload structure" };
  const genuine = (name: string, sent: string) => async () => ({ ...(await webhooksHeaders(sent)), "x-case": name });
  const standard = (timestampS: () => number) => async () => standardHeaders("{}", "msg_1", timestampS());
  const cases: [string, string, string, () => Promise<Record<string, string>>, number, object][] = [
    [
      "no signature header",
      "archive",
      body,
      async () => ({}),
      401,
      { ...signature, code: "missing_signature", detail: "header x-genesys-signature is missing or empty" },
    ],
    [
      "an empty signature header",
      "archive",
      body,
      async () => ({ "x-genesys-signature": "" }),
      401,
      { ...signature, code: "missing_signature", detail: "header x-genesys-signature is missing or empty" },
    ],
    [
      "a signature that is not hexadecimal",
      "archive",
      body,
      async () => ({ "x-genesys-signature": "zz".repeat(32) }),
      401,
      { ...signature, code: "malformed_signature", detail: "header x-genesys-signature is not hex" },
    ],
    [
      "a signature that is too short",
      "archive",
      body,
      async () => ({ "x-genesys-signature": "00ff" }),
      401,
      {
        ...signature,
        code: "malformed_signature",
        detail: "header x-genesys-signature has 4 characters where hex of 32 bytes has 64",
      },
    ],
    [
      "the signature of another body",
      "archive",
      body,
      async () => webhooksHeaders(`${body} `),
      401,
      { ...signature, code: "signature_mismatch", detail: "no active secret makes this signature over this body" },
    ],
    [
      "the signature of another secret",
      "archive",
      body,
      async () => webhooksHeaders(body, "some-other-secret"),
      401,
      { ...signature, code: "signature_mismatch", detail: "no active secret makes this signature over this body" },
    ],
    [
      "hexadecimal where base64 belongs",
      "messaging",
      body,
      async () => githubHeaders(body, "1"),
      401,
      {
        ...signature,
        code: "malformed_signature",
        detail: expect.stringContaining("header x-hub-signature-256 has 64 characters"),
      },
    ],
    [
      "signed too long ago",
      "standard",
      "{}",
      standard(() => nowS() - 400),
      401,
      {
        ...signature,
        code: "timestamp_out_of_tolerance",
        detail: expect.stringMatching(/^signed 40\d s ago, allowed are 300 s$/),
      },
    ],
    [
      "signed in the future",
      "standard",
      "{}",
      standard(() => nowS() + 400),
      401,
      {
        ...signature,
        code: "timestamp_out_of_tolerance",
        detail: expect.stringMatching(/^signed (39\d|400) s in the future, allowed are 300 s$/),
      },
    ],
    [
      "no JSON",
      "archive",
      "events",
      genuine("no JSON", "events"),
      400,
      { ...payload, code: "invalid_json", detail: "expected a value at byte 0" },
    ],
    [
      "JSON that ends in the middle",
      "archive",
      '{"events":[1',
      genuine("cut", '{"events":[1'),
      400,
      { ...payload, code: "invalid_json", detail: "the text ends in the middle at byte 12" },
    ],
    [
      "no events",
      "archive",
      '{"event":[]}',
      genuine("none", '{"event":[]}'),
      400,
      { ...payload, code: "invalid_envelope", detail: 'expected an array "events", found no such member at byte 11' },
    ],
    [
      "events that are no array",
      "archive",
      '{"events":{}}',
      genuine("object", '{"events":{}}'),
      400,
      { ...payload, code: "invalid_envelope", detail: 'expected "events" to be an array at byte 10' },
    ],
    [
      "an array where an object belongs",
      "messaging",
      "[]",
      async () => messagingHeaders("[]"),
      400,
      { ...payload, code: "invalid_envelope", detail: "expected an object at byte 0" },
    ],
    [
      "a body over the limit",
      "small",
      "x".repeat(SMALL_LIMIT_BYTES + 1),
      async () => ({}),
      413,
      { error: "Payload too large", code: "body_too_large", detail: `the body is larger than ${SMALL_LIMIT_BYTES} bytes` },
    ],
  ];
  it.each(cases)("%s", async (_, source, sent, headers, status, expected) => {
    const answer = await post(source, sent, await headers());
    expect(answer.json).toEqual(expected);
    expect(answer.status).toBe(status);
    await expectNormalService();
  });
});

it("lets no tag of another header, prefix or encoding pass for the source's own", async () => {
  const body = events(1);
  const tag = (await webhooksHeaders(body))["x-genesys-signature"];
  for (const [headers, code] of [
    [{ "x-hub-signature-256": `sha256=${tag}` }, "missing_signature"],
    [{ "x-genesys-signature": `sha256=${tag}` }, "malformed_signature"],
    [{ "x-genesys-signature": `sha256=${tag}, ${tag.slice(1)}` }, "malformed_signature"],
  ] as [HeadersInit, string][]) {
    const answer = await post("archive", body, headers);
    expect([answer.status, answer.json.code, answer.headers.get("www-authenticate")]).toEqual([401, code, "Signature"]);
  }
});

it("takes any valid signature of a list, in one header or in several", async () => {
  const body = events(1);
  const tag = (await webhooksHeaders(body))["x-genesys-signature"];
  const twice = new Headers([["x-genesys-signature", "0".repeat(64)], ["x-genesys-signature", tag]]);
  for (const headers of [{ "x-genesys-signature": `00,${tag}` }, { "x-genesys-signature": `${tag} ${tag}` }, twice]) {
    expect((await post("archive", body, headers)).status).toBe(200);
  }
});

it("takes a byte order mark before JSON, and archives it with the body", async () => {
  const body = new Uint8Array([0xef, 0xbb, 0xbf, ...bytes(events(2))]);
  const { status, json } = await deliver("archive", body);
  expect([status, json.eventCount]).toEqual([200, 2]);
});

it("answers 503 with Retry-After, and keeps nothing, where the source's secret is missing", async () => {
  const answer = await deliver("no-secret");
  expect(answer.json).toEqual({ error: "Service unavailable", code: "no_active_secret" });
  expect(answer.status).toBe(503);
  expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  await expectNormalService();
  await eventually(async () =>
    expect((await read("/metrics")).sources["no-secret"].unavailable).toEqual({ no_active_secret: 1 }),
  );
  expect((await read("/api/dead-letters?source=no-secret")).deadLetters).toEqual([]);
});

it("takes the limit by the bytes that arrive: as many as the limit, and no more", async () => {
  const fill = (size: number) => `{"events":[],"x":"${"y".repeat(size - 20)}"}`;
  const exact = fill(SMALL_LIMIT_BYTES);
  expect(bytes(exact).length).toBe(SMALL_LIMIT_BYTES);
  expect((await deliver("small", exact)).status).toBe(200);
  expect((await deliver("small", fill(SMALL_LIMIT_BYTES + 1))).status).toBe(413);
});

describe("a source that names the networks of its senders", () => {
  it.each<[string, Record<string, string>, number]>([
    ["takes a delivery from within", { "cf-connecting-ip": "192.0.2.200" }, 200],
    ["takes one from within, over IPv6", { "cf-connecting-ip": "2001:db8:0:1::2" }, 200],
    ["refuses one from elsewhere", { "cf-connecting-ip": "192.0.3.1" }, 403],
    ["refuses one from nowhere", {}, 403],
    ["refuses one from an address that is none", { "cf-connecting-ip": "192.0.2" }, 403],
    [
      "does not believe what a sender says of itself",
      { "cf-connecting-ip": "192.0.3.1", "x-forwarded-for": "192.0.2.1", "x-real-ip": "192.0.2.1" },
      403,
    ],
  ])("%s", async (_, headers, status) => {
    const body = events(1);
    const answer = await post("fenced", body, { ...(await webhooksHeaders(body)), ...headers });
    expect([answer.status, answer.json.code]).toEqual([status, status === 200 ? undefined : "address_not_allowed"]);
    expect(answer.headers.get("retry-after")).toBeNull();
    await expectNormalService();
  });

  it("keeps what is genuine and from elsewhere, and nothing that is not", async () => {
    const body = events(1, unique("elsewhere"));
    const elsewhere = { "cf-connecting-ip": "192.0.3.1" };
    expect((await post("fenced", body, elsewhere)).status).toBe(403);
    expect((await post("fenced", body, { ...(await webhooksHeaders(body)), ...elsewhere })).status).toBe(403);
    const kept = await eventually(async () => {
      const { deadLetters } = await read("/api/dead-letters?source=fenced&limit=100");
      const bodies = await Promise.all(deadLetters.map(({ id }: { id: string }) => read(`/api/dead-letters/${id}`)));
      const found = bodies.filter((letter) => letter.body === body);
      expect(found).toHaveLength(1);
      return found[0];
    });
    expect(kept).toMatchObject({ reason: "address_not_allowed", verified: true, stage: "receive" });
  });
});

describe("a source with a rate limit", () => {
  it("is never told to wait where its deliveries are genuine, whoever else sends", async () => {
    // Periods of the runtime's limiter begin with the minute; a test that crossed one would be let through twice as often.
    await eventually(async () => expect(Date.now() % 60_000).toBeLessThan(50_000));
    const from = (address: string) => ({ "cf-connecting-ip": address });
    const forge = () => post("limited", events(1), from("192.0.2.66"));
    const forged = await Promise.all(Array.from({ length: RATE_LIMIT + 3 }, forge));
    const turnedAway = forged.filter(({ status }) => status !== 401);
    expect(turnedAway).toHaveLength(3);
    for (const { status, json, headers } of turnedAway) {
      expect([status, json.code]).toEqual([429, "rate_limited"]);
      expect(headers.get("retry-after")).toBe("5");
    }
    const genuine = async (address: string) => {
      const body = events(1);
      return (await post("limited", body, { ...(await webhooksHeaders(body)), ...from(address) })).status;
    };
    // From the forger's own address, too.
    const addresses = ["192.0.2.66", "192.0.2.67"].flatMap((address) => Array(RATE_LIMIT + 3).fill(address));
    expect(new Set(await Promise.all(addresses.map(genuine)))).toEqual(new Set([200]));
    // Another address has a limit of its own.
    expect((await post("limited", events(1), from("192.0.2.67"))).status).toBe(401);
    await eventually(async () => {
      const { accepted, refused } = (await read("/metrics")).sources.limited;
      expect([accepted, refused]).toEqual([addresses.length, { missing_signature: RATE_LIMIT + 1, rate_limited: 3 }]);
    });
  });

  it("is served where the binding is missing, which the operator is told", async () => {
    expect((await deliver("unlimited")).status).toBe(200);
    const { configurationProblems } = await read("/metrics");
    expect(configurationProblems).toContainEqual({ key: "MISSING_RATE", problem: expect.stringMatching(/^no rate-limit binding/) });
  });
});

/** The path of the gateway's own address. */
const ownPath = new URL((env as any).GATEWAY.public_url).pathname;

describe("addresses and methods", () => {
  it.each(["GET", "HEAD"])("%s is the reachability probe", async (method) => {
    const answer = await send("/webhook/archive", { method });
    expect([answer.status, answer.text]).toEqual([204, ""]);
  });

  it.each(["PUT", "PATCH", "DELETE", "OPTIONS"])("%s is refused with the methods that are allowed", async (method) => {
    const answer = await send("/webhook/archive", { method });
    expect([answer.status, answer.json?.code]).toEqual([405, "method_not_allowed"]);
    expect(answer.headers.get("allow")).toBe("GET, HEAD, POST");
    await expectNormalService();
  });

  it.each(["unknown", "", "archive/more", "Archive", "%", "__proto__"])("source %j is unknown", async (source) => {
    for (const method of ["POST", "GET"]) {
      const answer = await send(`/webhook/${source}`, { method, body: method === "POST" ? events(1) : null });
      expect(answer.json).toEqual({ error: "Unknown source", code: "unknown_source" });
      expect(answer.status).toBe(404);
    }
    await expectNormalService();
  });

  it.each(["/webhook/archive/", "//webhook/archive", "/webhook//archive", "/webhook/arch%69ve", "/%77ebhook/archive", `${ownPath}/webhook/archive/`])(
    "%s reaches its source",
    async (path) => {
      const body = events(1);
      const answer = await send(path, { method: "POST", body, headers: await webhooksHeaders(body) });
      expect([answer.status, answer.json.eventCount]).toEqual([200, 1]);
      expect((await send(path, { method: "HEAD" })).status).toBe(204);
    },
  );

  it("counts what is sent to no source, under one name, and logs it a few times", async () => {
    const warned = vi.spyOn(console, "warn");
    const lines = () => warned.mock.calls.map(([line]) => String(line)).filter((line) => line.includes('"unknown_source"'));
    const unknown = async () => (await read("/metrics")).sources["(unknown)"]?.refused?.unknown_source ?? 0;
    const before = await unknown();
    for (let n = 0; n < 20; n += 1) {
      const headers = { "cf-connecting-ip": "192.0.2.9", authorization: "Bearer hidden" };
      const path = n % 2 === 0 ? `/webhook/nobody-${n}/${"x".repeat(200)}?token=hidden` : `/webhook/${SECRETS.WEBHOOK_SECRET}`;
      expect((await send(path, { method: "POST", body: events(1), headers })).status).toBe(404);
    }
    await eventually(async () => expect(await unknown()).toBeGreaterThanOrEqual(before + 20));
    const logged = lines().map((line) => JSON.parse(line));
    expect([logged.length > 1, logged.length <= 10]).toEqual([true, true]);
    for (const [n, line] of logged.entries()) {
      const path = n % 2 === 0 ? `/webhook/nobody-${n}/${"x".repeat(200)}`.slice(0, 100) : "(a secret)";
      expect(line).toEqual({ level: "warn", event: "unknown_source", path, address: "192.0.2.9" });
    }
    warned.mockRestore();
    const { sources } = await read("/metrics");
    expect(Object.keys(sources).filter((name) => name.includes("nobody"))).toEqual([]);
  });

  it("answers the handshake of CloudEvents where the source asks for it", async () => {
    const ask = (origin: string) => send("/webhook/fenced", { method: "OPTIONS", headers: { "webhook-request-origin": origin } });
    const { status, headers, text } = await ask("events.example");
    expect([status, text, headers.get("webhook-allowed-origin"), headers.get("webhook-allowed-rate")]).toEqual([200, "", "events.example", "*"]);
    expect((await ask("other.example")).status).toBe(405);
  });

  it("ignores a query", async () => {
    const body = events(1);
    const answer = await send("/webhook/archive?x=1", { method: "POST", body, headers: await webhooksHeaders(body) });
    expect(answer.status).toBe(200);
  });
});

it("gives a hundred different deliveries at once each its own answer", async () => {
  const counts = Array.from({ length: 100 }, (_, index) => index);
  const answers = await Promise.all(counts.map((count) => deliver("archive", events(count))));
  expect(answers.map(({ json }) => json.eventCount)).toEqual(counts);
  expect(new Set(answers.map(({ json }) => json.id)).size).toBe(100);
});

it("brings a delivery to its destination as the bytes that arrived, signed anew", async () => {
  const destination = sink("contact-center");
  await destination.verify();
  // What a parser would change: order, spacing, spelling of numbers, escapes.
  const body = `{ "z": 1.0, "a": 1e2,\r\n "events" : [ {"text":"Caf\\u00e9 ☕"} ], "mark": "${unique("whole")}" }`;
  const { json } = await deliver("contact-center", body);
  await eventually(async () =>
    expect(await destination.arrival(await sha256(body))).toMatchObject({ received: 1, accepted: 1 }),
  );
  const arrived = (await destination.latest()).find((request) => request.headers["webhook-id"] === json.id);
  expect(arrived.body).toBe(body);
  expect(arrived.headers).toMatchObject({ "content-type": "application/json", "x-genesys-gateway-source": "contact-center" });
  expect(await destination.report()).toMatchObject({ badSignatures: 0, unsigned: 0 });
  await eventually(async () =>
    expect(await read(`/api/deliveries/${json.id}`)).toMatchObject({ status: "delivered", attempts: 1 }),
  );
});

it("archives the bytes that arrived, where a source has no destination", async () => {
  const body = events(4);
  const { json } = await deliver("archive", body);
  const path = new Date().toISOString().slice(0, 10).replaceAll("-", "/");
  await eventually(async () =>
    expect(await (await env.PAYLOADS.get(`deliveries/archive/${path}/${json.id}.json`))?.text()).toBe(body),
  );
});

it("carries a body that no message holds through the bucket, exactly, and leaves nothing of it behind", async () => {
  const destination = sink("contact-center");
  const body = JSON.stringify({ mark: unique("large"), events: [{ text: "☕".repeat(100_000) }] });
  const { status, json } = await deliver("contact-center", body);
  expect(status).toBe(200);
  await eventually(async () =>
    expect(await destination.arrival(await sha256(body))).toMatchObject({ received: 1, accepted: 1 }),
  );
  await eventually(async () => expect((await env.PAYLOADS.list({ prefix: "payloads/" })).objects).toEqual([]));
  expect(await read(`/api/deliveries/${json.id}`)).toMatchObject({ status: "delivered", sizeBytes: bytes(body).length });
});
