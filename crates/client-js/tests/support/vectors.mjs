/**
 * The vectors of `tests/vectors`, through the package. Their form is described by `about` in each file. Works wherever
 * JavaScript does.
 */

const encoder = new TextEncoder();
const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

function bodyOf({ body, body_base64, body_repeat }) {
  if (body !== undefined) return encoder.encode(body);
  if (body_repeat !== undefined) return encoder.encode(body_repeat.text.repeat(body_repeat.times));
  return Uint8Array.from(atob(body_base64), (letter) => letter.charCodeAt(0));
}

function profileOf({ profile, custom }) {
  if (custom === undefined) return profile;
  return Object.fromEntries(Object.entries(custom).map(([name, value]) => [camel(name), value]));
}

function outcome({ verify, inspect }, vector) {
  const [body, profile] = [bodyOf(vector), profileOf(vector)];
  const secrets = vector.secrets.map(({ label, text, not_after_ms }) => ({ label, secret: text, notAfter: not_after_ms }));
  const signature = verify(vector.headers, body, secrets, profile, { now: vector.now_ms });
  if (!signature.ok) return { verdict: signature.code, detail: signature.detail };
  const envelope = inspect(body, profile, vector.headers);
  if (!envelope.ok) return { verdict: envelope.code, detail: envelope.detail, label: signature.label };
  return {
    verdict: "accepted",
    label: signature.label,
    event_count: envelope.eventCount,
    // A key that is only the body's hash is none, in the words of the vectors.
    idempotency_key: envelope.idempotencyKey.startsWith("body-sha256:") ? null : envelope.idempotencyKey,
  };
}

/** Runs the vectors of all `files` and answers how many ran and every difference. */
export function runVectors(client, files) {
  const differences = [];
  let ran = 0;
  for (const vector of files.flatMap((file) => file.vectors)) {
    // A source without secrets is a wrong call here, not a verdict.
    if (vector.secrets.length === 0) continue;
    ran += 1;
    const found = outcome(client, vector);
    for (const [name, expected] of Object.entries(vector.expect)) {
      if (found[name] !== expected) {
        differences.push(`${vector.name}: ${name}: expected ${expected}, found ${found[name]}`);
      }
    }
  }
  return { ran, differences };
}
