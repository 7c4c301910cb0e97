/**
 * Deliveries to measure with: conversation events as the vendor's `webhooks` profile carries them, signed, and the headers that
 * arrive with them behind Cloudflare. Plain ASCII: text that is not would cost the JavaScript competitors more.
 */

import { createHmac } from "node:crypto";

export const SECRET = "0123456789abcdef0123456789abcdef";

/** Digits that look random and are the same in every run. */
function* digits(seed) {
  let state = seed >>> 0;
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state >>> 8;
  }
}

function uuid(random) {
  const hex = (n) => random.next().value.toString(16).padStart(6, "0").slice(0, n);
  return `${hex(4)}${hex(4)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(6)}${hex(6)}`;
}

function event(random, index) {
  const second = String(index % 60).padStart(2, "0");
  return {
    id: uuid(random),
    eventType: "call:created",
    timestamp: `2026-11-24T10:15:${second}.123Z`,
    conversationId: uuid(random),
    direction: "inbound",
    participants: [
      { id: uuid(random), purpose: "customer", name: "Anna Smith", address: "tel:+4930123456", state: "connected", muted: false },
      { id: uuid(random), purpose: "agent", userId: uuid(random), queueId: uuid(random), state: "alerting", wrapUpRequired: true },
    ],
    metrics: { tHandle: random.next().value % 100_000, nTransferred: 0, mosScore: 4.38 },
    attributes: { language: "en-US", note: "Hi, my parcel has not arrived. The tracking page says \"in transit\" since Monday." },
  };
}

/** A body of `size` bytes exactly, and how many events it has. */
export function body(size) {
  const random = digits(size);
  const head = `{"id":"${uuid(random)}","webhookId":"${uuid(random)}","events":[`;
  const list = [];
  let length = head.length + 2;
  for (;;) {
    const text = JSON.stringify(event(random, list.length));
    if (length + text.length + 1 + 12 > size) break;
    list.push(text);
    length += text.length + 1;
  }
  const open = `${head}${list.join(",")}],"pad":"`;
  const bytes = Buffer.from(`${open}${"x".repeat(Math.max(0, size - open.length - 2))}"}`);
  return { bytes, events: list.length };
}

/** A body like `template` (of `body`) that no other number has: a repeated one would rightly be a duplicate. The padding at its end becomes the number. */
export function numbered(template, number) {
  const bytes = Buffer.from(template);
  bytes.write(String(number).padStart(10, "0"), bytes.length - 12);
  return bytes;
}

/** The headers of a delivery behind Cloudflare. */
export function headers(bytes, secret = SECRET) {
  return {
    "x-genesys-signature": createHmac("sha256", secret).update(bytes).digest("hex"),
    "content-type": "application/json; charset=UTF-8",
    "user-agent": "PureCloud-Webhooks/1.0",
    accept: "*/*",
    "accept-encoding": "gzip, br",
    "inin-correlation-id": "5f7a2f0e-6ad1-4e6e-8b7a-3f2f6c1f9d11",
    "cdn-loop": "cloudflare; loops=1",
    "cf-connecting-ip": "203.0.113.7",
    "cf-ipcountry": "DE",
    "cf-ray": "9a3b1c2d3e4f5a6b-FRA",
    "cf-visitor": '{"scheme":"https"}',
    "x-forwarded-proto": "https",
    "x-real-ip": "203.0.113.7",
  };
}
