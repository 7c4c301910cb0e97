/**
 * Bodies that do not come to an end: what is answered without them, and what the isolate does while it holds a place for them.
 * The test decides when a body ends; nothing here is waited for but what happened.
 */

import { afterEach, describe, expect, it, vi } from "vitest";

import { type Answer, bytes, deliver, events, eventually, expectNormalService, post, read, send, unannounced, webhooksHeaders } from "./support/client.ts";

/** The default limit of a source. */
const LARGE_BYTES = 5_000_000;

const large = bytes(`{"events":[1],"x":"${"y".repeat(LARGE_BYTES - 21)}"}`);

/** Senders that announce a body and send nothing. */
const ANNOUNCED = 300;

/** Bodies that are open. */
const open = new Set<() => void>();

afterEach(async () => {
  open.forEach((end) => end());
  await expectNormalService();
});

/** A body of which nothing comes before `end`. */
function unfinished(whole: Uint8Array = large) {
  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  open.add(end);
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      await ended;
      controller.enqueue(whole);
      controller.close();
    },
  });
  return { stream, end };
}

describe("a request whose body never comes is answered without it", () => {
  const declared = (size: number) => ({ "content-length": String(size) });
  it.each<[string, string, RequestInit, number, string | undefined]>([
    ["one to an unknown source", "nobody", {}, 404, "unknown_source"],
    ["one to an unknown source that declares a length", "nobody", { headers: declared(1_000) }, 404, "unknown_source"],
    ["one to a path that is none", "../nothing", { headers: declared(1_000) }, 404, "not_found"],
    ["one by another method", "archive", { method: "PUT", headers: declared(1_000) }, 405, "method_not_allowed"],
    ["one that declares more than the limit", "archive", { headers: declared(LARGE_BYTES + 1) }, 413, "body_too_large"],
  ])("%s", async (_, source, init, status, code) => {
    const answer = await send(`/webhook/${source}`, { method: "POST", body: unfinished().stream, ...init });
    expect([answer.status, answer.json?.code]).toEqual([status, code]);
  });
});

describe("bodies that are announced and do not come", () => {
  // That each is told to wait after its deadline: tests/crash.
  it("hold nothing: hundreds of them leave room to every size", async () => {
    const signed = await webhooksHeaders(large);
    const bodies = Array.from({ length: ANNOUNCED }, (_, n) => ({ size: n % 2 === 0 ? 1_000 : LARGE_BYTES, ...unfinished(new Uint8Array()) }));
    const announced = bodies.map(({ size, stream }) => post("archive", stream, { ...signed, "content-length": String(size) }).catch(() => undefined));
    for (const size of [1_000, 100_000, 1_000_000, LARGE_BYTES]) {
      const body = bytes(`{"events":[1],"x":"${"y".repeat(size - 21)}"}`);
      for (const sent of [body, unannounced(body)]) {
        expect((await post("archive", sent, await webhooksHeaders(body))).status, `${size}`).toBe(200);
      }
    }
    bodies.forEach(({ end }) => end());
    await Promise.all(announced);
  });
});

/** Sends all of a large delivery but its end, without an announced size. */
async function holding() {
  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  open.add(end);
  const headers = await webhooksHeaders(large);
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(large.slice(0, -1));
      await ended;
      controller.enqueue(large.slice(-1));
      controller.close();
    },
  });
  const state: { end: () => void; answer?: Answer; done: Promise<void> } = { end, done: Promise.resolve() };
  state.done = post("archive", stream, headers).then((answer) => {
    state.answer = answer;
  });
  return state;
}

describe("large bodies that come and do not end", () => {
  it("are as many as there is room for, the next are told to wait, small ones are served, and all is well when they end", async () => {
    const held = [];
    let turnedAway = 0;
    // One after the other, so that it is known which have arrived.
    while (turnedAway < 2) {
      expect(held.length).toBeLessThan(12);
      const one = await holding();
      held.push(one);
      const before = turnedAway;
      turnedAway = await vi.waitFor(
        () => {
          const now = held.filter(({ answer }) => answer !== undefined).length;
          if (now === before) throw new Error("still open");
          return now;
        },
        { timeout: 400, interval: 20 },
      ).catch(() => before);
    }
    const admitted = held.length - turnedAway;
    expect(admitted).toBeGreaterThanOrEqual(3);
    for (const { answer } of held.filter(({ answer }) => answer !== undefined)) {
      expect(answer?.json).toEqual({ error: "Service unavailable", code: "too_much_in_flight" });
      expect([answer?.status, answer?.headers.get("retry-after")]).toEqual([503, "5"]);
    }
    for (const body of [events(1), `{"events":[1],"x":"${"y".repeat(100_000)}"}`].map(bytes)) {
      for (const sent of [body, unannounced(body)]) {
        expect((await post("archive", sent, await webhooksHeaders(body))).status).toBe(200);
      }
    }
    held.forEach(({ end }) => end());
    await Promise.all(held.map(({ done }) => done));
    // While its parts are joined a body is there twice, so one that ends with others may have to wait, too.
    expect(new Set(held.map(({ answer }) => answer?.status))).toEqual(new Set([200, 503]));
    expect((await deliver("archive", large)).status).toBe(200);
  });
});
