/** The same request, with and without an announced length, comes to the same. */

import { expect, it } from "vitest";

import { DELIVERY_ID, bytes, events, eventually, githubHeaders, messagingHeaders, post, standardHeaders, unannounced, unique, webhooksHeaders } from "./support/client.ts";
import { SECRETS } from "./support/gateway.ts";
import { sink } from "./support/sink.ts";

type Headers_ = Record<string, string>;

/** The same request, announced and not. */
async function both(source: string, body: Uint8Array, headers: () => Promise<Headers_>) {
  const announced = await post(source, body, await headers());
  const unannouncedAnswer = await post(source, unannounced(body), await headers());
  return { announced, unannounced: unannouncedAnswer };
}

const seconds = () => Math.floor(Date.now() / 1000);
const genuine = events(3);
const withBytes = (text: string, ...more: number[]) => new Uint8Array([...bytes(text), ...more]);
const signed = (body: Uint8Array | string) => () => webhooksHeaders(body);
const long = events(150);
/** Hashed by the runtime. */
const large = `{"events":[1,"${"x".repeat(60_000)}"]}`;
/** Fits into no message. */
const stored = `{"events":[1,2,"${"y".repeat(200_000)}"]}`;

const cases: [string, string, Uint8Array, () => Promise<Headers_>][] = [
  ["genuine", "archive", bytes(genuine), signed(genuine)],
  ["genuine and of more than one word", "archive", bytes(long), signed(long)],
  ["previous secret", "contact-center", bytes(genuine), () => webhooksHeaders(genuine, SECRETS.WEBHOOK_SECRET_PREVIOUS)],
  ["Open Messaging", "messaging", bytes('{"type":"Text"}'), () => messagingHeaders('{"type":"Text"}')],
  ["Standard Webhooks", "standard", bytes('{"a":1}'), () => standardHeaders('{"a":1}', unique("msg"), seconds())],
  ["a custom scheme", "github", bytes("{}"), () => githubHeaders("{}", unique("delivery"))],
  ["no signature", "archive", bytes(genuine), async () => ({})],
  ["another signature", "archive", bytes(genuine), signed(`${genuine} `)],
  ["half a signature", "archive", bytes(genuine), async () => ({ "x-genesys-signature": "00ff" })],
  ["a stale timestamp", "standard", bytes("{}"), () => standardHeaders("{}", "m", 1_000)],
  ["no JSON", "archive", bytes("{"), signed("{")],
  ["an empty body", "archive", bytes(""), signed("")],
  ["no UTF-8", "archive", withBytes('{"events":["', 0xff, 0x22, 0x5d, 0x7d), signed(withBytes('{"events":["', 0xff, 0x22, 0x5d, 0x7d))],
  ["another envelope", "archive", bytes('{"events":{}}'), signed('{"events":{}}')],
  ["large", "archive", bytes(large), signed(large)],
  ["large, previous secret", "contact-center", bytes(large), () => webhooksHeaders(large, SECRETS.WEBHOOK_SECRET_PREVIOUS)],
  ["large, Open Messaging", "messaging", bytes(large), () => messagingHeaders(large)],
  ["large, Standard Webhooks", "standard", bytes(large), () => standardHeaders(large, unique("msg"), seconds())],
  ["large, another signature", "archive", bytes(large), signed(`${large} `)],
  ["large, another signature over more than the body", "standard", bytes(large), () => standardHeaders(`${large} `, unique("msg"), seconds())],
  ["large, no JSON", "archive", bytes(`${large}}`), signed(`${large}}`)],
  ["stored", "archive", bytes(stored), signed(stored)],
  ["stored, another signature", "archive", bytes(stored), signed(`${stored} `)],
  ["stored, another envelope", "archive", bytes(`[${stored}]`), signed(`[${stored}]`)],
  ["over the limit", "archive", bytes("z".repeat(5_000_001)), signed("z")],
  ["an unknown source", "nobody", bytes(genuine), signed(genuine)],
];

it.each(cases)("%s", async (_, source, body, headers) => {
  const { announced, unannounced: other } = await both(source, body, headers);
  const plain = ({ status, json, headers: got }: typeof announced) => ({
    status,
    // Of the age of a signature the two may be a second apart.
    json: { ...json, id: json?.id && DELIVERY_ID.test(json.id), detail: json?.detail?.replace(/signed \d+ s/, "signed N s") },
    headers: ["content-type", "cache-control", "retry-after", "allow"].map((name) => got.get(name)),
  });
  expect(plain(announced)).toEqual(plain(other));
});

it("hands the same bytes and the same kept headers on", async () => {
  const at = sink("contact-center");
  const ids: string[] = [];
  for (const way of ["announced", "unannounced"] as const) {
    const body = bytes(events(2));
    const headers = async () => ({ ...(await webhooksHeaders(body)), "x-kept": "Ünïcode", authorization: "Bearer x", "x-shown": SECRETS.WEBHOOK_SECRET });
    const answer = await post("contact-center", way === "announced" ? body : unannounced(body), await headers());
    expect(answer.status).toBe(200);
    ids.push(answer.json.id);
  }
  // Beside them arrive those of the tests above.
  const latest = await eventually(async () => {
    const arrived = (await at.latest()).filter((request) => ids.includes(request.headers["webhook-id"]));
    expect(arrived).toHaveLength(2);
    return arrived;
  });
  const names = latest.map(({ headers }) => Object.keys(headers).filter((name) => name !== "content-length").sort());
  expect(names[0]).toEqual(names[1]);
  expect(JSON.stringify(latest)).not.toContain(SECRETS.WEBHOOK_SECRET);
});
