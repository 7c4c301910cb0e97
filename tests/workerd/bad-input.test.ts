/** Input that breaks receivers: each is a named error or a normal answer, nothing is lost, and the next request is served. */

import { afterEach, describe, expect, it } from "vitest";

import {
  type Body,
  base64,
  bytes,
  deliver,
  eventually,
  expectNormalService,
  messagingHeaders,
  post,
  read,
  send,
  unannounced,
  webhooksHeaders,
} from "./support/client.ts";
import { SMALL_LIMIT_BYTES } from "./support/gateway.ts";

afterEach(expectNormalService);

/** The newest letter of a source, once there is one that was not there before. */
async function newLetter(source: string, cause: () => Promise<unknown>) {
  const list = async () => (await read(`/api/dead-letters?source=${source}&limit=1`)).deadLetters[0];
  const before = await list();
  await cause();
  return eventually(async () => {
    const letter = await list();
    expect(letter?.id).not.toBe(before?.id);
    return read(`/api/dead-letters/${letter.id}`);
  });
}

describe("garbage in the signature header", () => {
  it.each([
    ["visible garbage", '!"$%&/()=?{[]}\\'],
    ["control-like escapes", "\\u0000\\n\\r"],
    ["characters outside of ASCII", "ß☕é".repeat(10)],
    ["10,000 characters", "a".repeat(10_000)],
    ["a list of 1,000", Array(1_000).fill("ab").join(",")],
    ["64 characters of which one is none", `${"0".repeat(63)}g`],
  ])("%s", async (_, value) => {
    const answer = await post("archive", '{"events":[]}', { "x-genesys-signature": value });
    expect([answer.status, answer.json.code]).toEqual([401, "malformed_signature"]);
    expect(answer.text.length).toBeLessThan(300);
  });
});

describe("bodies, all signed well", () => {
  const cases: [string, Body, string, RegExp, "body" | "bodyBase64"][] = [
    ["an empty body", "", "invalid_json", /^the body is empty at byte 0$/, "body"],
    [
      "bytes that are not UTF-8",
      new Uint8Array([...bytes('{"events":["'), 0xff, 0xfe, ...bytes('"]}')]),
      "invalid_json",
      /^bytes that are not UTF-8 at byte 12$/,
      "bodyBase64",
    ],
    ["two byte order marks", '\ufeff\ufeff{"events":[]}', "invalid_json", /^expected a value at byte 3$/, "body"],
    ["100,000 brackets", "[".repeat(100_000), "invalid_json", /^nested deeper than \d+ levels at byte \d+$/, "body"],
    ["100,000 objects", '{"a":'.repeat(100_000), "invalid_json", /^nested deeper than \d+ levels at byte \d+$/, "body"],
    [
      "100,000 brackets in events",
      `{"events":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
      "invalid_json",
      /^nested deeper than \d+ levels at byte \d+$/,
      "body",
    ],
    [
      "two members named events",
      '{"events":[1],"events":[]}',
      "invalid_envelope",
      /^duplicate member "events" at byte 14$/,
      "body",
    ],
    [
      "two, of which one is escaped",
      '{"events":[1],"\\u0065vents":[]}',
      "invalid_envelope",
      /^duplicate member "events" at byte 14$/,
      "body",
    ],
    [
      "events that are a string",
      '{"events":"[]"}',
      "invalid_envelope",
      /^expected "events" to be an array at byte 10$/,
      "body",
    ],
    ["events that are null", '{"events":null}', "invalid_envelope", /^expected "events" to be an array at byte 10$/, "body"],
    [
      "a NUL after the end",
      '{"events":[]}\0',
      "invalid_json",
      /^unexpected bytes after the end of the text at byte 13$/,
      "body",
    ],
  ];
  it.each(cases)("%s: refused by name", async (_, body, code, detail) => {
    const answer = await deliver("contact-center", body);
    expect(answer.json).toEqual({ error: "Invalid payload structure", code, detail: expect.stringMatching(detail) });
    expect(answer.status).toBe(400);
  });

  it("are kept whole, each with its reason", async () => {
    const answers = await Promise.all(cases.map(([, body]) => deliver("messaging", body, messagingHeaders)));
    expect(answers.map(({ status }) => status)).toEqual(cases.map(([, , code]) => (code === "invalid_envelope" ? 200 : 400)));
    const invalid = cases.filter(([, , code]) => code === "invalid_json");
    const list = await eventually(async () => {
      const { deadLetters } = await read("/api/dead-letters?source=messaging");
      expect(deadLetters).toHaveLength(invalid.length);
      return deadLetters;
    });
    const letters = await Promise.all(list.map(({ id }: { id: string }) => read(`/api/dead-letters/${id}`)));
    for (const [name, body, reason, detail, field] of invalid) {
      const encoded = field === "body" ? body : base64(bytes(body));
      const letter = letters.find((candidate) => candidate[field] === encoded);
      expect(letter, name).toMatchObject({
        stage: "receive",
        reason,
        verified: true,
        secretLabel: "messaging_secret",
        sizeBytes: bytes(body).length,
      });
      expect(letter.detail).toMatch(detail);
    }
  });

  it("two that break at once do not disturb a hundred that are served meanwhile", async () => {
    const broken = ["[".repeat(100_000), '{"events":['.repeat(50_000)].map((body) => deliver("archive", body));
    const served = Array.from({ length: 100 }, () => deliver("archive"));
    expect((await Promise.all(broken)).map(({ status }) => status)).toEqual([400, 400]);
    expect((await Promise.all(served)).every(({ status }) => status === 200)).toBe(true);
  });
});

describe("bodies over the limit", () => {
  it("are refused without being read, where the length is announced", async () => {
    const body = bytes("x".repeat(SMALL_LIMIT_BYTES + 1));
    const letter = await newLetter("small", async () => {
      expect(
        (await post("small", body, { ...(await webhooksHeaders(body)), "content-length": String(body.length) })).status,
      ).toBe(413);
    });
    expect(letter).toMatchObject({ reason: "body_too_large", verified: false, sizeBytes: SMALL_LIMIT_BYTES + 1 });
    expect(letter.body ?? letter.bodyBase64).toBeUndefined();
  });

  it("are refused as soon as they pass it, where it is not", async () => {
    const pieces = Array.from({ length: 50 }, () => bytes("x".repeat(100)));
    const letter = await newLetter("small", async () => {
      expect((await post("small", unannounced(...pieces), { "x-genesys-signature": "00" })).status).toBe(413);
    });
    expect(letter).toMatchObject({ reason: "body_too_large", verified: false });
    expect(letter.sizeBytes).toBeGreaterThan(SMALL_LIMIT_BYTES);
  });

  it("are told from bodies in pieces that stay within it", async () => {
    const body = '{"events":[1,2,3]}';
    const pieces = Array.from(bytes(body), (byte) => new Uint8Array([byte]));
    const answer = await post("small", unannounced(...pieces), await webhooksHeaders(body));
    expect([answer.status, answer.json.eventCount]).toEqual([200, 3]);
  });

  it("of 5 MB and more are refused, and one of just under 5 MB is served", async () => {
    const body = (size: number) => bytes(`{"events":[],"x":"${"y".repeat(size - 20)}"}`);
    expect((await deliver("archive", body(5_000_001))).status).toBe(413);
    expect((await deliver("archive", body(5_000_000))).status).toBe(200);
  });
});

it("a request without any body is one with an empty body", async () => {
  expect((await post("archive", null, await webhooksHeaders(""))).json.code).toBe("invalid_json");
  expect((await post("archive", null)).json.code).toBe("missing_signature");
});

it("hundreds of headers are no reason to fail", async () => {
  const headers = new Headers(await webhooksHeaders("{}"));
  for (let index = 0; index < 500; index += 1) {
    headers.set(`x-flood-${index}`, "y".repeat(100));
  }
  const letter = await newLetter("contact-center", async () =>
    expect((await post("contact-center", "{}", headers)).status).toBe(400),
  );
  expect(letter.headers.length).toBeLessThanOrEqual(64);
  expect(letter.headers[0][0]).toBe("x-genesys-signature");
});

it("paths that are none are unknown", async () => {
  for (const path of ["/", "/webhook", "/webhooks/archive", "/favicon.ico", "//webhook/archive"]) {
    expect((await send(path, { method: "POST", body: "{}" })).status, path).toBe(404);
  }
});
