// Writes the seed corpora: corpus/<target>/, from tests/vectors and from what the vendor's documentation shows.
//
//   node fuzz/seeds.mjs
//
// Deterministic: run it again after the vectors have changed, and commit what it writes. What the fuzzer finds on its
// way is not kept here (see run.sh).

import { createHmac } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const here = new URL(".", import.meta.url);
const vectors = (name) => JSON.parse(readFileSync(new URL(`../tests/vectors/${name}.json`, here))).vectors;

/** Every `n`th, so that a corpus stays small and covers the whole file. */
const some = (list, most) => list.filter((_, index) => index % Math.ceil(list.length / most) === 0);

function write(target, seeds) {
  const folder = new URL(`corpus/${target}/`, here);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const width = String(seeds.length).length;
  seeds.forEach((seed, index) => writeFileSync(new URL(String(index).padStart(width, "0"), folder), seed));
}

function body(vector) {
  if (vector.body_repeat) return Buffer.from(vector.body_repeat.text.repeat(vector.body_repeat.times));
  return vector.body_base64 === undefined ? Buffer.from(vector.body ?? "") : Buffer.from(vector.body_base64, "base64");
}

/** A vector as fuzz/src/request.rs reads it; nothing where it cannot be written so. */
function request(vector) {
  const secrets = vector.secrets.map(({ text, not_after_ms: end }) => (end === undefined ? `*${text}` : `*${end}@${text}`));
  const head = [
    vector.custom ? JSON.stringify(vector.custom) : vector.profile,
    `@${vector.now_ms}`,
    ...secrets,
    ...vector.headers.map(([name, value]) => `${name}: ${value}`),
  ];
  const bytes = body(vector);
  if (bytes.length > 4_000 || head.some((line) => line.includes("\n"))) return [];
  return [Buffer.concat([Buffer.from(`${head.join("\n")}\n\n`), bytes])];
}

const signatures = [...vectors("signatures"), ...vectors("reference")].flatMap(request);
const signed = (scheme, by, change, text) =>
  `${scheme}\n@1700000000000\n*0123456789abcdef0123456789abcdef\n!0 ${by} ${change} msg_1 1700000000\n\n${text}`;
const message = JSON.stringify({
  id: "d7d58935af65a45e5234ac77de017a0a", channel: { id: "e6b352de", platform: "Open", time: "2025-06-10T21:03:05.427Z" },
  type: "Text", text: "Café ☕ 😀", originatingEntity: "Human", direction: "Outbound",
});
const custom = JSON.stringify({
  header: "x-sig", prefix: "v0=", encoding: "base64url", timestamp_header: "x-time", id_header: "x-id",
  signed_content: "v0:{id}:{timestamp}:{body}!", secret_format: "hex", dedupe_pointer: "/channel/time", envelope: "object",
});
const made = ["webhooks", "open-messaging", "standard-webhooks", custom].flatMap((scheme) =>
  ["own", "webhooks", "open-messaging", "standard-webhooks"].map((by) => signed(scheme, by, "as_is", message)));
const changes = ["line_end", "no_line_end", "bom", "empty", "compact", "pretty"].map((change) =>
  signed("webhooks", "own", change, '{ "events" : [ {"a":1.0}, "\\u00e9" ] }\n'));

write("signature", [...some(signatures, 40), ...made]);
// A piece of an explanation in place of a signature, which the explanation shows whatever was sent (found by the target).
const echo = `${JSON.stringify({
  header: "x-s", encoding: "base64url", envelope: "events", signed_content: "{body}{id}", id_header: "x-id",
})}\n@1700000020000\n*0123456789abcdef0123\nx-id: 7\nx-s: AAAAA"secret_format"AAAAAAAAAvents","signed_content":"{body}{id}","id_header":"x"\n\n{"events":[1,2,3]}`;
write("doctor", [...some(signatures, 24), ...made, ...changes, echo]);

const small = (list) => list.map(body).filter((bytes) => bytes.length < 1_000);
const envelopes = [...small(vectors("envelopes")), ...some(small(vectors("json")), 30)];
const pointers = ["", "/id /type /channel/time", "/events/0/id /a~1b/0", "/a /a/b /a/b/0/c /v"];
write("envelope", envelopes.map((bytes, index) =>
  Buffer.concat([Buffer.from(`${pointers[index % pointers.length]}\n`), bytes])));

// Configurations.
const source = {
  name: "contact-center", profile: "webhooks",
  secrets: ["WEBHOOK_SECRET", { name: "OLD", label: "previous", not_after: "2026-12-01T00:00:00Z" }],
  subscription: { name: "Production Webhook", event_types: ["call:created", "call:answered"], filter: "true", enabled: true, adopt: false, prune: true },
  destination: { url: "https://app.example.com/events", secret: "DESTINATION_SECRET", timeout_ms: 5000 },
};
const base = { region: "mypurecloud.ie", public_url: "https://hooks.example.com/", sources: [source] };
const { subscription, ...receiving } = source;
const sources = (...list) => ({ sources: list });
write("config", [
  base,
  { ...base, region: "us-east-1", owner: "another", dead_letter_days: 30, dedupe_days: 7 },
  { ...base, region: undefined, login_url: "https://login.example.com", api_url: "https://api.example.com" },
  { ...base, allow_private_addresses: true, public_url: "http://127.0.0.1:8787" },
  { ...base, region: "mypurecloud.xx", sorces: [], sources: [source, source] },
  sources({ ...receiving, profile: "open-messaging", subscription: { name: "x" } }),
  sources({ ...receiving, profile: "standard-webhooks", envelope: "any", duplicate_window_s: 0, max_body_bytes: 1000000, retry_schedule_s: [5, 300, 1800] }),
  sources({ ...receiving, profile: "custom", custom: JSON.parse(custom) }),
  sources({ ...receiving, profile: "custom", custom: { header: "X-Api-Key", encoding: "hex32", padding: "yes", tolerance_s: 0 } }),
  sources({ ...receiving, allow_networks: ["203.0.113.0/24", "2001:db8::/32", "10.0.0.1/8"], rate_limit: "RATE" }),
  sources({ ...receiving, quarantine: { letters_per_minute: 10, bytes_per_minute: 1000 } }),
  sources({ ...receiving, secrets: "s3cr3t value", destination: { url: "https://10.0.0.1/", secret: "s3cr3t value" } }),
  sources({ name: "a" }), sources(7), sources(), {}, [], null,
].map((value) => JSON.stringify(value)).concat('{"sources":[{"name":s3cr3t}]}', JSON.stringify(base, null, 2)));

// What is stored: the forms that the crates' own tests pin.
const delivery = {
  kind: "delivery", v: 1, id: "01JD0000000000000000000000", source: "contact-center", received_at_ms: 1700000000000, event_count: 2,
  secret_label: "current", dedupe_key: "members:a|b", headers: [["content-type", "application/json"]], replay: 1, body: { inline: { size_bytes: 13 } },
};
const letter = {
  id: "01JD0000000000000000000000", source: "contact-center", stage: "receive", reason: "signature_mismatch", detail: "no active secret",
  diagnosis: "signed as base64", verified: false, received_at_ms: 1, dead_at_ms: 2, attempts: 3, last_status: 503, headers: [["a", "b"]],
  body: { stored: { key: "dead/x", size_bytes: 200000, sha256: "00".repeat(32) } },
};
const stored = (header, rest = "") => `message\n${JSON.stringify(header)}\n${rest}`;
const entry = {
  seq: 1, timestamp: "1970-01-01T00:00:00.000Z", action: "DLQ_ROUTE", actor: "consumer", source: "s", webhookId: "w", targetUrl: "https://a.example.com",
  statusCode: 503, error: "retries_exhausted", correlationId: "c", userAgent: "u/1", previousHash: "0".repeat(64), hash: "1".repeat(64),
};
const { seq, timestamp, previousHash, hash, ...draft } = entry;
const row = { id: "a", source: "s", status: "waiting", attempts: 1, receivedAtMs: 1, updatedAtMs: 2, eventCount: 3, sizeBytes: 4, replay: 0, nextAttemptMs: 5, lastStatus: 500, lastError: "e" };
const item = {
  source: "a", api: "webhooks", name: "Hook", action: "update", webhookId: "1", outcome: "failed", correlationId: "c", attempts: 2,
  diff: [{ field: "enabled", from: false, to: true }, { field: "secret", from: null, to: "changed" }],
  error: { code: "vendor_error", message: "500: no message", fault: "vendor", status: 500 },
};
const figures = { planned: 1, applied: 0, failed: 1, unchanged: 0, pending: 0, skipped: 0, kept: 0, requests: 3 };
const forms = {
  counters: ["read", { add: { v: 1, isolate: "ab", seq: 7, deltas: [[["refused", "s", "invalid_json"], 3], [["latency_bucket", "s", "inf"], 1]], at_ms: 9 } }],
  totals: [{ series: [[["received", "s", ""], 3]], seen: [{ source: "s", request_ms: 9 }] }],
  ledger: [
    "totals", { get: { id: "a" } }, { expire: { before_ms: 1, limit: 2 } },
    { claim: { items: [{ id: "a", key: "s\u001fk", source: "s", received_at_ms: 1, event_count: 2, size_bytes: 3, replay: 1 }] } },
    { settle: { items: [{ id: "a", attempt: 1, outcome: { retry: { next_attempt_ms: 5 } }, status: 503, error: "x" }, { id: "b", attempt: 1, outcome: "delivered" }] } },
    { list: { source: "s", state: "waiting", before: [1, "a"], limit: 50 } },
  ],
  claimed: [{ proceed: { attempt: 1 } }, { busy: { until_ms: 5 } }, { settled: { state: "dead" } }, { duplicate: { of: "a" } }],
  row: [row, { ...row, status: "duplicate", duplicateOf: "b" }],
  ledger_totals: [{ sources: { s: { delivered: 1, duplicate: 2, dead: 3, retries: 4, pending: 5, oldest_pending_ms: 6 } } }],
  letters: [
    { put: { letters: [{ letter, inline: { body: "{}" } }] } }, { get: { id: "a" } }, "totals",
    { list: { filter: { source: "s", reason: "r", since_ms: 1 }, before: [1, "a"], limit: 2 } },
  ],
  letter: [{ letter }, { letter, inline: { bodyBase64: "/w==" } }],
  summary: [{ id: "a", source: "s", stage: "receive", reason: "r", detail: "d", verified: false, attempts: 1, lastStatus: 500, receivedAtMs: 1, deadAtMs: 2, sizeBytes: 3, replay: 0, status: "stored" }],
  audit: [{ append: { drafts: [draft] } }, { list: { filter: { action: "CREATE", source: "s" }, before_seq: 5, limit: 2 } }, { verify: { from_seq: 1, limit: 2 } }],
  entry: [entry, { ...entry, seq: 7, source: undefined }],
  lifecycle: ["last", "event_types", { reconcile: { dry_run: true, actor: "cron" } }, { update: { source: "s", id: "1", if_match: "\"2\"" } }, { probe: { url: "https://a" } }],
  answered: [{ status: 409, body: "{}", refusal: "exists", etag: "\"1\"" }],
  report: [{ version: 1, started_at_ms: 1, duration_ms: 2, dry_run: false, ...figures, items: [item] }],
  memory: [{ version: 1, recent: [{ event: "created", api: "open-messaging", name: "b", at_ms: 7 }, { event: "deleted", api: "webhooks", name: "c", id: "3", at_ms: 8 }] }],
};
write("stored", [
  stored(delivery, '{"events":[]}'), stored({ ...delivery, body: { omitted: { size_bytes: 9 } } }),
  stored({ kind: "dead_letter", v: 1, ...letter }), stored({ kind: "dead_letter", v: 1, ...letter, body: { inline: { size_bytes: 1 } } }, "\xff"),
  stored({ ...delivery, v: 2 }), stored({ ...delivery, kind: "letter" }), stored(delivery, "short"), "message\nno header",
  "body\n\xff\xfe", "body\ntext",
  ...Object.entries(forms).flatMap(([form, values]) => values.map((value) => `${form}\n${JSON.stringify(value)}`)),
]);

write("address", [
  "https://hooks.example.com", "HTTPS://Hooks.Example.COM./a?b=c@d#e", "https://hooks.example.com:8443/webhook/a", "https://8.8.8.8/x",
  "https://[2606:4700::1111]:444/x", "https://xn--bcher-kva.example?q", "https://a_b.example.com#f", "https://user:pass@a.example.com",
  "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/", "https://127.0.0.1./", "https://10.1.2.3/",
  "https://169.254.169.254/latest/meta-data", "https://[::1]/", "https://[::ffff:7f00:1]/", "https://[64:ff9b::a00:1]/", "https://[2002:a00:1::]/",
  "https://[fe80::1%25eth0]/", "https://localhost", "https://metadata.google.internal/", "https://exa%6dple.com", "https://１27.0.0.1",
  "https://a.example.com\\@evil.example", "https://a.0x", "hooks.example.com:443", "[::1]:443", "127.0.0.1", "1.2.3.4.5",
]);

write("retry_after", [
  " 7 ", "0", "99999999999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Tue, 29 Feb 2000 23:59:60 GMT",
  "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 31 Feb 2100 00:00:00 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
  "2026-12-01T00:00:00Z", "2026-12-01T00:00:00.004+05:30", "1970-01-01T00:00:00-23:59", "9999-12-31T23:59:59.999Z", "2024-02-29T12:00:00z",
  "203.0.113.0/24", "2001:db8::/32", "::ffff:1.2.3.4", "0.0.0.0/0", "10.0.0.1/8", "/api/x?source=a%20b+c&limit=7&source=later&broken=%zz%4",
]);

// What a vendor may answer. The secrets are those of the target: a vendor that echoes them must not be quoted.
const page = (entities, more) => JSON.stringify({ entities, ...more });
const answer = (status, text, ...headers) => [status, ...headers, "", text].join("\n");
const vendor = (call, ...answers) => `${call}\n${answers.join("\n%%\n")}`;
const secret = "SECRET-eeeeffff00001111";
const fingerprint = createHmac("sha256", "x").update(secret).digest("hex").slice(0, 32);
const webhook = {
  id: "1", name: "Hook", address: "https://hooks.example.com/webhook/a", enabled: true, eventFilters: [{ eventType: "call:created", filter: "true" }],
  customProperties: { "webhook.signature.secret": secret, "webhook.created.by": "gateway", "webhook.signature.fingerprint": fingerprint },
};
const integration = {
  id: "2", name: "Hook", outboundNotificationWebhookUrl: "https://hooks.example.com/webhook/a", createStatus: "Initiated",
  webhookHeaders: { "x-gateway-owner": "gateway", "X-Gateway-Secret-Fingerprint": fingerprint },
};
const types = page([{ id: "call:created", name: "call:created", description: "d" }], { totalPageCount: 1 });
const forbidden = JSON.stringify({ message: `You are missing the following permission(s): [webhook:write ${secret}]`, code: "missing.permissions", contextId: "c" });
write("vendor", [
  vendor("event_types", answer(200, types, "ETag: \"1\"", "ININ-Correlation-Id: c-1")),
  vendor("event_types", answer(200, page([{ id: "a" }], { totalPageCount: 2 })), answer(200, page([{ id: "a" }], { totalPageCount: 2, total: 2 }))),
  vendor("event_types", answer(429, "{}", "Retry-After: 7"), answer(503, "<html>", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT"), answer(200, types)),
  vendor("event_types", answer(401, "{}"), answer(200, types, "inin-ratelimit-count: 299", "inin-ratelimit-allowed: 300", "inin-ratelimit-reset: 60")),
  vendor("topics", answer(200, page([{ id: "v2.users.{id}.activity", transports: ["Webhook"] }], { nextUri: "/api/v2/x?pageNumber=2" })), answer(200, page([]))),
  vendor("topics", answer(200, page([], { nextUri: "https://evil.example/x" }))),
  vendor("topics", answer(200, page([], { nextUri: "https://api.example.com/api/v2/y" })), answer(200, page([], { nextUri: "//evil.example" }))),
  vendor("ip_ranges", answer(200, page([{ cidr: "203.0.113.0/24", service: "open-messaging", region: "us-east-1", direction: "both" }]))),
  vendor("token", answer(200, JSON.stringify({ access_token: "t", token_type: "bearer", expires_in: 86400 }))),
  vendor("token", answer(400, JSON.stringify({ error: "invalid_client", error_description: `client not found: ${secret}` }), "ININ-Correlation-Id: c")),
  vendor("token", answer(400, JSON.stringify({ error: "invalid_request", description: "rate limit exceeded" })), answer(0, "reset"), answer(1, "refused")),
  vendor("token", answer(403, '{"error":"invalid_client"}', `ININ-Correlation-Id: ${secret}`)),
  vendor("token", answer(302, "moved", "Location: https://evil.example")),
  vendor("webhooks", answer(200, page([webhook], { totalPageCount: 1 })), answer(200, JSON.stringify(webhook), "ETag: \"3\"")),
  vendor("webhooks", answer(403, forbidden, "ININ-Correlation-Id: c-2")),
  vendor("webhooks", answer(400, JSON.stringify({ message: `${"x".repeat(250)} TOKEN-aaaabbbbccccdddd`, code: secret }))),
  vendor("webhooks", answer(412, "{}"), answer(200, JSON.stringify(webhook), "ETag: \"4\""), answer(500, `no ${secret}`)),
  vendor("webhooks", answer(200, page([webhook])), answer(404, "{}"), answer(0, "lost"), answer(409, "{}"), answer(204, "")),
  vendor("open_messaging", answer(200, page([integration], { pageCount: 1 })), answer(202, JSON.stringify(integration))),
  vendor("open_messaging", answer(202, JSON.stringify({ ...integration, createStatus: "Error", createError: { message: secret } }))),
  vendor("open_messaging", answer(201, JSON.stringify({ ...integration, createStatus: "Completed" })), answer(404, "{}"), answer(500, "")),
  vendor("reconcile", answer(200, page([webhook])), answer(200, page([integration])), answer(200, types), answer(200, JSON.stringify(webhook))),
  vendor("reconcile", answer(200, page([])), answer(200, page([])), answer(200, types), answer(204, ""), answer(201, JSON.stringify(webhook)), answer(500, secret)),
  vendor("reconcile", answer(200, page([{ ...webhook, customProperties: {} }])), answer(200, page([])), answer(200, types), answer(405, ""), answer(200, ""), answer(200, JSON.stringify(webhook), "etag: x")),
  vendor("reconcile", answer(403, forbidden)), vendor("reconcile", answer(0, `lost ${secret}`)), vendor("reconcile", answer(200, "not json")),
  // A transport's own words, cut in the middle of the secret.
  vendor("webhooks", answer(200, page([])), answer(0, `${"x".repeat(185)} ${secret}`)),
]);
