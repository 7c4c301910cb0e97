/**
 * Durable before it is answered: while a queue or the bucket fails, nobody is told 200, no message is without its body, the
 * failure is counted with its cause, and a repetition is taken afterwards. Each case with a body whose size is announced, and with one whose
 * size is not.
 */

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { type Answer, DELIVERY_ID, bytes, events, eventually, post, read, sha256, unannounced, unique, webhooksHeaders } from "./support/client.ts";
import { sink } from "./support/sink.ts";

type Way = "announced" | "unannounced";
const WAYS: Way[] = ["announced", "unannounced"];

/** From this size on a body is stored (`gateway_core::receive`). */
const STORED_FROM_BYTES = 100_000;

const stored = (mark: string) => `{"mark":"${mark}","events":[1,2],"x":"${"y".repeat(200_000)}"}`;

/** A message as it was handed to a queue: what its header says, and its sizes. */
interface Sent {
  header: any;
  bytes: number;
  bodyBytes: number;
}

/** What the queues were handed and took, and what the bucket took, since the test began. */
let taken: Sent[];
let stores: string[];
/** The kind of message that the queues do not take; how often. */
let refusing: { kind?: string; times: number };
let storing: boolean;
/** How many answers are lost, though what was asked for was done. */
let unheard: { puts: number; sends: number };

beforeEach(() => {
  [taken, stores, refusing, storing] = [[], [], { times: Infinity }, true];
  unheard = { puts: 0, sends: 0 };
  // The Worker shares the prototypes of its tests; both queues have one.
  const queue = Object.getPrototypeOf(env.DELIVERIES);
  const { send } = queue;
  vi.spyOn(queue, "send").mockImplementation(async function (this: unknown, ...[message, options]: unknown[]) {
    const text = message as Uint8Array;
    const end = text.indexOf(10) + 1;
    const header = JSON.parse(new TextDecoder().decode(text.subarray(0, end)));
    // The queue takes the buffer away.
    const sizes = { bytes: text.length, bodyBytes: text.length - end };
    if (header.kind === refusing.kind && refusing.times > 0) {
      refusing.times -= 1;
      throw new Error("away");
    }
    const result = await send.call(this, message, options);
    taken.push({ header, ...sizes });
    if ((unheard.sends -= 1) >= 0) throw new Error("unheard");
    return result;
  });
  const bucket = Object.getPrototypeOf(env.PAYLOADS);
  const { put } = bucket;
  vi.spyOn(bucket, "put").mockImplementation(async function (this: unknown, ...[key, ...rest]: unknown[]) {
    if (!storing) {
      throw new Error("away");
    }
    const result = await put.call(this, key, ...rest);
    stores.push(key as string);
    if ((unheard.puts -= 1) >= 0) throw new Error("unheard");
    return result;
  });
});

afterEach(() => vi.restoreAllMocks());

async function by(way: Way, source: string, body: Uint8Array, signed: Uint8Array = body): Promise<Answer> {
  return post(source, way === "announced" ? body : unannounced(body), await webhooksHeaders(signed));
}

/** What was counted of a source so far, once it adds up to so many requests. */
const counted = (source: string, requests: number) =>
  eventually(async () => {
    const { received, accepted, refused, unavailable } = (await read("/metrics")).sources[source];
    expect(received).toBe(requests);
    return { accepted, refused, unavailable };
  });

/** What is still in the bucket of what was stored since the test began. */
async function left() {
  const { objects } = await env.PAYLOADS.list({ prefix: "payloads/" });
  return objects.map(({ key }) => key).filter((key) => stores.includes(key));
}

function expectUnavailable(answer: Answer, cause: string) {
  expect(answer.json).toEqual({ error: "Service unavailable", code: cause });
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "5"]);
}

describe("a delivery is not answered 200", () => {
  const cases: [string, string, boolean, () => void][] = [
    ["while the queue takes none", "queue_failed", false, () => (refusing.kind = "delivery")],
    ["while the bucket does not take its body", "storage_failed", true, () => (storing = false)],
    ["while its body is stored and the queue takes none", "queue_failed", true, () => (refusing.kind = "delivery")],
  ];
  // A source of its own for each case, so that what is counted is this case's.
  const sources = ["archive", "contact-center", "unsigned"];
  it.each(cases.map((one, index) => [...one, sources[index]] as const))("%s", async (_, cause, isLarge, fail, source) => {
    for (const [number, way] of WAYS.entries()) {
      const body = bytes(isLarge ? stored(unique("body")) : events(2));
      [taken, stores] = [[], []];
      fail();
      expectUnavailable(await by(way, source, body), cause);
      expect(taken).toEqual([]);
      // A message may have been taken though the queue did not say so: its body stays.
      expect(new Set(stores).size).toBe(isLarge && storing ? 1 : 0);
      expect(await left()).toEqual([...new Set(stores)]);
      const unavailable = { [cause]: number + 1 };
      expect(await counted(source, number * 2 + 1)).toEqual({ accepted: number, refused: {}, unavailable });

      [refusing.kind, storing, stores] = [undefined, true, []];
      const answer = await by(way, source, body);
      expect(answer.json).toEqual({ received: true, eventCount: 2, id: expect.stringMatching(DELIVERY_ID) });
      expect(taken.filter(({ header }) => header.kind === "delivery")).toMatchObject([{ header: { id: answer.json.id } }]);
      expect(stores).toHaveLength(isLarge ? 1 : 0);
      expect(await counted(source, number * 2 + 2)).toEqual({ accepted: number + 1, refused: {}, unavailable });
      await eventually(async () => expect((await read(`/api/deliveries/${answer.json.id}`)).status).toBe("delivered"));
    }
    expect((await read(`/api/deliveries?source=${source}`)).deliveries).toHaveLength(WAYS.length);
  });

  it("and is accepted once where the queue fails only once, and the driver tries again", async () => {
    for (const [number, isLarge] of [false, true].entries()) {
      const body = bytes(isLarge ? stored(unique("body")) : events(2));
      taken = [];
      refusing = { kind: "delivery", times: 1 };
      const answer = await by("announced", "dressed", body);
      expect([answer.status, answer.json.eventCount]).toEqual([200, 2]);
      expect(taken).toMatchObject([{ header: { id: answer.json.id } }]);
      expect(await counted("dressed", number + 1)).toEqual({ accepted: number + 1, refused: {}, unavailable: {} });
    }
  });
});

describe("a refusal is not answered as one while its letter cannot be kept", () => {
  const mismatched = { status: 401, code: "signature_mismatch", verified: false };
  const invalid = { status: 400, code: "invalid_envelope", verified: true };
  const small = () => bytes(`{"mark":"${unique("refused")}"}`);
  const large = () => bytes(`{"mark":"${unique("refused")}","x":"${"y".repeat(200_000)}"}`);
  const queue = () => (refusing.kind = "dead_letter");
  const bucket = () => (storing = false);
  const cases: [string, typeof mismatched, () => Uint8Array, string, () => void, string][] = [
    ["of its signature, by the queue", mismatched, small, "queue_failed", queue, "undressed"],
    ["of its envelope, by the queue", invalid, small, "queue_failed", queue, "slow"],
    ["of its signature and large, by the bucket", mismatched, large, "storage_failed", bucket, "restless"],
    ["of its envelope and large, by the bucket", invalid, large, "storage_failed", bucket, "tripping"],
    ["of its signature and large, by the queue", mismatched, large, "queue_failed", queue, "monitored"],
    ["of its envelope and large, by the queue", invalid, large, "queue_failed", queue, "unreachable"],
  ];
  it.each(cases)("%s", async (_, { status, code, verified }, make, cause, fail, source) => {
    const letters = async () => (await read(`/api/dead-letters?source=${source}`)).deadLetters;
    for (const [number, way] of WAYS.entries()) {
      const body = make();
      const send = () => by(way, source, body, verified ? body : bytes("another body"));
      [taken, stores] = [[], []];
      fail();
      expectUnavailable(await send(), cause);
      expect(taken).toEqual([]);
      const refused = (count: number) => (count === 0 ? {} : { [code]: count });
      const unavailable = { [cause]: number + 1 };
      expect(await counted(source, number * 2 + 1)).toEqual({ accepted: 0, refused: refused(number), unavailable });
      expect(await letters()).toHaveLength(number);

      [refusing.kind, storing] = [undefined, true];
      const answer = await send();
      expect([answer.status, answer.json.code]).toEqual([status, code]);
      expect(taken).toMatchObject([{ header: { kind: "dead_letter", reason: code, verified } }]);
      expect(await counted(source, number * 2 + 2)).toEqual({ accepted: 0, refused: refused(number + 1), unavailable });
      const letter = await eventually(async () => {
        const found = await letters();
        expect(found).toHaveLength(number + 1);
        return read(`/api/dead-letters/${found[0].id}`);
      });
      expect(letter.body).toBe(new TextDecoder().decode(body));
    }
  });
});

it.each(WAYS)("a body goes with its message below the size from which on it is stored: %s", async (way) => {
  for (const [size, isStored] of [[STORED_FROM_BYTES - 1, false], [STORED_FROM_BYTES, true]] as const) {
    [taken, stores] = [[], []];
    const body = bytes(`{"events":[],"x":"${"y".repeat(size - 20)}"}`);
    expect((await by(way, "archive", body)).status).toBe(200);
    const placed = isStored ? { stored: { size_bytes: size } } : { inline: { size_bytes: size } };
    expect(taken).toMatchObject([{ bodyBytes: isStored ? 0 : size, header: { body: placed } }]);
    expect(stores.filter((key) => key.startsWith("payloads/"))).toEqual(isStored ? [taken[0].header.body.stored.key] : []);
  }
});

describe("an answer that is lost", () => {
  const destination = sink("contact-center");
  const send = (body: string) => by("announced", "contact-center", bytes(body));

  it("of the bucket, once: the body is stored under its key, and accepted", async () => {
    const body = stored(unique("put"));
    unheard.puts = 1;
    const { status, json } = await send(body);
    expect([status, new Set(stores).size, stores.length]).toEqual([200, 1, 2]);
    expect(taken).toMatchObject([{ header: { id: json.id, body: { stored: { key: stores[0] } } } }]);
    await eventually(async () => expect(await destination.arrival(await sha256(body))).toMatchObject({ received: 1, accepted: 1 }));
    await eventually(async () => expect(await left()).toEqual([]));
  });

  it("of the bucket, twice: the sender repeats, and nothing is left of the first", async () => {
    const body = stored(unique("put"));
    unheard.puts = 2;
    expectUnavailable(await send(body), "storage_failed");
    expect([taken.length, stores.length]).toEqual([0, 2]);
    await eventually(async () => expect(await left()).toEqual([]));
    expect((await send(body)).status).toBe(200);
  });

  it("of the queue, twice: the sender repeats, and the delivery arrives once", async () => {
    const body = stored(unique("send"));
    unheard.sends = 2;
    expectUnavailable(await send(body), "queue_failed");
    const [first, second] = taken.map(({ header }) => header.id);
    expect(second).toBe(first);
    const { status, json } = await send(body);
    expect([status, json.id === first]).toEqual([200, false]);
    // Whichever is consumed first is delivered. Neither is dead: each has its body.
    await eventually(async () => {
      const found = await Promise.all([first, json.id].map((id) => read(`/api/deliveries/${id}`)));
      expect(found.map((delivery) => delivery.status).sort()).toEqual(["delivered", "duplicate"]);
    });
    expect(await destination.arrival(await sha256(body))).toMatchObject({ received: 1, accepted: 1 });
  });
});
