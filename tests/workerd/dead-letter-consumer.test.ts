/** The consumer of dead letters, and the messages that no consumer can read. */

import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";

import { api, base64, bytes, deliver, eventually, pages, read, unique } from "./support/client.ts";
import { acknowledged, parcel, storedParcel } from "./support/deliveries.ts";
import { failing } from "./support/letters.ts";
import { DEAD_LETTERS, DELIVERIES, consume, delivery, deliveryId, frame, message } from "./support/messages.ts";

describe("messages that cannot be read", () => {
  const header = delivery("contact-center", "{}");
  const broken = new Uint8Array([0xff, 0x00, 0x80]);
  /** Name, body of the message, its raw form, what is said about it. */
  const cases: [string, unknown, string | Uint8Array, RegExp][] = [
    ["garbage", broken.buffer, broken, /no header line/],
    ["nothing at all", new ArrayBuffer(0), "", /no header line/],
    ["a truncated body", frame(header, "{"), `${JSON.stringify(header)}\n{`, /body has 1 bytes, its header says 2/],
    [
      "a truncated header",
      bytes(JSON.stringify(header).slice(0, 80)).buffer,
      JSON.stringify(header).slice(0, 80),
      /no header line/,
    ],
    [
      "a newer version",
      frame({ ...header, v: 2 }, "{}"),
      `${JSON.stringify({ ...header, v: 2 })}\n{}`,
      /unknown version 2 of delivery/,
    ],
    [
      "another kind",
      frame({ ...header, kind: "parcel" }, "{}"),
      `${JSON.stringify({ ...header, kind: "parcel" })}\n{}`,
      /unknown kind "parcel"/,
    ],
    ["JSON of another sender", { hello: ["world"] }, '{"hello":["world"]}', /no header line/],
    ["text of another sender", "hello\nworld", "hello\nworld", /header is not readable/],
    ["large garbage", bytes("x".repeat(100_000)).buffer, "x".repeat(100_000), /no header line/],
  ];

  it.each([DELIVERIES, DEAD_LETTERS])("are kept raw as dead letters and not seen again: %s", async (queue) => {
    const messages = cases.map(([, body]) => message(body, 4));
    const outcome = await consume(queue, messages);
    expect(outcome).toEqual({ acknowledged: expect.arrayContaining(messages.map(({ id }) => id)), putOff: [] });
    const found = await eventually(async () => {
      const all = (await pages("/api/dead-letters?reason=undecodable_message", "deadLetters")).flat();
      const own = messages.map(({ id }) => all.filter(({ detail }) => detail.includes(id)));
      expect(own.map((letters) => letters.length)).toEqual(messages.map(() => 1));
      return own.flat();
    });
    for (const [index, [name, , raw, detail]] of cases.entries()) {
      const letter = await read(`/api/dead-letters/${found[index].id}`);
      expect(letter, name).toMatchObject({
        stage: "queue",
        verified: false,
        attempts: 4,
        detail: expect.stringMatching(detail),
      });
      expect(letter.bodyBase64 ?? letter.body, name).toBe(typeof raw === "string" ? raw : base64(raw));
    }
  });
});

describe("a letter that is too large for a message", () => {
  const stored = async () => (await env.PAYLOADS.list({ prefix: "payloads/" })).objects.map(({ key }) => key).toSorted();

  it("leaves no body behind where the queue fails, and is sent whole when it works again", async () => {
    // A message may have 127,800 bytes: with the header of a letter these do not fit into one.
    const raw = `${unique("large")} ${"x".repeat(127_700)}`;
    const one = message(bytes(raw).buffer);
    const before = await stored();
    const [put, away] = [vi.spyOn(Object.getPrototypeOf(env.PAYLOADS), "put"), failing(env.DEAD_LETTERS, "send")];
    expect(await consume(DELIVERIES, [one])).toEqual({ acknowledged: [], putOff: [expect.objectContaining({ msgId: one.id })] });
    const keys = put.mock.calls.map(([key]) => String(key)).filter((key) => key.startsWith("payloads/"));
    vi.restoreAllMocks();
    expect([keys.length, away.mock.calls.length > 0]).toEqual([1, true]);
    expect(await stored()).toEqual(before);

    expect((await consume(DELIVERIES, [one])).acknowledged).toEqual([one.id]);
    // The repeated try uses the same key.
    expect(await stored()).toEqual([...before, ...keys].toSorted());
    await eventually(async () => {
      const letters = (await pages("/api/dead-letters?reason=undecodable_message", "deadLetters")).flat();
      const own = letters.filter(({ detail }) => detail.includes(one.id));
      expect(own).toHaveLength(1);
      expect((await read(`/api/dead-letters/${own[0].id}`)).body).toBe(raw);
    });
  });
});

describe("deliveries that the platform has given up", () => {
  it("are stored as what they are, and not delivered", async () => {
    const one = parcel("contact-center", { event_count: 3 });
    expect(await consume(DEAD_LETTERS, [{ ...one.message, attempts: 100 }])).toEqual(acknowledged(one));
    expect(await read(`/api/dead-letters/${one.id}`)).toMatchObject({
      source: "contact-center",
      stage: "deliver",
      reason: "retries_exhausted",
      attempts: 100,
      verified: true,
      eventCount: 3,
      body: one.body,
    });
  });

  it("keep the body that is in the bucket", async () => {
    const body = JSON.stringify({ text: "x".repeat(50_000) });
    const one = await storedParcel("contact-center", body);
    await consume(DEAD_LETTERS, [one.message]);
    expect((await read(`/api/dead-letters/${one.id}`)).body).toBe(body);
    expect(await env.PAYLOADS.head(one.key)).not.toBeNull();
  });
});

describe("a letter", () => {
  function letter(body: string, fields: object = {}) {
    const id = deliveryId();
    const header = {
      kind: "dead_letter",
      v: 1,
      id,
      source: "archive",
      stage: "receive",
      reason: "signature_mismatch",
      verified: false,
      received_at_ms: Date.now(),
      dead_at_ms: Date.now(),
      attempts: 0,
      headers: [],
      body: { inline: { size_bytes: bytes(body).length } },
      ...fields,
    };
    return { id, message: message(frame(header, body)) };
  }

  it("that comes twice, in one batch or in two, is one", async () => {
    const one = letter(unique("body"));
    const again = { message: { ...one.message, id: unique("again") } };
    expect(await consume(DEAD_LETTERS, [one.message, again.message])).toEqual(acknowledged(one, again));
    expect(await consume(DEAD_LETTERS, [one.message])).toEqual(acknowledged(one));
    const all = (await pages("/api/dead-letters?limit=500", "deadLetters")).flat();
    expect(all.filter(({ id }) => id === one.id)).toHaveLength(1);
  });

  it("of somebody unknown shares an audit entry with those of its batch, source and reason", async () => {
    const forged = Array.from({ length: 30 }, () => letter(unique("forged"), { source: "forged" }));
    const known = Array.from({ length: 2 }, () =>
      letter(unique("known"), { source: "forged", reason: "invalid_json", verified: true }),
    );
    await consume(DEAD_LETTERS, [...forged, ...known].map((one) => one.message));
    const { entries } = await read("/api/audit?action=DLQ_ROUTE&source=forged");
    expect(entries.map(({ error, count, correlationId }: any) => [error, count, correlationId]).toReversed()).toEqual([
      ["signature_mismatch", 30, forged[0].id],
      ["invalid_json", undefined, known[0].id],
      ["invalid_json", undefined, known[1].id],
    ]);
    expect((await read("/api/dead-letters?source=forged")).deadLetters).toHaveLength(32);
  });

  it.each([DELIVERIES, "letters-of-another-name"])("is stored as what it is, whatever its queue is called: %s", async (queue) => {
    const one = letter(unique("misplaced"));
    expect(await consume(queue, [one.message])).toEqual(acknowledged(one));
    expect(await read(`/api/dead-letters/${one.id}`)).toMatchObject({ reason: "signature_mismatch", stage: "receive" });
  });

  it("that comes again is audited once, and one that cannot be read is one letter", async () => {
    const [one, raw] = [letter(unique("again")), message(bytes(unique("raw")).buffer)];
    const store = env.DEAD_LETTER_STORE.getByName("dead-letters");
    const count = () => runInDurableObject(store, (_, state) => state.storage.sql.exec<{ n: number }>("SELECT COUNT(*) AS n FROM letters").one().n);
    await consume(DEAD_LETTERS, [one.message, raw]);
    const before = await count();
    // Its acknowledgement was lost.
    await consume(DEAD_LETTERS, [one.message, raw]);
    await consume(DEAD_LETTERS, [one.message, raw]);
    expect(await count()).toBe(before);
    const { entries } = await read("/api/audit?action=DLQ_ROUTE&limit=500");
    expect(entries.filter(({ correlationId }: any) => correlationId === one.id)).toHaveLength(1);
  });

  it("that is stored with another that cannot be is stored with it, or not at all", async () => {
    const [good, bad] = [letter(unique("good")), letter(unique("bad"))];
    const store = env.DEAD_LETTER_STORE.getByName("dead-letters");
    const run = (statement: string) => runInDurableObject(store, (_, state) => void state.storage.sql.exec(statement));
    await run(`CREATE TRIGGER failing BEFORE INSERT ON letters WHEN new.id = '${bad.id}' BEGIN SELECT RAISE(ABORT, 'no room'); END`);
    expect((await consume(DEAD_LETTERS, [good.message, bad.message])).acknowledged).toEqual([]);
    expect((await api(`/api/dead-letters/${good.id}`)).status).toBe(404);
    await run("DROP TRIGGER failing");
    expect(await consume(DEAD_LETTERS, [good.message, bad.message])).toEqual(acknowledged(good, bad));
  });

  it("is found by the identifier under which its refusal happened, in the order of time", async () => {
    const marks = [unique("first"), unique("second"), unique("third")];
    for (const mark of marks) {
      await deliver("contact-center", `no JSON: ${mark}`);
    }
    await eventually(async () => {
      const { deadLetters } = await read("/api/dead-letters?source=contact-center&reason=invalid_json");
      expect(deadLetters).toHaveLength(marks.length);
      const bodies = await Promise.all(
        deadLetters.map(async ({ id }: { id: string }) => (await read(`/api/dead-letters/${id}`)).body),
      );
      expect(new Set(bodies)).toEqual(new Set(marks.map((mark) => `no JSON: ${mark}`)));
      const ids = deadLetters.map(({ id }: { id: string }) => id);
      expect(ids).toEqual(ids.toSorted().reverse());
    });
  });
});

/** Behind this queue there is no other: what it gives up after 100 retries is gone. */
it("no letter is lost to a store that is away for long", { timeout: 60_000 }, async () => {
  const store = env.DEAD_LETTER_STORE.getByName("dead-letters");
  const run = (statement: string) => runInDurableObject(store, (_, state) => void state.storage.sql.exec(statement));
  await read("/api/dead-letters");
  await run("CREATE TRIGGER failing BEFORE INSERT ON letters BEGIN SELECT RAISE(ABORT, 'no room'); END");
  const [early, late] = [79, 80].map((attempts) => ({ attempts, raw: unique("raw") }));
  const messages = [early, late].map(({ raw, attempts }) => message(bytes(raw).buffer, attempts));
  // One of them goes on as a new message, whose retries begin again.
  expect(await consume(DEAD_LETTERS, messages)).toEqual({
    acknowledged: [messages[1].id],
    putOff: [expect.objectContaining({ msgId: messages[0].id, delaySeconds: 30 })],
  });
  await run("DROP TRIGGER failing");
  const stored = async () => {
    const letters = (await pages("/api/dead-letters?reason=undecodable_message", "deadLetters")).flat();
    const bodies = await Promise.all(letters.map(async ({ id }) => (await read(`/api/dead-letters/${id}`)).body));
    expect(bodies.filter((body) => body === late.raw)).toHaveLength(1);
  };
  await vi.waitFor(stored, { timeout: 50_000, interval: 500 });
});
