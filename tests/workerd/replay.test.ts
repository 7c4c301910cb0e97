/** Replays of dead letters, one by one, and what the accounts say afterwards. Many at once: `replay-jobs.test.ts`. */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";

import { api, bytes, events, eventually, hex, hmac, read, sha256, unique } from "./support/client.ts";
import { acknowledged, arrived, letterOf, parcel, row, storedParcel } from "./support/deliveries.ts";
import { SECRETS } from "./support/gateway.ts";
import { DEAD_LETTERS, consume, delivery, deliveryId, frame, ledgerPlace, message } from "./support/messages.ts";
import { account, expectDelivered, failing, put, refused, replay, store } from "./support/letters.ts";
import { sink } from "./support/sink.ts";

afterEach(async () => {
  vi.restoreAllMocks();
  await sink("contact-center").behaveWell();
});

describe("one letter", () => {
  it("that was refused because of a wrong secret flows after the fix, once, and is accounted for", async () => {
    const one = await refused("unsigned");
    await put(one);
    const answer = await replay(one.id);
    expect([answer.status, answer.json]).toEqual([200, { id: one.id, outcome: "replayed" }]);
    await expectDelivered([one.id]);
    expect(await arrived(one.id, "unsigned")).toHaveLength(1);
    expect(await account("unsigned")).toMatchObject({ accepted: 0, readmitted: 1, delivered: 1, queued: 0, pending: 0 });
    // Nobody replays it twice.
    expect((await replay(one.id)).json).toMatchObject({ outcome: "skipped", code: "already_replayed" });
    const kept = await read(`/api/dead-letters/${one.id}`);
    expect(kept).toMatchObject({
      status: "replayed",
      reason: "signature_mismatch",
      detail: "then",
      body: one.body,
      lastReplay: { actor: "admin", verdict: { outcome: "replayed" } },
    });
    const { entries } = await read("/api/audit?action=REPLAY");
    expect(entries.filter((entry: any) => entry.correlationId === one.id && entry.error === undefined)).toHaveLength(1);
  });

  it("that is refused again keeps its reason and tells the new one", async () => {
    const one = await refused("archive", { reason: "missing_signature" }, "a secret that nobody configured");
    await put(one);
    const { status, json } = await replay(one.id);
    expect(status).toBe(200);
    expect(json).toMatchObject({ id: one.id, outcome: "still_refused", code: "signature_mismatch", diagnosis: expect.any(String) });
    const kept = await read(`/api/dead-letters/${one.id}`);
    expect(kept).toMatchObject({ status: "stored", reason: "missing_signature", lastReplay: { verdict: { code: "signature_mismatch" } } });
    const { entries } = await read("/api/audit?action=REPLAY");
    expect(entries).toContainEqual(expect.objectContaining({ correlationId: one.id, error: "signature_mismatch", source: "archive" }));
  });

  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ["a source that is gone", { source: "nobody" }, { outcome: "still_refused", code: "source_not_configured" }],
    ["no secret", { source: "no-secret" }, { outcome: "still_refused", code: "no_active_secret" }],
    ["a body that was not kept", { body: { omitted: { size_bytes: 9 } } }, { outcome: "skipped", code: "body_not_kept" }],
    [
      "a body that the bucket has lost",
      { body: { stored: { key: "payloads/none", size_bytes: 9, sha256: "ab" } } },
      { outcome: "skipped", code: "body_lost" },
    ],
    [
      "a body that the bucket has lost, accepted before",
      { stage: "deliver", verified: true, body: { stored: { key: "payloads/none", size_bytes: 9, sha256: "ab" } } },
      { outcome: "skipped", code: "body_lost" },
    ],
  ])("stays where it is with %s", async (_, fields, expected) => {
    const one = await refused("archive", fields);
    await put(one);
    expect((await replay(one.id)).json).toMatchObject(expected);
    expect((await read(`/api/dead-letters/${one.id}`)).status).toBe("stored");
  });

  it("is unknown where there is none, and 409 while somebody holds it", async () => {
    expect((await replay(deliveryId())).status).toBe(404);
    const one = await refused("archive");
    await put(one);
    await runInDurableObject(store, (_, state) =>
      void state.storage.sql.exec("INSERT INTO states VALUES (?, 1, ?, 0, NULL, NULL)", one.id, Date.now() + 60_000),
    );
    const busy = await replay(one.id);
    expect([busy.status, busy.json.code]).toEqual([409, "being_replayed"]);
    // A lease belongs to the instance that gave it.
    await evictDurableObject(store);
    expect((await replay(one.id)).json.outcome).toBe("replayed");
  });

  it("is replayed once by two callers at once", async () => {
    const one = await refused("unsigned");
    await put(one);
    const answers = await Promise.all([replay(one.id), replay(one.id), replay(one.id)]);
    expect(answers.filter(({ json }) => json.outcome === "replayed")).toHaveLength(1);
    await expectDelivered([one.id]);
    expect(await arrived(one.id, "unsigned")).toHaveLength(1);
  });

  it("comes back from a large body in the bucket, which outlives its delivery", async () => {
    const body = JSON.stringify({ events: [{ text: "x".repeat(200_000) }] });
    const key = `payloads/2026/11/24/unsigned/${unique("body")}`;
    await env.PAYLOADS.put(key, body);
    const one = await refused("unsigned", {
      headers: [["x-genesys-signature", hex(await hmac(SECRETS.WEBHOOK_SECRET, body))]],
      body: { stored: { key, size_bytes: body.length, sha256: await sha256(body) } },
    });
    await put({ letter: one.letter });
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    expect(await env.PAYLOADS.head(key)).not.toBeNull();
    expect((await api(`/api/dead-letters/${one.id}`, { method: "DELETE" })).status).toBe(204);
    expect(await env.PAYLOADS.head(key)).not.toBeNull();
  });

  it("that could not be read is read by today's code", async () => {
    const header = delivery("unsigned", "{}");
    const raw = new TextDecoder().decode(frame(header, "{}"));
    const one = await refused("", { stage: "queue", reason: "undecodable_message", body: { inline: { size_bytes: raw.length } } });
    const garbage = await refused("", { stage: "queue", reason: "undecodable_message" });
    await put({ letter: one.letter, inline: { body: raw } }, garbage);
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([header.id]);
    expect((await replay(garbage.id)).json).toMatchObject({ outcome: "still_refused", code: "undecodable_message" });
  });
});

describe("a dead delivery", () => {
  it("is pending again when it is replayed, dead again when it dies again, and a late letter reopens nothing", async () => {
    await sink("contact-center").behave({ status: 410 });
    const one = parcel("contact-center");
    const before = await account("contact-center");
    expect(await consume("genesys-deliveries", [one.message])).toEqual(acknowledged(one));
    expect(await letterOf(one.id)).toMatchObject({ reason: "destination_gone", status: "stored" });
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await eventually(async () =>
      expect(await read(`/api/dead-letters/${one.id}`)).toMatchObject({ status: "stored", replay: 1, lastReplay: { actor: "admin" } }),
    );
    await sink("contact-center").behaveWell();
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    const after = await account("contact-center");
    expect([after.dead, after.delivered]).toEqual([before?.dead ?? 0, (before?.delivered ?? 0) + 1]);
    // The queue repeats the letter of the second death.
    const kept = await refused("contact-center", { id: one.id, stage: "deliver", replay: 1 });
    await put(kept);
    expect((await read(`/api/dead-letters/${one.id}`)).status).toBe("replayed");
  });

  it("whose row has expired takes back its death once", async () => {
    const one = await refused("messaging", { stage: "deliver", verified: true, reason: "retries_exhausted", dedupe_key: unique("key") });
    await put(one);
    const { shard } = ledgerPlace("messaging", one.letter.dedupe_key as string);
    const ledger = env.DELIVERY_LEDGER.getByName(shard);
    await runInDurableObject(ledger, (_, state) =>
      void state.storage.sql.exec("INSERT INTO totals VALUES ('messaging', 'dead', 1) ON CONFLICT DO UPDATE SET n = n + 1"),
    );
    const { dead, delivered } = await account("messaging");
    await replay(one.id);
    await expectDelivered([one.id]);
    expect(await account("messaging")).toMatchObject({ dead: dead - 1, delivered: delivered + 1 });
  });

  it("that the platform gave up is dead in the ledger too, once", async () => {
    const one = await storedParcel("unsigned", events(1));
    const before = (await account("unsigned"))?.dead ?? 0;
    for (const _ of [1, 2]) {
      expect(await consume(DEAD_LETTERS, [{ ...one.message, attempts: 100 }])).toEqual(acknowledged(one));
    }
    expect(await row(one.id)).toMatchObject({ status: "dead", lastError: "given up by the queue" });
    expect((await account("unsigned")).dead).toBe(before + 1);
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    expect((await account("unsigned")).dead).toBe(before);
  });
});

describe("while the platform fails", () => {
  it("a letter that the queue does not take stays, and goes when it does", async () => {
    const one = await refused("unsigned");
    await put(one);
    failing(env.DELIVERIES, "send");
    expect((await replay(one.id)).json).toMatchObject({ outcome: "skipped", code: "queue_failed", detail: "Error: away" });
    expect((await read(`/api/dead-letters/${one.id}`)).status).toBe("stored");
    vi.restoreAllMocks();
    expect((await replay(one.id)).json.outcome).toBe("replayed");
    await expectDelivered([one.id]);
    expect(await arrived(one.id, "unsigned")).toHaveLength(1);
  });

  it("a letter whose body the bucket does not give stays", async () => {
    const one = await refused("unsigned", { body: { stored: { key: "payloads/away", size_bytes: 9, sha256: "ab" } } });
    await put({ letter: one.letter });
    failing(env.PAYLOADS, "get");
    expect((await replay(one.id)).json).toMatchObject({ outcome: "skipped", code: "body_unavailable" });
    vi.restoreAllMocks();
    expect((await read(`/api/dead-letters/${one.id}`)).status).toBe("stored");
  });
});
