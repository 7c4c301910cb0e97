/** Letters to be replayed, as a test puts them into the store. */

import { env } from "cloudflare:workers";
import { expect, vi } from "vitest";

import { api, bytes, events, eventually, hex, hmac, read } from "./client.ts";
import { row } from "./deliveries.ts";
import { SECRETS } from "./gateway.ts";
import { call, deliveryId } from "./messages.ts";

export const store = env.DEAD_LETTER_STORE.getByName("dead-letters");

export const replay = (id: string) => api(`/api/dead-letters/${id}/replay`, { method: "POST" });
export const replayMany = (order: object) => api("/api/dead-letters/replay", { method: "POST", body: JSON.stringify(order) });
export const account = async (source: string) => (await read("/metrics")).sources[source];

/** A letter of a delivery that was refused, whose signature is good by now: the secret was wrong then. */
export async function refused(source: string, fields: Record<string, unknown> = {}, secret: string = SECRETS.WEBHOOK_SECRET) {
  const [id, body] = [deliveryId(), events(2)];
  const letter = {
    id,
    source,
    stage: "receive",
    reason: "signature_mismatch",
    detail: "then",
    verified: false,
    received_at_ms: Date.now(),
    dead_at_ms: Date.now(),
    attempts: 0,
    headers: [["x-genesys-signature", hex(await hmac(secret, body))]],
    body: { inline: { size_bytes: bytes(body).length } },
    ...fields,
  };
  return { id: letter.id as string, body, letter, inline: { body } };
}

export const put = (...letters: object[]) => call(store, { put: { letters } });

export async function refusedMany(source: string, count: number): Promise<string[]> {
  const letters = await Promise.all(Array.from({ length: count }, () => refused(source)));
  await put(...letters);
  return letters.map(({ id }) => id);
}

/** The ledger knows all of them as delivered. */
export async function expectDelivered(ids: string[]) {
  await eventually(async () => {
    for (const id of ids) {
      expect((await row(id)).status).toBe("delivered");
    }
  });
}

/** Makes a method of a binding fail, in the Worker too: it shares the prototypes of its tests. */
export const failing = (binding: object, method: string) =>
  vi.spyOn(Object.getPrototypeOf(binding), method).mockRejectedValue(new Error("away"));
