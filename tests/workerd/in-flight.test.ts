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
const STALLED = 1_000;

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

// That each is told to repeat after its deadline: tests/entry with a clock that is moved, tests/crash over a thousand connections.
it("a thousand senders that announce a body and send none hold nothing: there is room for every size", async () => {
  const signed = await webhooksHeaders(large);
  // Small, large and of unknown size.
  const sizes = [{ "content-length": "1000" }, { "content-length": String(LARGE_BYTES) }, {}];
  const bodies = Array.from({ length: STALLED }, () => unfinished(new Uint8Array()));
  let answers = 0;
  const stalled = bodies.map(({ stream }, n) =>
    post("archive", stream, { ...signed, ...sizes[n % sizes.length] }).then(() => (answers += 1), () => {}),
  );
  for (const size of [1_000, 100_000, 1_000_000, LARGE_BYTES]) {
    const body = bytes(`{"events":[1],"x":"${"y".repeat(size - 21)}"}`);
    for (const sent of [body, unannounced(body)]) {
      expect((await post("archive", sent, await webhooksHeaders(body))).status, `${size}`).toBe(200);
    }
  }
  expect(answers).toBe(0);
  bodies.forEach(({ end }) => end());
  await Promise.all(stalled);
});

/** Sends all of a large delivery but its end. */
async function holding(isAnnounced: boolean) {
  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  open.add(end);
  const headers = { ...(await webhooksHeaders(large)), ...(isAnnounced ? { "content-length": String(LARGE_BYTES) } : {}) };
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

/** Bodies of 5 MB that there is room for at once (`gateway_core::receive::body_budget`). */
const ADMITTED = 4;

describe("large bodies that come and do not end", () => {
  it.each([["announced", true], ["of unknown size", false]] as const)("%s: four are held, the next are told to wait, small ones are served, and all four are accepted", async (_, isAnnounced) => {
    const held: Awaited<ReturnType<typeof holding>>[] = [];
    const answered = () => held.filter(({ answer }) => answer !== undefined);
    // One after the other, so that it is known which have arrived.
    while (answered().length < 2) {
      expect(held.length).toBeLessThan(ADMITTED + 2);
      held.push(await holding(isAnnounced));
      const before = answered().length;
      await vi.waitFor(() => expect(answered().length).toBeGreaterThan(before), { timeout: 400, interval: 20 }).catch(() => {});
    }
    expect(held.map(({ answer }) => answer?.status)).toEqual([...Array(ADMITTED).fill(undefined), 503, 503]);
    for (const { answer } of answered()) {
      expect(answer?.json).toEqual({ error: "Service unavailable", code: "too_much_in_flight" });
      expect(answer?.headers.get("retry-after")).toBe("5");
    }
    for (const body of [events(1), `{"events":[1],"x":"${"y".repeat(100_000)}"}`].map(bytes)) {
      for (const sent of [body, unannounced(body)]) {
        expect((await post("archive", sent, await webhooksHeaders(body))).status).toBe(200);
      }
    }
    held.forEach(({ end }) => end());
    await Promise.all(held.map(({ done }) => done));
    expect(held.slice(0, ADMITTED).map(({ answer }) => answer?.status)).toEqual(Array(ADMITTED).fill(200));
    expect((await deliver("archive", large)).status).toBe(200);
  });
});
