/** Dead letters: what is kept of a refused delivery, and `/api/dead-letters`. */

import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";

import {
  type Body,
  DELIVERY_ID,
  api,
  bytes,
  deliver,
  events,
  eventually,
  messagingHeaders,
  pages,
  post,
  read,
  sha256,
  standardHeaders,
  unique,
  webhooksHeaders,
} from "./support/client.ts";
import { BUDGET_LETTERS, CONFIDENTIAL, SECRETS } from "./support/gateway.ts";
import { call, deliveryId } from "./support/messages.ts";

/** Headers that carry credentials, as proxies, browsers and senders add them. */
const CREDENTIALS = {
  authorization: `Bearer ${SECRETS.ADMIN_TOKEN}`,
  "proxy-authorization": "Basic dXNlcjpwYXNz",
  cookie: "session=kept-nowhere",
  "x-api-key": "kept-nowhere",
  "x-auth-token": "kept-nowhere",
  "cf-access-jwt-assertion": "kept-nowhere",
  "cf-access-client-secret": "kept-nowhere",
  "x-innocent": "bEaReR kept-nowhere",
};

const store = env.DEAD_LETTER_STORE.getByName("dead-letters");

/** What the gateway has logged. The Worker shares the console of its tests. */
const logged: unknown[] = [];
for (const level of ["log", "info", "warn", "error", "debug"] as const) {
  vi.spyOn(console, level).mockImplementation((...line) => void logged.push(line));
}

/** Everything that the gateway has stored, shown or logged, as text. */
async function everythingTold(): Promise<string> {
  const letters = (await pages("/api/dead-letters", "deadLetters")).flat();
  const bodies = await Promise.all(letters.map(({ id }) => api(`/api/dead-letters/${id}`)));
  const others = ["/metrics", "/metrics?format=prometheus", "/api/audit", "/api/deliveries", "/api/reconcile"].map((path) =>
    api(path),
  );
  const { objects } = await env.PAYLOADS.list();
  const payloads = await Promise.all(objects.map(async ({ key }) => key + (await (await env.PAYLOADS.get(key))?.text())));
  return [...[...bodies, ...(await Promise.all(others))].map(({ text }) => text), ...payloads, JSON.stringify(logged)].join(
    "\n",
  );
}

describe("a refused delivery is kept", () => {
  const late = Math.floor(Date.now() / 1000) - 4_000;
  const cases: {
    reason: string;
    source: string;
    body: Body;
    headers: () => Promise<Record<string, string>>;
    verified: boolean;
    diagnosis?: RegExp;
  }[] = [
    {
      reason: "missing_signature",
      source: "archive",
      body: events(1),
      headers: async () => ({}),
      verified: false,
      diagnosis: /no header that carries signatures/,
    },
    {
      reason: "malformed_signature",
      source: "archive",
      body: events(1),
      headers: async () => ({ "x-genesys-signature": "abc" }),
      verified: false,
      diagnosis: /./,
    },
    {
      reason: "signature_mismatch",
      source: "archive",
      body: events(1),
      headers: () => webhooksHeaders("another body"),
      verified: false,
      diagnosis: /no secret of this source makes this signature/,
    },
    {
      reason: "timestamp_out_of_tolerance",
      source: "standard",
      body: "{}",
      headers: () => standardHeaders("{}", "msg_1", late),
      verified: false,
      diagnosis: /made this signature, but signed 40\d\d s ago/,
    },
    {
      reason: "invalid_json",
      source: "archive",
      body: '{"events":[☕',
      headers: () => webhooksHeaders('{"events":[☕'),
      verified: true,
    },
    { reason: "invalid_envelope", source: "messaging", body: "[1]", headers: () => messagingHeaders("[1]"), verified: true },
  ];
  const large = `{"mark":"${unique("large")}","event":"${"x".repeat(200_000)}"}`;
  const medium = `{"mark":"${unique("medium")}","event":"${"y".repeat(40_000)}"}`;
  let letters: any[] = [];

  beforeAll(async () => {
    for (const { source, body, headers } of cases) {
      await post(source, body, { ...CREDENTIALS, "inin-correlation-id": "correlation-1", ...(await headers()) });
    }
    await deliver("archive", large);
    await deliver("archive", medium);
    await eventually(async () => {
      const { deadLetters } = await read("/api/dead-letters");
      expect(deadLetters).toHaveLength(cases.length + 2);
      letters = await Promise.all(deadLetters.map(({ id }: { id: string }) => read(`/api/dead-letters/${id}`)));
    });
  });

  it.each(cases)(
    "whole, with its reason, without credentials: $reason",
    async ({ reason, source, body, headers, verified, diagnosis }) => {
      const letter = letters.find((candidate) => candidate.reason === reason && candidate.sizeBytes === bytes(body).length);
      expect(letter).toMatchObject({
        id: expect.stringMatching(DELIVERY_ID),
        source,
        stage: "receive",
        verified,
        attempts: 0,
        replay: 0,
        body,
      });
      expect(letter.detail).toEqual(expect.any(String));
      if (diagnosis) {
        expect(letter.diagnosis).toMatch(diagnosis);
      }
      // What verifies it again is kept, and so is what a search may need.
      const kept = Object.fromEntries(letter.headers);
      expect(kept).toMatchObject({ ...(await headers()), "inin-correlation-id": "correlation-1" });
      for (const name of Object.keys(CREDENTIALS)) {
        expect(kept).not.toHaveProperty(name);
      }
      expect(JSON.stringify(letter)).not.toContain("kept-nowhere");
    },
  );

  it.each([
    ["in the bucket, where no message holds it", large],
    ["in the bucket, where no row should hold it", medium],
  ])("%s", async (_, body) => {
    const letter = letters.find(({ sizeBytes }) => sizeBytes === bytes(body).length);
    expect(letter).toMatchObject({ reason: "invalid_envelope", body });
    const keys = async () => (await env.PAYLOADS.list()).objects.map(({ key }) => key).filter((key) => key.endsWith(letter.id));
    expect(await keys()).toHaveLength(1);
    expect((await api(`/api/dead-letters/${letter.id}`, { method: "DELETE" })).status).toBe(204);
    expect(await keys()).toEqual([]);
  });

  it("and audited, by the consumer", async () => {
    await eventually(async () => {
      const { entries } = await read("/api/audit?action=DLQ_ROUTE&limit=500");
      for (const { id, reason, source } of letters) {
        const entry = entries.find(({ correlationId }: { correlationId: string }) => correlationId === id);
        expect(entry).toMatchObject({ actor: "consumer", error: reason, source });
      }
    });
  });
});

describe("no secret is stored or logged", () => {
  // Mistakes that people make with the secret that they should sign with.
  it.each<[string, string, Record<string, string>]>([
    [
      "in a header that carries credentials",
      "archive",
      { authorization: SECRETS.WEBHOOK_SECRET, "x-webhook-secret": SECRETS.WEBHOOK_SECRET },
    ],
    ["in place of the signature", "archive", { "x-genesys-signature": SECRETS.WEBHOOK_SECRET }],
    [
      "in place of the signature, behind its prefix",
      "messaging",
      { "x-hub-signature-256": `sha256=${SECRETS.MESSAGING_SECRET}` },
    ],
  ])("that a sender shows %s", async (_, source, headers) => {
    const count = async () => (await read("/metrics")).deadLetters.stored;
    const before = await count();
    expect((await post(source, events(1), headers)).status).toBe(401);
    await eventually(async () => expect(await count()).toBe(before + 1));
    const told = await everythingTold();
    // Of each test's own letters only: one that shows a secret would spoil the others.
    const { deadLetters } = await read("/api/dead-letters?limit=1");
    await api(`/api/dead-letters/${deadLetters[0].id}`, { method: "DELETE" });
    // Something was told: of the secrets that are missing.
    expect(told).toContain("bad_binding");
    expect(CONFIDENTIAL.filter((secret) => told.includes(secret))).toEqual([]);
  });
});

it("keeps no more of what it cannot verify than the source's budget, counts the rest, and answers all alike", async () => {
  const answers = [];
  for (let index = 0; index < BUDGET_LETTERS + 4; index += 1) {
    // One address has only a share of it.
    answers.push(await post("budgeted", events(1), { "x-genesys-signature": "0".repeat(64), "cf-connecting-ip": `192.0.2.${index}` }));
  }
  expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
  // A verified one does not count against it.
  expect((await deliver("budgeted", "no JSON")).status).toBe(400);
  await eventually(async () => {
    expect((await read("/api/dead-letters?source=budgeted")).deadLetters).toHaveLength(BUDGET_LETTERS + 1);
    const account = (await read("/metrics")).sources.budgeted;
    expect(account).toMatchObject({ refused: { signature_mismatch: BUDGET_LETTERS + 4, invalid_json: 1 }, notQuarantined: 4 });
  });
});

describe("/api/dead-letters", () => {
  const START_MS = 4_000_000_000_000;
  const REASONS = ["invalid_json", "retries_exhausted", "signature_mismatch"];

  /** A letter that died so many milliseconds after the start; it is newer than all that other tests made. */
  function letter(atMs: number, fields: Record<string, unknown> = {}) {
    const id = deliveryId(START_MS + atMs);
    return {
      letter: {
        id,
        source: "listed",
        stage: "deliver",
        reason: REASONS[atMs % 3],
        verified: true,
        received_at_ms: START_MS,
        dead_at_ms: START_MS + atMs,
        attempts: 3,
        last_status: 500,
        headers: [],
        body: { inline: { size_bytes: 2 } },
        ...fields,
      },
      inline: { body: "{}" },
    };
  }
  const put = (letters: object[]) => call(store, { put: { letters } });
  const ids = (letters: { id: string }[]) => letters.map(({ id }) => id);

  // Several die in the same millisecond: the identifier decides then.
  const letters = Array.from({ length: 23 }, (_, index) => letter(Math.floor(index / 2)));
  const newestFirst = letters
    .map(({ letter: { id, dead_at_ms } }) => ({ id, dead_at_ms }))
    .sort((a, b) => b.dead_at_ms - a.dead_at_ms || (a.id < b.id ? 1 : -1))
    .map(({ id }) => id);

  beforeAll(() => put(letters));

  it("lists newest first, each once, and tells when there is no more", async () => {
    const found = await pages("/api/dead-letters?source=listed&limit=5", "deadLetters");
    expect(found.map((page) => page.length)).toEqual([5, 5, 5, 5, 3]);
    expect(ids(found.flat())).toEqual(newestFirst);
  });

  it("is not disturbed by letters that arrive while somebody reads", async () => {
    let later = 1_000;
    const arrived: string[] = [];
    const found = await pages("/api/dead-letters?source=listed&limit=4", "deadLetters", async () => {
      const arriving = [letter(later), letter(later + 1)];
      later += 2;
      arrived.push(...arriving.map(({ letter: { id } }) => id));
      await put(arriving);
    });
    expect(ids(found.flat())).toEqual(newestFirst);
    for (const id of arrived) {
      await api(`/api/dead-letters/${id}`, { method: "DELETE" });
    }
  });

  it("is not disturbed by letters that are deleted while somebody reads", async () => {
    const passing = [letter(2_000), letter(2_001), letter(2_002)];
    await put(passing);
    const gone = passing.map(({ letter: { id } }) => id).reverse();
    const found = await pages("/api/dead-letters?source=listed&limit=3", "deadLetters", async () => {
      await Promise.all(gone.map((id) => api(`/api/dead-letters/${id}`, { method: "DELETE" })));
    });
    expect(ids(found.flat())).toEqual([...gone, ...newestFirst]);
  });

  it("stores a letter that arrives twice once", async () => {
    await put([letters[0], letters[1], letters[0]]);
    expect((await pages("/api/dead-letters?source=listed&limit=500", "deadLetters")).flat()).toHaveLength(letters.length);
  });

  it.each(REASONS)("filters by reason: %s", async (reason) => {
    const { deadLetters, nextCursor } = await read(`/api/dead-letters?source=listed&reason=${reason}`);
    expect(ids(deadLetters)).toEqual(
      newestFirst.filter((id) => letters.some(({ letter: l }) => l.id === id && l.reason === reason)),
    );
    expect(nextCursor).toBeNull();
  });

  it.each([
    ["milliseconds", String(START_MS + 8)],
    ["RFC 3339", encodeURIComponent(new Date(START_MS + 8).toISOString())],
  ])("filters by time, in %s", async (_, since) => {
    const { deadLetters } = await read(`/api/dead-letters?source=listed&since=${since}`);
    expect(ids(deadLetters)).toEqual(newestFirst.slice(0, 7));
  });

  it("finds nothing of a source that has none", async () => {
    expect(await read("/api/dead-letters?source=nobody")).toEqual({ deadLetters: [], nextCursor: null });
  });

  it("reads and deletes one, once", async () => {
    const [
      {
        letter: { id },
      },
    ] = letters;
    expect(await read(`/api/dead-letters/${id}`)).toMatchObject({
      id,
      source: "listed",
      attempts: 3,
      lastStatus: 500,
      body: "{}",
    });
    const path = `/api/dead-letters/${id}`;
    expect((await api(path, { method: "DELETE" })).status).toBe(204);
    for (const method of ["GET", "DELETE"]) {
      const gone = await api(path, { method });
      expect([gone.status, gone.json.code]).toEqual([404, "not_found"]);
    }
  });

  it("tells a letter whose body was lost from the bucket from one that never was", async () => {
    const key = "payloads/of/nobody";
    const stored = letter(50, { body: { stored: { key, size_bytes: 4, sha256: await sha256("body") } } });
    await put([{ letter: stored.letter }]);
    await env.PAYLOADS.put(key, "body");
    const path = `/api/dead-letters/${stored.letter.id}`;
    expect((await read(path)).body).toBe("body");
    for (const spoil of [() => env.PAYLOADS.put(key, "another"), () => env.PAYLOADS.delete(key)]) {
      await spoil();
      const { body, bodyLost } = await read(path);
      expect(body).toBeUndefined();
      expect(bodyLost).toContain(key);
    }
    expect((await api(path, { method: "DELETE" })).status).toBe(204);
  });

  it("keeps the sum of what is stored by reason", async () => {
    const { deadLetters } = await read("/metrics");
    const all = (await pages("/api/dead-letters?limit=500", "deadLetters")).flat();
    expect(deadLetters.stored).toBe(all.length);
    for (const [reason, count] of Object.entries(deadLetters.byReason)) {
      expect(
        all.filter((one) => one.reason === reason),
        reason,
      ).toHaveLength(count as number);
    }
  });
});
