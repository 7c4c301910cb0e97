/**
 * The shared vectors, each as a request to the real Worker at the vector's time: same verdicts as in the library, by the general way
 * and by the short one, whether a body is hashed in wasm or by the runtime.
 */

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import envelopes from "../vectors/envelopes.json?raw";
import json from "../vectors/json.json?raw";
import large from "../vectors/large.json?raw";
import reference from "../vectors/reference.json?raw";
import signatures from "../vectors/signatures.json?raw";
import { api, base64, bytes, post, unannounced } from "./support/client.ts";
import { type Vector, schemeOf, sourceNames } from "./support/vectors.ts";

// In the order of `VECTOR_FILES`, by which the gateway's sources are numbered.
const files = Object.entries({ signatures, reference, large, envelopes, json }).map(([name, text]) => ({
  name,
  vectors: JSON.parse(text).vectors as Vector[],
}));
const names = sourceNames(files.flatMap(({ vectors }) => vectors));

/** From this size on the runtime hashes (src/platform/body.rs). */
const LARGE_BYTES = 8_192;

/** Verdicts that a signature was computed for. */
const HASHED = ["accepted", "signature_mismatch", "invalid_json", "invalid_envelope"];

/** Headers of the messages that were handed to a queue. */
let sent: any[];
/** How often the runtime has hashed. */
let signs: number;

beforeEach(() => {
  const subtle = Object.getPrototypeOf(crypto.subtle);
  const { sign } = subtle;
  vi.spyOn(subtle, "sign").mockImplementation(function (this: unknown, ...parts: unknown[]) {
    signs += 1;
    return sign.apply(this, parts);
  });
  // The Worker shares the prototypes of its tests. Nobody has to deliver what is judged here.
  vi.spyOn(Object.getPrototypeOf(env.DELIVERIES), "send").mockImplementation(async (message) => {
    const text = message as Uint8Array;
    sent.push(JSON.parse(new TextDecoder().decode(text.subarray(0, text.indexOf(10)))));
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function bodyOf({ body, body_base64, body_repeat, pad_to_bytes }: Vector): Uint8Array {
  if (body_base64 !== undefined) {
    return Uint8Array.from(atob(body_base64), (char) => char.charCodeAt(0));
  }
  const text = bytes(body ?? body_repeat?.text.repeat(body_repeat.times) ?? "");
  const padded = new Uint8Array(pad_to_bytes ?? text.length).fill(0x20);
  padded.set(text);
  return padded;
}

/** The headers of a vector; `undefined` where no HTTP request can carry them. */
function headersOf(vector: Vector): Headers | undefined {
  const sent = new Map<string, string>();
  for (const [name, value] of vector.headers) {
    const key = name.toLowerCase();
    sent.set(key, sent.has(key) ? `${sent.get(key)}, ${value}` : value);
  }
  try {
    const headers = new Headers(vector.headers);
    return [...sent].every(([name, value]) => headers.get(name) === value) ? headers : undefined;
  } catch {
    return undefined;
  }
}

it.each(files)("$name", async ({ vectors }) => {
  const differences: string[] = [];
  const skipped: string[] = [];
  for (const vector of vectors) {
    const headers = headersOf(vector);
    if (headers === undefined) {
      skipped.push(vector.name);
      continue;
    }
    vi.setSystemTime(vector.now_ms);
    const [source, body] = [names.get(schemeOf(vector)) as string, bodyOf(vector)];
    const { verdict, event_count, detail, label } = vector.expect;
    const active = vector.secrets.filter(({ not_after_ms: end }) => end === undefined || vector.now_ms <= end).length;
    const differ = (what: string, expected: unknown, found: unknown) => {
      if (expected !== undefined && expected !== found) {
        differences.push(`${vector.name}: ${what}: expected ${expected}, found ${found}`);
      }
    };
    // The general way first: it imports the keys that the short way has large bodies hashed with.
    for (const way of ["general", "short"]) {
      [sent, signs] = [[], 0];
      const answer = await post(source, way === "short" ? body : unannounced(body), headers);
      differ(`verdict by the ${way} way`, verdict, answer.status === 200 ? "accepted" : answer.json?.code);
      differ(`event count by the ${way} way`, event_count, answer.json?.eventCount);
      differ(`detail by the ${way} way`, detail, answer.json?.detail);
      // A delivery, or a letter; nothing where the sender has to repeat.
      const kind = verdict === "accepted" ? "delivery" : answer.status === 503 ? "" : "dead_letter";
      differ(`messages by the ${way} way`, kind, sent.map((header) => header.kind).join());
      differ(`label by the ${way} way`, label, sent[0]?.secret_label);
      // Once for each active secret, by the one or the other.
      const isOutside = body.length >= LARGE_BYTES && HASHED.includes(verdict);
      differ(`hashed outside by the ${way} way`, isOutside ? active : 0, signs);
    }
    // The signature doctor agrees with the receiver. Large bodies would only measure the runtime.
    if (body.length < 10_000) {
      const recorded = { source, headers: Object.fromEntries(headers), bodyBase64: base64(body) };
      const explained = (await api("/api/explain", { method: "POST", body: JSON.stringify(recorded) })).json;
      differ("explained verdict", verdict, explained.verdict);
      differ("explained label", label, explained.secret_label);
    }
  }
  expect(differences).toEqual([]);
  // There is none yet that only the library could judge.
  expect(skipped).toEqual([]);
});
