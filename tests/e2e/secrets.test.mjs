/**
 * No secret is in anything that the gateway stores or writes: not in the databases of its objects, not in the bucket, not in its
 * log, whatever was delivered, refused, reconciled, alerted and exported before. Looked for are the bytes on the disk, so that
 * what was deleted or moved aside counts too. Out of scope: bodies, which are kept whole as they came.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { source, startGateway, startSimulator, startServer, until } from "./support.mjs";

const simulator = await startSimulator();
const pager = await startServer((_, response) => response.writeHead(500).end("pager is down"));
/** A key as many services take it, at the end of their address. */
const ADDRESS_TOKEN = randomBytes(32).toString("hex");
const toSink = (name) => ({ destination: { url: `${simulator.baseUrl}/sink/${name}`, secret: "DESTINATION_SECRET" } });
const gateway = await startGateway(simulator, {
  gateway: {
    alerts: { url: `${pager.url}/in?token=${ADDRESS_TOKEN}`, secret: "ALERT_SECRET", dead_letters_over: 1 },
    sources: [source("delivered", toSink("delivered")), source("archived"), source("refusing", { retry_schedule_s: [1] })],
  },
});

/** Every file below a folder. */
const files = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

/** A secret as it might be written: itself, its key material, and both in base 64 and hexadecimal. */
function forms(secret) {
  const texts = [secret, secret.replace("whsec_", "")];
  const raw = secret.startsWith("whsec_") ? [Buffer.from(secret.slice(6), "base64")] : [];
  const bytes = [...texts.map((text) => Buffer.from(text)), ...raw];
  const encoded = bytes.flatMap((data) => {
    // Inside of a longer text base 64 begins at one of three places.
    const shifted = [0, 1, 2].map((shift) => Buffer.concat([Buffer.alloc(shift), data]).toString("base64"));
    const inner = shifted.map((text, shift) => text.slice(shift === 0 ? 0 : 4, -4));
    return [...inner, ...inner.map((text) => text.replaceAll("+", "-").replaceAll("/", "_")), data.toString("hex")];
  });
  return [...bytes, ...encoded.map((text) => Buffer.from(text))];
}

/** Sends a request with a header for each secret, as somebody does who has misunderstood what goes where. */
async function misplaced(name, body) {
  const { ADMIN_TOKEN, GENESYS_CLIENT_SECRET, DESTINATION_SECRET, ALERT_SECRET } = gateway.secrets;
  const headers = {
    "authorization": `Bearer ${ADMIN_TOKEN}`,
    "cookie": `session=${ADMIN_TOKEN}`,
    "x-api-key": gateway.secrets.SECRET_REFUSING,
    "x-webhook-secret": gateway.secrets.SECRET_DELIVERED,
    "x-forwarded-token": GENESYS_CLIENT_SECRET,
    "x-custom": `Basic ${Buffer.from(`user:${DESTINATION_SECRET}`).toString("base64")}`,
    "x-password": ALERT_SECRET,
    "x-genesys-signature": "0".repeat(64),
  };
  const path = `/webhook/${name}?secret=${ADMIN_TOKEN}&token=${GENESYS_CLIENT_SECRET}`;
  return gateway.call("POST", path, { token: null, body, headers });
}

test("secrets are in nothing that was stored or logged", async () => {
  const mark = "this-mark-is-delivered-and-may-be-found";
  const body = (n) => JSON.stringify({ events: [{ eventType: "call:created", mark, n }] });

  // Everything that stores or logs: subscriptions, deliveries, refusals, wrong tokens, probes, explanations, alerts, files.
  await gateway.cron();
  for (let n = 0; n < 10; n += 1) {
    for (const name of ["delivered", "archived"]) assert.equal((await gateway.deliver(name, body(n))).status, 200);
    assert.equal((await misplaced("refusing", body(n))).status, 401);
  }
  await gateway.settled("delivered", 10);
  await gateway.settled("archived", 10);
  await until(() => gateway.metrics(), ({ deadLetters }) => deadLetters.stored === 10, "ten dead letters");
  assert.equal((await gateway.call("GET", "/metrics", { token: `${gateway.secrets.ADMIN_TOKEN}x` })).status, 401);
  assert.equal((await gateway.call("GET", `/api/audit?cursor=${gateway.secrets.ADMIN_TOKEN}`)).status, 400);
  await gateway.call("POST", "/api/probe", { json: { url: `${simulator.baseUrl}/sink/delivered` } });
  const headers = { "x-genesys-signature": gateway.secrets.SECRET_DELIVERED };
  await gateway.call("POST", "/api/explain", { json: { source: "delivered", headers, body: body(0) } });
  const [letter] = await gateway.all("/api/dead-letters", "deadLetters");
  await gateway.call("POST", `/api/dead-letters/${letter.id}/replay`);
  const health = await gateway.ask("POST", "/api/health");
  assert.equal(health.noticesWaiting, 1);
  assert.equal(pager.seen.length, 1);
  pager.answer = (_, response) => response.writeHead(204).end();
  assert.equal((await gateway.ask("POST", "/api/health")).noticesWaiting, 0);
  assert.ok(pager.seen.every(({ path }) => path === `/in?token=${ADDRESS_TOKEN}`));
  const [sent] = (await gateway.ask("GET", "/api/audit?action=ALERT&limit=1")).entries;
  assert.equal(sent.targetUrl, `${pager.url}/in`);
  await gateway.call("POST", "/api/probe", { json: { url: `${simulator.baseUrl}/sink/delivered?token=${ADDRESS_TOKEN}` } });
  // Enough entries for a file: a probe is an entry.
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      for (let n = 0; n < 50; n += 1) await gateway.call("POST", "/api/probe", { json: { url: "http://127.0.0.1:1/" } });
    }),
  );
  await gateway.cron();
  const removed = await gateway.ask("POST", "/api/retention");
  assert.equal(removed.auditExported, 1_000);

  // The local emulator records every address whole; the platform, told by `redact_query_string`, does not.
  const own = files(gateway.state).filter((path) => !path.includes("/observability/"));
  const written = own.map((path) => [path, readFileSync(path)]);
  written.push(["the log", Buffer.from(gateway.log())]);
  const holding = (needle) => written.filter(([, bytes]) => bytes.includes(needle)).map(([path]) => path);

  // What is looked for would be found: the mark where bodies are kept, a name where counters are, the alert where it was told.
  for (const [needle, place] of [
    [mark, /r2/],
    [mark, /DeadLetterStore/],
    ["archived", /Counters/],
    ["alert_not_sent", /the log/],
    ["dead_letters raised", /AuditLog/],
    ['"action":"PROBE"', /r2/],
    ["webhook", /Lifecycle/],
  ]) {
    assert.ok(holding(needle).some((path) => place.test(path)), `${needle} is not in ${place}: ${holding(needle)}`);
  }

  const { GENESYS_CLIENT_ID: _public, ...secrets } = { ...gateway.secrets, ADDRESS_TOKEN };
  for (const [name, secret] of Object.entries(secrets)) {
    for (const form of forms(secret)) assert.deepEqual(holding(form), [], `${name} is stored or logged`);
  }
  // The vendor's access token is kept by the one object that uses it, and nowhere else.
  const tokens = written.filter(([, bytes]) => /sim-[0-9a-f]{8}-/.test(bytes.toString("latin1"))).map(([path]) => path);
  assert.deepEqual(tokens.filter((path) => !/Lifecycle/.test(path)), []);
});
