/** `GET /metrics`: after many different requests at once, everything that it says is the truth. */

import { evictAllDurableObjects } from "cloudflare:test";
import { beforeAll, describe, expect, it } from "vitest";

import {
  type Answer,
  type Body,
  api,
  bytes,
  deliver,
  events,
  eventually,
  messagingHeaders,
  post,
  read,
  unique,
  webhooksHeaders,
} from "./support/client.ts";
import { parseOpenMetrics } from "./support/openmetrics.ts";
import { sink } from "./support/sink.ts";

/** What one request should count as. */
interface Truth {
  received: number;
  accepted: number;
  refused: Record<string, number>;
  unavailable: Record<string, number>;
  delivered: number;
  duplicate: number;
  dead: number;
  events: number;
  bytes: number;
  secrets: Record<string, number>;
}

const truths: Record<string, Truth> = {};
let letters = 0;

function truth(source: string): Truth {
  truths[source] ??= {
    received: 0,
    accepted: 0,
    refused: {},
    unavailable: {},
    delivered: 0,
    duplicate: 0,
    dead: 0,
    events: 0,
    bytes: 0,
    secrets: {},
  };
  return truths[source];
}

const increase = (counts: Record<string, number>, label: string) => {
  counts[label] = (counts[label] ?? 0) + 1;
};

/** A request with its outcome, entered into the truth. */
type Planned = () => Promise<Answer>;

function accepted(
  source: string,
  body: string,
  eventCount: number,
  sign: (body: Body) => Promise<Record<string, string>>,
  label: string,
  outcome: "delivered" | "duplicate",
): Planned {
  const account = truth(source);
  account.received += 1;
  account.accepted += 1;
  account.events += eventCount;
  account.bytes += bytes(body).length;
  account[outcome] += 1;
  increase(account.secrets, label);
  return () => deliver(source, body, sign);
}

function refused(
  source: string,
  body: string,
  reason: string,
  headers: (body: string) => Promise<Record<string, string>>,
): Planned {
  const account = truth(source);
  account.received += 1;
  account.bytes += reason === "body_too_large" ? 0 : bytes(body).length;
  increase(account.refused, reason);
  letters += 1;
  return async () => post(source, body, await headers(body));
}

function unavailable(source: string, cause: string, body: string): Planned {
  const account = truth(source);
  account.received += 1;
  account.bytes += bytes(body).length;
  increase(account.unavailable, cause);
  return () => deliver(source, body);
}

function plan(): Planned[] {
  const requests: Planned[] = [];
  for (let index = 0; index < 70; index += 1) {
    requests.push(
      accepted("contact-center", events(index % 5), index % 5, (body) => webhooksHeaders(body), "webhook_secret", "delivered"),
    );
    requests.push(
      accepted("archive", events(index % 3), index % 3, (body) => webhooksHeaders(body), "webhook_secret", "delivered"),
    );
  }
  for (let index = 0; index < 30; index += 1) {
    const body = JSON.stringify({ id: unique("m"), type: "Text", channel: { time: "t" } });
    requests.push(accepted("messaging", body, 1, messagingHeaders, "messaging_secret", "delivered"));
    // The same message again, written otherwise: one of the two is the duplicate, whichever comes first.
    if (index % 3 === 0) {
      requests.push(accepted("messaging", body.replace("}", " }"), 1, messagingHeaders, "messaging_secret", "duplicate"));
    }
    requests.push(refused("archive", "no JSON", "invalid_json", webhooksHeaders));
    requests.push(refused("contact-center", `{"e":${index}}`, "invalid_envelope", webhooksHeaders));
    requests.push(refused("archive", "{}", "signature_mismatch", async () => ({ "x-genesys-signature": "0".repeat(64) })));
    requests.push(refused("messaging", "{}", "missing_signature", async () => ({})));
    requests.push(refused("small", "x".repeat(2_000), "body_too_large", async () => ({})));
    requests.push(unavailable("no-secret", "no_active_secret", events(1)));
  }
  // Every request has its neighbours from somewhere else.
  return requests
    .map((request, index) => ({ request, place: (index * 7_919) % 10_007 }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ request }) => request);
}

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, count) => total + count, 0);
const total = (of: (account: Truth) => number) => Object.values(truths).reduce((all, account) => all + of(account), 0);

const requests = plan();

/** Reads until nothing is on its way any more. */
const settled = () =>
  eventually(async () => {
    const metrics = await read("/metrics");
    expect(metrics.accounting).toMatchObject({ received: requests.length, pending: 0, queued: 0 });
    expect(metrics.deadLetters.stored).toBe(letters);
    return metrics;
  });

beforeAll(async () => {
  const answers = await Promise.all(requests.map((request) => request()));
  expect(answers.length).toBeGreaterThan(300);
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(total(({ accepted: n }) => n));
  expect(answers.filter(({ status }) => status === 503)).toHaveLength(total((account) => sum(account.unavailable)));
  await settled();
});

describe("the JSON", () => {
  it("has the five fields", async () => {
    const metrics = await settled();
    expect(metrics).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      totalRequests: requests.length,
      successfulDeliveries: total((account) => account.accepted),
      failedDeliveries: total((account) => sum(account.refused) + sum(account.unavailable)),
      missing: [],
    });
    expect(metrics.averageLatencyMs).toBeCloseTo(metrics.totalLatencyMs / requests.length, 6);
  });

  it("accounts for every request of every source", async () => {
    const { sources } = await settled();
    const heardOf = Object.keys(sources).filter((name) => sources[name].received > 0);
    expect(heardOf.toSorted()).toEqual(Object.keys(truths).toSorted());
    // The others are there from the beginning, at zero.
    expect(sources.monitored).toMatchObject({ received: 0, accepted: 0, delivered: 0, pending: 0 });
    for (const [source, account] of Object.entries(truths)) {
      expect(sources[source], source).toMatchObject({ ...account, pending: 0, queued: 0, retries: 0, notQuarantined: 0 });
    }
  });

  it("adds up, by source and in all", async () => {
    const { accounting, sources, refusedByReason, unavailableByCause } = await settled();
    const accounts = Object.values<any>(sources).map((account) => ({
      ...account,
      refused: sum(account.refused),
      unavailable: sum(account.unavailable),
    }));
    for (const account of [accounting, ...accounts]) {
      expect(account.received).toBe(account.accepted + account.refused + account.unavailable);
      expect(account.accepted + account.readmitted).toBe(account.delivered + account.duplicate + account.pending + account.dead);
    }
    for (const field of ["received", "accepted", "refused", "unavailable", "delivered", "duplicate", "readmitted", "revived", "pending", "dead"]) {
      expect(accounting[field], field).toBe(accounts.reduce((all, account) => all + account[field], 0));
    }
    expect(sum(refusedByReason)).toBe(accounting.refused);
    expect(sum(unavailableByCause)).toBe(accounting.unavailable);
  });

  it("measures every answer once", async () => {
    const { sources, latencyMs } = await settled();
    const count = ({ buckets }: { buckets: [string, number][] }) => buckets.reduce((all, [, n]) => all + n, 0);
    for (const [source, account] of Object.entries<any>(sources)) {
      expect(count(account.latencyMs), source).toBe(account.received);
    }
    expect(count(latencyMs)).toBe(requests.length);
    expect(latencyMs.p50).toBeLessThanOrEqual(latencyMs.p90 ?? Infinity);
  });

  it("says the same as the destinations", async () => {
    for (const source of ["contact-center", "messaging"]) {
      expect(await sink(source).report(), source).toMatchObject({
        accepted: truths[source].delivered,
        acceptedDigests: truths[source].delivered,
        duplicates: 0,
        untracked: 0,
      });
    }
  });

  it("says the same as the dead letters", async () => {
    const { deadLetters } = await settled();
    const expected: Record<string, number> = {};
    for (const { refused: reasons } of Object.values(truths)) {
      for (const [reason, n] of Object.entries(reasons)) {
        expected[reason] = (expected[reason] ?? 0) + n;
      }
    }
    expect(deadLetters).toMatchObject({ stored: letters, byReason: expected });
  });

  it("names the secrets that are missing, and not what they might be", async () => {
    const { configurationProblems } = await read("/metrics");
    const missing = configurationProblems.filter(({ key }: { key: string }) => /^MISSING_.*(SECRET|TOKEN)$/.test(key));
    expect(missing).toEqual(
      ["MISSING_SECRET", "MISSING_DESTINATION_TOKEN", "MISSING_DESTINATION_SECRET"].map((key) => ({
        key,
        problem: "the Worker secret is not set",
      })),
    );
  });

  it("is the same after every object was evicted", async () => {
    const before = await settled();
    await evictAllDurableObjects();
    expect(await read("/metrics")).toEqual(before);
  });
});

describe("the text", () => {
  const OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8";
  const text = async (path = "/metrics?format=prometheus", accept = "*/*", type = OPEN_METRICS) => {
    const answer = await api(path, { headers: { accept } });
    expect(answer.headers.get("content-type")).toBe(type);
    return answer.text;
  };

  it.each([
    ["/metrics?format=prometheus", "*/*"],
    ["/metrics?format=openmetrics", "application/json"],
    ["/metrics?format=prometheus", "text/plain"],
    ["/metrics", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"],
  ])("is given for %s to whoever accepts %s", async (path, accept) => {
    expect(parseOpenMetrics(await text(path, accept)).size).toBeGreaterThan(8);
  });

  it.each([
    ["/metrics", "*/*"],
    ["/metrics", "application/json"],
    ["/metrics?format=json", "text/plain"],
  ])("is not given for %s to whoever accepts %s", async (path, accept) => {
    expect((await api(path, { headers: { accept } })).json).toMatchObject({ totalRequests: expect.any(Number) });
  });

  it("is in the older format, with the same samples, for who reads no other", async () => {
    await settled();
    const samples = (all: string) => all.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const old = await text("/metrics", "text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8");
    expect(samples(old).map((line) => line.split(" ")[0])).toEqual(samples(await text()).map((line) => line.split(" ")[0]));
    expect(old).toContain("# TYPE genesys_gateway_requests_total counter\n");
    expect(old).toContain("# TYPE genesys_gateway_build_info gauge\n");
    expect(old).not.toMatch(/# EOF| info\n/);
  });

  it("says what the JSON says", async () => {
    const { sources, deadLetters, version } = await settled();
    const families = parseOpenMetrics(await text());
    const value = (family: string, sample: string, labels: Record<string, string>) => {
      const found = families
        .get(`genesys_gateway_${family}`)
        ?.samples.filter(
          ({ name, labels: own }) =>
            name === `genesys_gateway_${sample}` && Object.entries(labels).every(([key, wanted]) => own[key] === wanted),
        );
      return found?.length === 1 ? found[0].value : `${found?.length} samples`;
    };
    for (const [source, account] of Object.entries<any>(sources)) {
      for (const [outcome, n] of [
        ["accepted", account.accepted],
        ["refused", sum(account.refused)],
        ["unavailable", sum(account.unavailable)],
      ]) {
        expect(value("requests", "requests_total", { source, outcome }), `${source} ${outcome}`).toBe(n);
      }
      for (const [reason, n] of Object.entries(account.refused)) {
        expect(value("refused", "refused_total", { source, reason })).toBe(n);
      }
      for (const [outcome, n] of [
        ["delivered", account.delivered],
        ["duplicate", account.duplicate],
        ["dead", account.dead + account.revived],
      ]) {
        expect(value("deliveries", "deliveries_total", { source, outcome })).toBe(n);
      }
      expect(value("events", "events_total", { source })).toBe(account.events);
      expect(value("received_bytes", "received_bytes_total", { source })).toBe(account.bytes);
      expect(value("answer_latency_seconds", "answer_latency_seconds_count", { source })).toBe(account.received);
      expect(value("answer_latency_seconds", "answer_latency_seconds_sum", { source })).toBeCloseTo(
        account.latencyMs.total / 1000,
        6,
      );
    }
    for (const [reason, n] of Object.entries(deadLetters.byReason)) {
      expect(value("dead_letters", "dead_letters", { reason })).toBe(n);
    }
    expect(value("build", "build_info", { version })).toBe(1);
    expect(value("objects_missing", "objects_missing", {})).toBe(0);
    expect(value("configuration_valid", "configuration_valid", {})).toBe(1);
  });

  it("has help for every family, and no label that its senders could choose", async () => {
    const families = parseOpenMetrics(await text());
    const allowed = ["source", "outcome", "reason", "cause", "secret", "place", "object", "le", "version", "queue", "kind", "api", "status", "state", "action", "hash"];
    for (const [name, { type, help, samples }] of families) {
      expect(help, name).not.toBe("");
      expect(type, name).not.toBe("unknown");
      expect(
        samples.flatMap(({ labels }) => Object.keys(labels)).filter((label) => !allowed.includes(label)),
        name,
      ).toEqual([]);
    }
  });
});

describe("the reader of these tests", () => {
  const good =
    '# HELP a_b Words.\n# TYPE a_b counter\na_b_total{x="1\\n\\"\\\\"} 1\na_b_total{x="2"} 2.5\n# TYPE g gauge\ng -1\n# EOF\n';

  it("reads what is well formed", () => {
    const families = parseOpenMetrics(good);
    expect(families.get("a_b")?.samples[0]).toEqual({ name: "a_b_total", labels: { x: '1\n"\\' }, value: 1 });
    expect(families.get("g")?.samples[0].value).toBe(-1);
  });

  it.each([
    ["no end", (text: string) => text.replace("# EOF\n", "")],
    ["an empty line", (text: string) => text.replace("# TYPE g", "\n# TYPE g")],
    ["a counter without its suffix", (text: string) => text.replace('a_b_total{x="2"}', 'a_b{x="2"}')],
    ["a series twice", (text: string) => text.replace('x="2"', 'x="1\\n\\"\\\\"')],
    ["metadata behind samples", (text: string) => text.replace("# TYPE g", "# UNIT a_b b\n# TYPE g")],
    ["an open label", (text: string) => text.replace('x="2"', 'x="2')],
    ["a comma too many", (text: string) => text.replace('x="2"', 'x="2",')],
    ["a value that is none", (text: string) => text.replace("2.5", "2,5")],
    ["a negative counter", (text: string) => text.replace("2.5", "-2.5")],
    ["a family in two pieces", (text: string) => text.replace("# EOF", "# TYPE a_b counter\n# EOF")],
  ])("refuses %s", (_, spoil) => {
    expect(spoil(good)).not.toBe(good);
    expect(() => parseOpenMetrics(spoil(good))).toThrow();
  });
});
