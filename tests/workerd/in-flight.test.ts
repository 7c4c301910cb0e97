/**
 * Bodies that do not come to an end: what is answered without them, and what the isolate does while it holds a place for them.
 * The test decides when a body ends; nothing here is waited for but what happened.
 */

import { afterEach, describe, expect, it } from "vitest";

import { type Answer, bytes, deliver, events, eventually, expectNormalService, post, read, send, unannounced, webhooksHeaders } from "./support/client.ts";

/** The default limit of a source. */
const LARGE_BYTES = 5_000_000;

/** Large bodies that an isolate has room for. */
const ADMITTED = 4;

const large = bytes(`{"events":[1],"x":"${"y".repeat(LARGE_BYTES - 21)}"}`);

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
    ["one from elsewhere", "fenced", { headers: { ...declared(1_000), "cf-connecting-ip": "192.0.3.1" } }, 403, "address_not_allowed"],
  ])("%s", async (_, source, init, status, code) => {
    const answer = await send(`/webhook/${source}`, { method: "POST", body: unfinished().stream, ...init });
    expect([answer.status, answer.json?.code]).toEqual([status, code]);
  });
});

/** Sends a large delivery that is announced and held. */
async function holding() {
  const { stream, end } = unfinished();
  const headers = { ...(await webhooksHeaders(large)), "content-length": String(large.length) };
  const state: { end: () => void; answer?: Answer; done: Promise<void> } = { end, done: Promise.resolve() };
  state.done = post("archive", stream, headers).then((answer) => {
    state.answer = answer;
  });
  return state;
}

describe("large bodies that are announced and do not come", () => {
  it("are as many as there is room for, the next is told to wait, small ones are served, and all is well when they end", async () => {
    const refused = async (count: number) =>
      eventually(async () => {
        const { unavailable } = (await read("/metrics")).sources.archive;
        expect(unavailable).toEqual({ too_much_in_flight: count });
      });
    const held = await Promise.all(Array.from({ length: ADMITTED + 3 }, holding));
    const turnedAway = await eventually(async () => {
      const answers = held.flatMap(({ answer }) => answer ?? []);
      expect(answers).toHaveLength(3);
      return answers;
    });
    const headers = await webhooksHeaders(large);
    // One whose size nobody announces, too, as soon as it is too large.
    for (const answer of [...turnedAway, await deliver("archive", large), await post("archive", unannounced(large), headers)]) {
      expect(answer.json).toEqual({ error: "Service unavailable", code: "too_much_in_flight" });
      expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "5"]);
    }
    await refused(5);

    for (const body of [events(1), `{"events":[1],"x":"${"y".repeat(100_000)}"}`].map(bytes)) {
      for (const sent of [body, unannounced(body)]) {
        expect((await post("archive", sent, await webhooksHeaders(body))).status).toBe(200);
      }
    }

    held.forEach(({ end }) => end());
    await Promise.all(held.map(({ done }) => done));
    expect(held.map(({ answer }) => answer?.status).sort()).toEqual([...Array(ADMITTED).fill(200), 503, 503, 503]);
    expect((await deliver("archive", large)).status).toBe(200);
    await refused(5);
  });
});
