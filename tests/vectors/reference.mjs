/**
 * Writes `reference.json`: lists of signatures as the reference implementation of Standard Webhooks judges them.
 *
 *   npm install --no-save standardwebhooks@1.1.1 && node tests/vectors/reference.mjs
 *
 * Every signature and every verdict is the library's. Only which refusal it is follows from whether an entry can be decoded, because the
 * library has one error for both. What it writes is committed and does not change by itself.
 */

import { writeFileSync } from "node:fs";

import { Webhook } from "standardwebhooks";

const NOW_S = 1_700_000_000;
const BODY = '{"test": 2432232314}';
const KEY = "/z3w4Pv/7w4Pv/7w4Pv/7w4Pv/7w4Pv/";
/** Secrets as their owners write them, with the padding and without where there is any. */
const SECRETS = [`whsec_${KEY}`, KEY, "whsec_/z3w4Pv/7w4Pv/7w4Pv/7w==", "whsec_/z3w4Pv/7w4Pv/7w4Pv/7w"];

Date.now = () => NOW_S * 1_000;

/** A linear congruential generator: the same lists each time. */
let state = 1;
function random(below) {
  state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
  return Math.floor((state / 2_147_483_648) * below);
}

function judged(secret, signature) {
  const headers = { "webhook-id": "msg_1", "webhook-timestamp": String(NOW_S), "webhook-signature": signature };
  try {
    new Webhook(secret).verify(BODY, headers);
    return { verdict: "accepted", label: "current", event_count: 1 };
  } catch {
    const texts = signature.split(" ").filter((entry) => entry.startsWith("v1,")).map((entry) => entry.slice(3));
    const isReadable = texts.some((text) => text.length === 44 && Buffer.from(text, "base64").toString("base64") === text);
    return { verdict: isReadable ? "signature_mismatch" : "malformed_signature" };
  }
}

const vectors = [];
for (let number = 0; number < 80; number += 1) {
  const secret = SECRETS[number % SECRETS.length];
  const valid = new Webhook(secret).sign("msg_1", new Date(NOW_S * 1_000), BODY);
  const entries = [
    valid, valid, valid, "v1,", "v1", "v2,x", "v1a,dGVzdA==", "v1,AAAA", `v1,${"A".repeat(43)}=`, valid.slice(0, -1), valid.slice(3),
    valid.replace("v1", "v2"), valid.toLowerCase(), `${valid}=`, "", "garbage",
  ];
  const list = Array.from({ length: 1 + random(6) }, () => entries[random(entries.length)]);
  const signature = list.join(" ").trim() || "v1,";
  vectors.push({
    name: `list ${number}`,
    profile: "standard-webhooks",
    secrets: [{ label: "current", text: secret }],
    headers: [["webhook-id", "msg_1"], ["webhook-timestamp", String(NOW_S)], ["webhook-signature", signature]],
    body: BODY,
    now_ms: NOW_S * 1_000,
    expect: judged(secret, signature),
  });
}

const about = [
  "Lists of signatures, judged by the reference implementation of Standard Webhooks (npm standardwebhooks 1.1.1); made by reference.mjs.",
  "The form is that of signatures.json.",
];
const lines = vectors.map((vector) => `    ${JSON.stringify(vector)}`);
const text = `{\n  "about": ${JSON.stringify(about)},\n  "vectors": [\n${lines.join(",\n")}\n  ]\n}\n`;
writeFileSync(new URL("reference.json", import.meta.url), text);
