/**
 * Writes `large.json`: bodies of a size at which they are hashed by the runtime instead of in wasm, for every scheme and every way
 * to sign them right and wrong. `node tests/vectors/large.mjs`; what it writes is committed and does not change by itself.
 *
 * The signatures are made here with Node's own HMAC, from the same words as the documentation of the schemes: nothing of the
 * gateway judges itself. Verdicts are written down next to each case and never computed.
 */

import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";

const NOW_S = 1_700_000_000;
/** The first size that is large, and the last that is small (src/platform/body.rs). */
const [SMALL, LARGE] = [8_191, 8_192];
const SIZES = [SMALL, LARGE, LARGE + 1, 40_000, 200_000];

const CURRENT = "current-secret-0123456789";
const PREVIOUS = "previous-secret-of-23-bytes";
const EXPIRED = "expired-secret-of-22-byte";
const FOREIGN = "foreign-secret-of-24-bytes";
const base64 = (text) => Buffer.from(text).toString("base64");
const base64url = (text) => Buffer.from(text).toString("base64url");
const hexadecimal = (text) => Buffer.from(text).toString("hex");

/**
 * A scheme: how it is configured, how a secret and a tag are written, what is signed, and its headers. `sent`: the tags as they are
 * written.
 */
const SCHEMES = [
  {
    name: "webhooks",
    profile: "webhooks",
    tag: (mac) => mac.toString("hex"),
    content: (body) => [body],
    headers: (sent) => [["X-Genesys-Signature", sent.join(", ")]],
  },
  {
    name: "open messaging",
    profile: "open-messaging",
    tag: (mac) => `sha256=${mac.toString("base64")}`,
    content: (body) => [body],
    headers: (sent) => [["X-Hub-Signature-256", sent.join(", ")]],
  },
  {
    name: "standard webhooks",
    profile: "standard-webhooks",
    secret: (text) => `whsec_${base64(text)}`,
    tag: (mac) => `v1,${mac.toString("base64")}`,
    content: (body, id, time) => [`${id}.${time}.`, body],
    headers: (sent, id, time) => [["webhook-id", id], ["webhook-timestamp", String(time)], ["webhook-signature", sent.join(" ")]],
  },
  {
    name: "custom, body alone",
    custom: { header: "X-Hub-Signature-256", prefix: "sha256=", encoding: "hex", envelope: "events", secret_format: "hex" },
    secret: hexadecimal,
    tag: (mac) => `sha256=${mac.toString("hex")}`,
    content: (body) => [body],
    headers: (sent) => [["X-Hub-Signature-256", sent.join(", ")]],
  },
  {
    name: "custom, time before the body",
    custom: {
      header: "X-Slack-Signature",
      prefix: "v0=",
      encoding: "hex",
      timestamp_header: "X-Slack-Request-Timestamp",
      signed_content: "v0:{timestamp}:{body}",
      envelope: "events",
    },
    tag: (mac) => `v0=${mac.toString("hex")}`,
    content: (body, _, time) => [`v0:${time}:`, body],
    headers: (sent, _, time) => [["X-Slack-Request-Timestamp", String(time)], ["X-Slack-Signature", sent.join(", ")]],
  },
  {
    name: "custom, text after the body",
    custom: {
      header: "x-s",
      encoding: "base64url",
      id_header: "x-id",
      timestamp_header: "x-time",
      signed_content: "{body}|{id}|{timestamp}|end",
      envelope: "events",
      secret_format: "base64",
    },
    secret: base64,
    tag: (mac) => mac.toString("base64url"),
    content: (body, id, time) => [body, `|${id}|${time}|end`],
    headers: (sent, id, time) => [["x-id", id], ["x-time", String(time)], ...sent.map((tag) => ["x-s", tag])],
  },
  {
    name: "custom, text on both sides",
    custom: {
      header: "x-s",
      encoding: "base64",
      padding: false,
      id_header: "x-id",
      signed_content: "<{id}>{body}</end>",
      envelope: "events",
    },
    tag: (mac) => mac.toString("base64").replaceAll("=", ""),
    content: (body, id) => [`<${id}>`, body, "</end>"],
    headers: (sent, id) => [["x-id", id], ["x-s", sent.join(" ")]],
  },
];

const isTimed = ({ profile, custom }) => profile === "standard-webhooks" || custom?.timestamp_header !== undefined;
const isNamed = ({ profile, custom }) => profile === "standard-webhooks" || custom?.id_header !== undefined;

/** Secrets in the order of a rotation. */
function secretsOf({ secret = (text) => text }) {
  return [
    { label: "current", text: secret(CURRENT) },
    { label: "previous", text: secret(PREVIOUS), not_after_ms: (NOW_S + 60) * 1_000 },
    { label: "expired", text: secret(EXPIRED), not_after_ms: NOW_S * 1_000 - 1 },
  ];
}

/** An envelope of every profile, of so many events for those that count them. */
const JSON_TEXT = '{"type":"Text","events":[{"name":"Zoë 😀"},2]}';
const events = (scheme) => (["standard-webhooks", "open-messaging"].includes(scheme.profile) ? 1 : 2);

const pad = (text, size) => Buffer.concat([Buffer.from(text), Buffer.alloc(size - Buffer.byteLength(text), " ")]);

const vectors = [];

/**
 * One vector. `by`: the secrets that sign; `signed`: the body that they sign; `id`, `time`: what is sent, `signedId`, `signedTime`:
 * what is signed; `tags`: what becomes of the tags.
 */
function add(scheme, what, expect, options = {}) {
  const { size = LARGE, text = JSON_TEXT, by = [CURRENT], id = "msg_1", time = NOW_S, tags = (list) => list, secrets = secretsOf(scheme) } = options;
  const body = pad(text, size);
  const { signed = body, signedId = id, signedTime = time } = options;
  const macs = by.map((key) => {
    const mac = createHmac("sha256", key);
    scheme.content(signed, signedId, signedTime).forEach((part) => mac.update(part));
    return scheme.tag(mac.digest());
  });
  vectors.push({
    name: `${scheme.name}: ${what}`,
    profile: scheme.profile ?? "custom",
    ...(scheme.custom && { custom: scheme.custom }),
    secrets,
    headers: scheme.headers(tags(macs), id, time),
    body: text,
    pad_to_bytes: size,
    now_ms: NOW_S * 1_000,
    expect,
  });
}

/** A byte more or less at the beginning, in the middle and at the end of what is signed. */
function changed(at, size = LARGE) {
  const body = Buffer.from(pad(JSON_TEXT, size));
  body[at < 0 ? size + at : at] ^= 1;
  return body;
}

for (const scheme of SCHEMES) {
  const accepted = (label) => ({ verdict: "accepted", label, event_count: events(scheme) });
  const mismatch = { verdict: "signature_mismatch", detail: "no active secret makes this signature over this body" };
  for (const size of SIZES) {
    add(scheme, `genuine, ${size} bytes`, accepted("current"), { size });
    add(scheme, `another byte, ${size} bytes`, mismatch, { size, signed: changed(-1, size) });
  }
  add(scheme, "the first byte is another", mismatch, { signed: changed(0) });
  add(scheme, "a byte in the middle is another", mismatch, { signed: changed(6_000) });
  add(scheme, "a byte less was signed", mismatch, { signed: pad(JSON_TEXT, LARGE - 1) });
  add(scheme, "a byte more was signed", mismatch, { signed: pad(JSON_TEXT, LARGE + 1) });
  add(scheme, "an empty body was signed", mismatch, { signed: Buffer.alloc(0) });
  add(scheme, "the second secret", accepted("previous"), { by: [PREVIOUS] });
  add(scheme, "the second secret, stored", accepted("previous"), { by: [PREVIOUS], size: 200_000 });
  add(scheme, "an expired secret", mismatch, { by: [EXPIRED] });
  add(scheme, "the secret of somebody else", mismatch, { by: [FOREIGN] });
  add(scheme, "only expired secrets", { verdict: "no_active_secret" }, { by: [EXPIRED], secrets: secretsOf(scheme).slice(2) });
  add(scheme, "no JSON", { verdict: "invalid_json", label: "current" }, { text: '{"events":[1]' });
  add(scheme, "another envelope", { verdict: "invalid_envelope", label: "previous", detail: "expected an object at byte 0" }, { text: "[1]", by: [PREVIOUS] });
  add(scheme, "no signature", { verdict: "missing_signature" }, { tags: () => [] });
  add(scheme, "half a signature", { verdict: "malformed_signature" }, { tags: ([tag]) => [tag.slice(0, -8)] });
  add(scheme, "the signature twice", accepted("current"), { tags: ([tag]) => [tag, tag] });
  add(scheme, "two signatures, the second is ours", accepted("current"), { by: [FOREIGN, CURRENT] });
  add(scheme, "two signatures, by both secrets", accepted("current"), { by: [PREVIOUS, CURRENT] });
  add(scheme, "two signatures, none is ours", mismatch, { by: [FOREIGN, EXPIRED] });
  add(scheme, "half a signature before ours", accepted("current"), { tags: ([tag]) => [tag.slice(0, -8), tag] });
  if (isTimed(scheme)) {
    const late = (s) => ({ verdict: "timestamp_out_of_tolerance", detail: `signed ${s} s ago, allowed are 300 s` });
    add(scheme, "the last second of the tolerance", accepted("current"), { time: NOW_S - 300 });
    add(scheme, "too late", late(301), { time: NOW_S - 301 });
    add(scheme, "another time was signed", mismatch, { time: NOW_S - 1, signedTime: NOW_S });
  }
  if (isNamed(scheme)) {
    add(scheme, "another identifier was signed", mismatch, { id: "msg_2", signedId: "msg_1" });
    add(scheme, "no identifier", { verdict: "missing_signature" }, { id: "" });
  }
}

const about = [
  "Signatures over bodies around and above the size from which they are hashed by the runtime; made by large.mjs.",
  "The form is that of signatures.json. pad_to_bytes: spaces follow the body up to this size.",
];
const lines = vectors.map((vector) => `    ${JSON.stringify(vector)}`);
const text = `{\n  "about": ${JSON.stringify(about)},\n  "vectors": [\n${lines.join(",\n")}\n  ]\n}\n`;
writeFileSync(new URL("large.json", import.meta.url), text);
