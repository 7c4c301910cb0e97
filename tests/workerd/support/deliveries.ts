/** Deliveries on their way to a destination, as a test hands them to the consumer and asks about them afterwards. */

import { env } from "cloudflare:workers";

import { type Body, bytes, eventually, events, read, sha256, unique } from "./client.ts";
import { delivery, frame, message } from "./messages.ts";
import { sink } from "./sink.ts";

/** A message with a delivery in it. */
export function parcel(source: string, fields: Record<string, unknown> = {}, body: Body = events(1)) {
  const header = delivery(source, body, fields);
  return { id: header.id, dedupeKey: header.dedupe_key, header, body, message: message(frame(header, body)) };
}

/** The same with its body in the bucket. */
export async function storedParcel(source: string, body: Body, fields: Record<string, unknown> = {}) {
  const key = `payloads/2026/11/23/${source}/${unique("body")}`;
  await env.PAYLOADS.put(key, body);
  const reference = { stored: { key, size_bytes: bytes(body).length, sha256: await sha256(body) } };
  return { key, ...parcel(source, { body: reference, ...fields }, "") };
}

/** What the ledger knows of a delivery. */
export const row = (id: string) => read(`/api/deliveries/${id}`);

/** What the destination of `source` has had of a delivery, of its latest requests. */
export async function arrived(id: string, source = "contact-center"): Promise<any[]> {
  return (await sink(source).latest()).filter((request) => request.headers["webhook-id"] === id);
}

/** The dead letter of a delivery, once it is stored. */
export const letterOf = (id: string) => eventually(() => read(`/api/dead-letters/${id}`));

type Sent = { message: { id: string } };

/** The outcome of a batch of which everything was acknowledged. */
export const acknowledged = (...parcels: Sent[]) => ({ acknowledged: parcels.map(({ message: { id } }) => id), putOff: [] });

/** The outcome of a batch of one that was put off. */
export const putOff = (sent: Sent, delaySeconds: number) => ({
  acknowledged: [],
  putOff: [{ msgId: sent.message.id, delaySeconds }],
});
