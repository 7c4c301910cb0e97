/**
 * Messages of the queues as tests make them, and batches of them. The framing is written here once more, by its description
 * (header JSON, newline, body), so that the tests do not rest on the code that they test.
 */

import { exports } from "cloudflare:workers";

import { type Body, bytes, unique } from "./client.ts";

export const DELIVERIES = "genesys-deliveries";
export const DEAD_LETTERS = "genesys-dead-letters";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** An identifier as the gateway makes them: ULID. */
export function deliveryId(timeMs: number = Date.now()): string {
  let time = "";
  for (let rest = timeMs; time.length < 10; rest = Math.floor(rest / 32)) {
    time = ALPHABET[rest % 32] + time;
  }
  return time + Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => ALPHABET[byte % 32]).join("");
}

/** The fields of a delivery's header, with what a test does not care about filled in. */
export function delivery(source: string, body: Body, fields: Record<string, unknown> = {}) {
  return {
    kind: "delivery",
    v: 1,
    id: deliveryId(),
    source,
    received_at_ms: Date.now(),
    event_count: 1,
    secret_label: "webhook_secret",
    dedupe_key: unique("key"),
    headers: [["content-type", "application/json"]],
    body: { inline: { size_bytes: bytes(body).length } },
    ...fields,
  };
}

/** Header and body as they cross a queue. */
export function frame(header: object, body: Body): ArrayBuffer {
  const line = bytes(`${JSON.stringify(header)}\n`);
  const data = bytes(body);
  const message = new Uint8Array(line.length + data.length);
  message.set(line);
  message.set(data, line.length);
  return message.buffer;
}

export interface Message {
  id: string;
  timestamp: Date;
  attempts: number;
  body: unknown;
}

/** A message of a batch around any body. */
export function message(body: unknown, attempts = 1): Message {
  return { id: unique("message"), timestamp: new Date(), attempts, body };
}

/** What became of a batch. */
export interface Outcome {
  acknowledged: string[];
  putOff: { msgId: string; delaySeconds?: number }[];
}

/**
 * Hands a batch to the consumer through the runtime's own event, which is what tells the delays (a batch made by
 * `createMessageBatch` does not).
 */
export async function consume(queue: string, messages: Message[]): Promise<Outcome> {
  const result = await exports.default.queue(queue, messages);
  if (result.outcome !== "ok" || result.ackAll || result.retryBatch.retry) {
    throw new Error(`the batch was not settled message by message: ${JSON.stringify(result)}`);
  }
  return { acknowledged: result.explicitAcks, putOff: result.retryMessages };
}

/** FNV-1a, 64 bits. */
function fnv1a(data: Uint8Array): bigint {
  return data.reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n), 0xcbf29ce484222325n);
}

/** The key and the object of the ledger that know a source's delivery by its idempotency key. */
export function ledgerPlace(source: string, dedupeKey: string): { key: string; shard: string } {
  const key = `${source}\u{1f}${dedupeKey}`;
  return { key, shard: `ledger-${fnv1a(bytes(key)) % 16n}` };
}

/** Calls a Durable Object as the gateway does. */
export async function call(
  stub: { fetch: (url: string, init: RequestInit) => Promise<Response> },
  request: unknown,
): Promise<any> {
  const response = await stub.fetch("https://object/", { method: "POST", body: JSON.stringify(request) });
  const text = await response.text();
  if (response.status !== 200) {
    throw new Error(`${response.status}: ${text}`);
  }
  return JSON.parse(text);
}
