/** The shared vectors, each as a request to the real Worker at the vector's time: same verdicts as in the library. */

import { afterEach, expect, it, vi } from "vitest";

import envelopes from "../vectors/envelopes.json?raw";
import json from "../vectors/json.json?raw";
import signatures from "../vectors/signatures.json?raw";
import { api, base64, bytes, post } from "./support/client.ts";
import { type Vector, schemeOf, sourceNames } from "./support/vectors.ts";

// In the order of `VECTOR_FILES`, by which the gateway's sources are numbered.
const files = Object.entries({ signatures, envelopes, json }).map(([name, text]) => ({
  name,
  vectors: JSON.parse(text).vectors as Vector[],
}));
const names = sourceNames(files.flatMap(({ vectors }) => vectors));

afterEach(() => vi.useRealTimers());

function bodyOf({ body, body_base64, body_repeat }: Vector): Uint8Array {
  if (body_base64 !== undefined) {
    return Uint8Array.from(atob(body_base64), (char) => char.charCodeAt(0));
  }
  return bytes(body ?? body_repeat?.text.repeat(body_repeat.times) ?? "");
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
    const answer = await post(source, body, headers);
    const differ = (what: string, expected: unknown, found: unknown) => {
      if (expected !== undefined && expected !== found) {
        differences.push(`${vector.name}: ${what}: expected ${expected}, found ${found}`);
      }
    };
    const { verdict, event_count, detail, label } = vector.expect;
    differ("verdict", verdict, answer.status === 200 ? "accepted" : answer.json?.code);
    differ("event count", event_count, answer.json?.eventCount);
    differ("detail", detail, answer.json?.detail);
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
