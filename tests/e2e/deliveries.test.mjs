/**
 * Deliveries from the simulator's sender, through the subscriptions that the gateway made, to the simulator's sinks: nothing is
 * lost, nothing comes twice, and three independent books (sender, gateway, sink) agree. Out of scope: a restart in the middle,
 * which locally loses the queues (they are in memory).
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { sha256, source, startGateway, startSimulator, until } from "./support.mjs";

/** A source whose deliveries go to the sink of its name. */
const toSink = (name, { timeout_ms, ...more } = {}) => {
  const destination = { url: `${simulator.baseUrl}/sink/${name}`, secret: "DESTINATION_SECRET", ...(timeout_ms && { timeout_ms }) };
  return source(name, { destination, ...more });
};

const simulator = await startSimulator();
const gateway = await startGateway(simulator, {
  gateway: {
    sources: [
      toSink("mixed"),
      toSink("large"),
      toSink("recovering", { retry_schedule_s: [1, 1, 1, 1, 1, 1, 1] }),
      toSink("slow", { timeout_ms: 1_000, retry_schedule_s: [1, 1, 1] }),
      toSink("gone"),
      toSink("broken", { retry_schedule_s: [1] }),
      toSink("same"),
      toSink("small", { max_body_bytes: 10_000 }),
      source("archived"),
    ],
  },
});
await gateway.cron();

const subscription = async (name) => (await simulator.subscription(`Subscription of ${name}`)).id;

/** Has the vendor send to a source, and waits until it is all over: the sender's books and the gateway's account. */
async function send(name, burst) {
  const books = await simulator.control("POST", "sender/burst", { subscription: await subscription(name), ...burst });
  const account = await gateway.settled(name, books.total.attempts);
  return { books, account, kinds: books.byKind };
}

const sink = (name) => simulator.control("GET", `sink/${name}`);
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);
const letters = (name) => gateway.all(`/api/dead-letters?source=${name}`, "deadLetters");

/** Digests of the bodies that a source accepted, by the sender's records. */
async function acceptedDigests(name) {
  const query = `subscription=${await subscription(name)}&outcome=accepted&limit=10000`;
  const { deliveries } = await simulator.control("GET", `sender/deliveries?${query}`);
  return new Set(deliveries.map(({ digest }) => digest));
}

/** Every accepted body is in the sink, accepted there once, and nothing else is. */
async function assertEachArrivedOnce(name) {
  const { arrivals } = await simulator.control("GET", `sink/${name}/arrivals?limit=10000`);
  const arrived = arrivals.filter(({ accepted }) => accepted > 0);
  assert.deepEqual(new Set(arrived.map(({ digest }) => digest)), await acceptedDigests(name));
  assert.deepEqual(arrived.filter(({ accepted }) => accepted !== 1), []);
}

test("a burst of the default mix is accounted for to the last delivery", async () => {
  const extra = { tampered: 2, unsigned: 2, malformed_json: 2, missing_events: 2, duplicate: 2 };
  await simulator.control("PUT", "sink/mixed", { secret: gateway.secrets.DESTINATION_SECRET });
  const { books, account, kinds } = await send("mixed", { count: 240, counts: extra });
  const { total } = books;

  // The sender's books: everything was answered, and as its kind deserves.
  assert.equal(total.deliveries, 250);
  assert.deepEqual([total.timeouts, total.connectionErrors, total.exhausted, total.inFlight], [0, 0, 0, 0]);
  const deserved = { valid: 200, duplicate: 200, tampered: 401, unsigned: 401, malformed_json: 400, missing_events: 400 };
  for (const [kind, status] of Object.entries(deserved)) {
    assert.deepEqual(kinds[kind].answers, { [status]: kinds[kind].attempts }, kind);
  }

  // The gateway's account against them.
  const [refused, unavailable] = [sum(account.refused), sum(account.unavailable)];
  assert.equal(total.attempts, account.accepted + refused + unavailable);
  assert.equal(account.accepted, account.delivered + account.duplicate + account.pending + account.dead);
  assert.deepEqual([account.accepted, refused, unavailable], [total.accepted, total.refused, 0]);
  assert.deepEqual([account.duplicate, account.dead, account.queued], [kinds.duplicate.deliveries, 0, 0]);
  assert.equal(account.bytes, total.bytes);
  // A signature that was altered may not look like one any more.
  const { signature_mismatch: mismatch = 0, malformed_signature: malformed = 0, ...others } = account.refused;
  assert.equal(mismatch + malformed, kinds.tampered.deliveries);
  assert.deepEqual(others, {
    invalid_envelope: kinds.missing_events.deliveries,
    invalid_json: kinds.malformed_json.deliveries,
    missing_signature: kinds.unsigned.deliveries,
  });

  // The sink's: every accepted body once, signed anew.
  await assertEachArrivedOnce("mixed");
  const report = await sink("mixed");
  assert.deepEqual([report.goodSignatures, report.badSignatures, report.unsigned], [report.received, 0, 0]);
  assert.deepEqual([report.received, report.duplicates, report.untracked], [account.delivered, 0, 0]);

  // The refused ones are kept, each with its reason and its whole body.
  const kept = await until(() => letters("mixed"), (now) => now.length === refused, "the letters of the refused");
  const reasons = Object.groupBy(kept, ({ reason }) => reason);
  for (const [reason, count] of Object.entries(account.refused)) {
    assert.equal(reasons[reason].length, count, reason);
    const filtered = await gateway.all(`/api/dead-letters?source=mixed&reason=${reason}`, "deadLetters", 2);
    assert.deepEqual(filtered.map(({ id }) => id).sort(), reasons[reason].map(({ id }) => id).sort());
  }
  const query = `subscription=${await subscription("mixed")}&outcome=refused&limit=10000`;
  const { deliveries } = await simulator.control("GET", `sender/deliveries?${query}`);
  const bodies = [];
  for (const { id } of kept) {
    const letter = await gateway.ask("GET", `/api/dead-letters/${id}`);
    bodies.push(sha256(letter.body ?? Buffer.from(letter.bodyBase64, "base64")));
  }
  assert.deepEqual(bodies.sort(), deliveries.map(({ digest }) => digest).sort());
});

test("the deliveries are listed with what became of them", async () => {
  const { accepted, delivered, duplicate } = (await gateway.metrics()).sources.mixed;
  const listed = await gateway.all("/api/deliveries?source=mixed", "deliveries");
  const byStatus = Object.groupBy(listed, ({ status }) => status);
  assert.equal(new Set(listed.map(({ id }) => id)).size, accepted);
  assert.deepEqual([byStatus.delivered?.length, byStatus.duplicate?.length], [delivered, duplicate]);
  const [one] = byStatus.duplicate;
  const first = await gateway.ask("GET", `/api/deliveries/${one.duplicateOf}`);
  assert.deepEqual([first.status, first.sizeBytes], ["delivered", one.sizeBytes]);
});

test("bodies that are too large for the queue arrive whole", async () => {
  await simulator.control("PATCH", "settings", { sizes: [{ bytes: 200_000, weight: 3 }, { bytes: 1_000_000, weight: 1 }] });
  const { account } = await send("large", { counts: { valid: 12 } });
  assert.deepEqual([account.accepted, account.delivered], [12, 12]);
  await assertEachArrivedOnce("large");
  await simulator.control("PATCH", "settings", { sizes: [{ bytes: 1_024, weight: 1 }] });
});

// Side by side: each has its own source and sink, and most of each is waiting for the queue.
describe("destinations", { concurrency: true }, () => {
  test("a destination that fails for a while gets everything once it recovers, and nothing twice", async () => {
    const failures = [
      { status: 503, times: 3, retryAfterS: 1 },
      { status: 404, times: 1 },
      { status: 302, times: 1 },
      { cut: true, times: 2 },
    ];
    for (const behaviour of failures) await simulator.control("POST", "sink/recovering/behaviour", behaviour);
    const { account } = await send("recovering", { counts: { valid: 20 } });
    assert.deepEqual([account.accepted, account.delivered, account.dead, account.retries], [20, 20, 0, 4]);
    await assertEachArrivedOnce("recovering");
    const { answers } = await sink("recovering");
    assert.deepEqual(answers, { 0: 2, 200: 20, 302: 1, 404: 1, 503: 3 });
    assert.deepEqual(await letters("recovering"), []);
  });

  test("an attempt that takes too long is broken off and repeated", async () => {
    // Far longer than the test: it ends because the gateway does not wait.
    await simulator.control("POST", "sink/slow/behaviour", { delayMs: 600_000, times: 1 });
    const { account } = await send("slow", { counts: { valid: 1 } });
    assert.deepEqual([account.delivered, account.dead], [1, 0]);
    assert.ok(account.retries >= 1);
    const [row] = await gateway.all("/api/deliveries?source=slow", "deliveries");
    assert.deepEqual([row.status, row.attempts], ["delivered", account.retries + 1]);
  });

  test("410 ends it at once: a dead letter, and no second attempt", async () => {
    await simulator.control("POST", "sink/gone/behaviour", { status: 410 });
    const { account } = await send("gone", { counts: { valid: 5 } });
    assert.deepEqual([account.delivered, account.dead, account.retries], [0, 5, 0]);
    const kept = await until(() => letters("gone"), (now) => now.length === 5, "the letters");
    for (const letter of kept) {
      assert.deepEqual([letter.reason, letter.stage, letter.verified], ["destination_gone", "deliver", true]);
      assert.deepEqual([letter.attempts, letter.lastStatus], [1, 410]);
      const { body } = await gateway.ask("GET", `/api/dead-letters/${letter.id}`);
      assert.ok((await acceptedDigests("gone")).has(sha256(body)));
    }
    assert.deepEqual((await sink("gone")).answers, { 410: 5 });
  });

  test("a destination that never recovers ends in dead letters when the schedule is used up", async () => {
    await simulator.control("POST", "sink/broken/behaviour", { status: 500 });
    const { account } = await send("broken", { counts: { valid: 3 } });
    assert.deepEqual([account.delivered, account.dead, account.retries], [0, 3, 3]);
    const kept = await until(() => letters("broken"), (now) => now.length === 3, "the letters");
    const told = kept.map(({ reason, attempts, lastStatus }) => [reason, attempts, lastStatus]);
    assert.deepEqual(told, Array(3).fill(["retries_exhausted", 2, 500]));
    assert.deepEqual((await sink("broken")).answers, { 500: 6 });
  });

  test("the same delivery ten times at once is handed on once", async () => {
    const body = JSON.stringify({ events: [{ eventType: "call:created", note: "Café ☕" }] });
    const answers = await Promise.all(Array.from({ length: 10 }, () => gateway.deliver("same", body)));
    assert.deepEqual(answers.map(({ status }) => status), Array(10).fill(200));
    const account = await gateway.settled("same", 10);
    assert.deepEqual([account.accepted, account.delivered, account.duplicate], [10, 1, 9]);
    const { received, accepted } = await sink("same");
    assert.deepEqual([received, accepted], [1, 1]);
  });

  test("a body over the limit is 413 with and without a declared length, and the next one is served", async () => {
    const body = JSON.stringify({ events: [], padding: "x".repeat(20_000) });
    const chunked = { body: new Blob([body]).stream(), duplex: "half", headers: {} };
    const declared = { body, headers: {} };
    for (const options of [declared, chunked]) {
      const response = await fetch(gateway.address("small"), { method: "POST", ...options });
      assert.deepEqual([response.status, (await response.json()).code], [413, "body_too_large"]);
    }
    assert.equal((await gateway.deliver("small", '{"events":[]}')).status, 200);
    const account = await gateway.settled("small", 3);
    assert.deepEqual([account.refused, account.delivered], [{ body_too_large: 2 }, 1]);
    const kept = await until(() => letters("small"), (now) => now.length === 2, "the letters");
    assert.deepEqual(kept.map(({ reason }) => reason), ["body_too_large", "body_too_large"]);
  });

  test("without a destination deliveries go to the archive", async () => {
    const { account } = await send("archived", { counts: { valid: 3, duplicate: 1 } });
    assert.deepEqual([account.accepted, account.delivered, account.duplicate], [4, 3, 1]);
  });
});

test("all sources together are the sum of each, in both forms of the metrics", async () => {
  const { accounting, sources, missing, deadLetters } = await gateway.metrics();
  assert.deepEqual(missing, []);
  for (const field of ["received", "accepted", "delivered", "duplicate", "pending", "dead"]) {
    assert.equal(accounting[field], Object.values(sources).reduce((total, account) => total + account[field], 0), field);
  }
  assert.equal(accounting.received, accounting.accepted + accounting.refused + accounting.unavailable);
  assert.equal(accounting.accepted, accounting.delivered + accounting.duplicate + accounting.pending + accounting.dead);
  assert.equal(deadLetters.stored, accounting.refused + accounting.dead);
  const text = await gateway.call("GET", "/metrics", { headers: { accept: "text/plain" } });
  const line = `genesys_gateway_deliveries_total{source="mixed",outcome="delivered"} ${sources.mixed.delivered}`;
  assert.ok(text.text.includes(line), text.text);
});

test("after all of this no secret is in any answer or in the log", () => gateway.assertNoSecretShown());
