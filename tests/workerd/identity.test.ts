/** What makes two deliveries one: a signed identifier, then what the envelope holds, then the body for as long as its sender repeats. */

import { afterEach, expect, it, vi } from "vitest";

import { events, eventually, messagingHeaders, post, read, standardHeaders, unique, webhooksHeaders } from "./support/client.ts";

afterEach(() => vi.useRealTimers());

const status = (id: string) =>
  eventually(async () => {
    const { status } = await read(`/api/deliveries/${id}`);
    expect(["delivered", "duplicate"]).toContain(status);
    return status;
  });

async function statusOf(source: string, body: string, headers: Record<string, string>) {
  const { status: answered, json } = await post(source, body, headers);
  expect(answered).toBe(200);
  return status(json.id);
}

it("equal bodies are one delivery within the window, and two behind it", async () => {
  const body = events(1, unique("twice"));
  const deliver = async () => statusOf("archive", body, await webhooksHeaders(body));
  expect([await deliver(), await deliver()]).toEqual(["delivered", "duplicate"]);
  vi.setSystemTime(Date.now() + 601_000);
  expect([await deliver(), await deliver()]).toEqual(["delivered", "duplicate"]);
});

it("a signed identifier tells equal bodies apart, and one body from its repetition", async () => {
  const seconds = Math.floor(Date.now() / 1000);
  const deliver = async (id: string) => statusOf("standard", '{"a":1}', await standardHeaders('{"a":1}', id, seconds));
  const [one, other] = [unique("msg"), unique("msg")];
  expect([await deliver(one), await deliver(other), await deliver(one)]).toEqual(["delivered", "delivered", "duplicate"]);
});

it("the states of a receipt are different deliveries", async () => {
  const id = unique("message");
  const states = ["Published", "Sent", "Delivered", "Read", "Read"];
  const found = [];
  for (const state of states) {
    const body = JSON.stringify({ id, type: "Receipt", status: state, channel: { time: "2025-06-10T21:03:05.427Z" }, n: found.length });
    found.push(await statusOf("messaging", body, await messagingHeaders(body)));
  }
  expect(found).toEqual(["delivered", "delivered", "delivered", "delivered", "duplicate"]);
});
