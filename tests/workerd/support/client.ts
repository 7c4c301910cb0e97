/**
 * What the tests say to the gateway: deliveries as their senders make them, and management calls. Signatures are computed here
 * with WebCrypto, so that nothing of the gateway judges itself.
 */

import { exports } from "cloudflare:workers";
import { expect, vi } from "vitest";

import { SECRETS } from "./gateway.ts";

const ORIGIN = "https://gateway.example";

export type Body = string | Uint8Array;

export function bytes(body: Body): Uint8Array {
  return typeof body === "string" ? new TextEncoder().encode(body) : body;
}

export function base64(data: Uint8Array): string {
  return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
}

export function hex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function sha256(body: Body): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes(body))));
}

export async function hmac(secret: Body, message: Body): Promise<Uint8Array> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bytes(secret), algorithm, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes(message)));
}

/** The headers of the `webhooks` profile. */
export async function webhooksHeaders(body: Body, secret: string = SECRETS.WEBHOOK_SECRET): Promise<Record<string, string>> {
  return { "content-type": "application/json", "x-genesys-signature": hex(await hmac(secret, body)) };
}

export async function messagingHeaders(body: Body): Promise<Record<string, string>> {
  return { "x-hub-signature-256": `sha256=${base64(await hmac(SECRETS.MESSAGING_SECRET, body))}` };
}

export async function githubHeaders(body: Body, delivery: string): Promise<Record<string, string>> {
  return { "x-hub-signature-256": `sha256=${hex(await hmac(SECRETS.GITHUB_SECRET, body))}`, "x-github-delivery": delivery };
}

export async function standardHeaders(body: Body, id: string, timestampS: number): Promise<Record<string, string>> {
  const key = Uint8Array.from(atob(SECRETS.STANDARD_SECRET.slice("whsec_".length)), (char) => char.charCodeAt(0));
  const signature = base64(await hmac(key, `${id}.${timestampS}.${new TextDecoder().decode(bytes(body))}`));
  return { "webhook-id": id, "webhook-timestamp": String(timestampS), "webhook-signature": `v1,${signature}` };
}

let made = 0;

/** A text that no other call gives in this runtime. */
export function unique(name: string): string {
  made += 1;
  return `${name}-${made}-${crypto.randomUUID().slice(0, 8)}`;
}

/** An envelope of the `webhooks` profile with so many events; `mark` makes it different from every other. */
export function events(count: number, mark: string = unique("events")): string {
  const list = Array.from({ length: count }, (_, index) => ({ eventType: "call:created", index, text: "Café ☕" }));
  return JSON.stringify({ mark, events: list });
}

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  json: any;
}

async function answer(response: Response): Promise<Answer> {
  // Not `text()`, which warns of content types that it does not take for text.
  const text = new TextDecoder().decode(await response.arrayBuffer());
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: isJson && text !== "" ? JSON.parse(text) : undefined,
  };
}

/** Sends anything to the gateway. */
export async function send(path: string, init: RequestInit = {}): Promise<Answer> {
  return answer(await exports.default.fetch(`${ORIGIN}${path}`, init));
}

/** Delivers a body to a source. */
export function post(source: string, body: BodyInit | Uint8Array | null, headers: HeadersInit = {}): Promise<Answer> {
  return send(`/webhook/${source}`, { method: "POST", body, headers });
}

/** A body whose size nobody announces, in pieces. (The runtime knows the size of a buffer, and of the stream of a `Blob`.) */
export function unannounced(...pieces: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) {
        controller.enqueue(piece);
      }
      controller.close();
    },
  });
}

/** Delivers a genuine body, of the `webhooks` profile where no other is given. */
export async function deliver(
  source: string,
  body: Body = events(1),
  sign: (body: Body) => Promise<Record<string, string>> = (signed) => webhooksHeaders(signed),
): Promise<Answer> {
  return post(source, body, await sign(body));
}

/** A normal delivery is served: whatever was sent before has broken nothing. */
export async function expectNormalService(): Promise<void> {
  const served = await deliver("archive", events(2));
  expect(served.json).toEqual({ received: true, eventCount: 2, id: expect.stringMatching(DELIVERY_ID) });
  expect(served.status).toBe(200);
}

/** The form of identifiers: ULID. */
export const DELIVERY_ID = /^[0-9A-HJKMNP-TV-Z]{26}$/;

/** A management call with the operator's token. */
export function api(path: string, init: RequestInit = {}): Promise<Answer> {
  const headers = new Headers(init.headers);
  headers.set("authorization", `Bearer ${SECRETS.ADMIN_TOKEN}`);
  return send(path, { ...init, headers });
}

/** The JSON of a management call that succeeds. */
export async function read(path: string): Promise<any> {
  const { status, json, text } = await api(path);
  expect(status, text).toBe(200);
  return json;
}

/** Asks until the expectations hold, without waiting longer than they need. */
export function eventually<T>(check: () => Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 20_000, interval: 50 });
}

/** All pages of a list. `between` runs after each page but the last. */
export async function pages(path: string, field: string, between: () => Promise<void> = async () => {}): Promise<any[][]> {
  const found = [];
  let cursor: string | null = null;
  do {
    const separator = path.includes("?") ? "&" : "?";
    const page = await read(cursor === null ? path : `${path}${separator}cursor=${encodeURIComponent(cursor)}`);
    found.push(page[field]);
    cursor = page.nextCursor;
    if (cursor !== null) {
      await between();
    }
  } while (cursor !== null);
  return found;
}
