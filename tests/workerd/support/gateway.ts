/**
 * The gateway under test: its sources and secrets. Read by the configuration of the tests (in Node) and by the tests (in
 * workerd), so that both mean the same.
 */

import type { VectorSources } from "./vectors.ts";

export const CLIENT_ID = "workerd-tests-client";
export const CLIENT_SECRET = "workerd-tests-client-secret";

/** Worker secrets; `MISSING_SECRET` and `MISSING_DESTINATION_SECRET` are named by sources and deliberately not here. */
export const SECRETS = {
  ADMIN_TOKEN: "admin-token-of-the-workerd-tests",
  GENESYS_CLIENT_ID: CLIENT_ID,
  GENESYS_CLIENT_SECRET: CLIENT_SECRET,
  WEBHOOK_SECRET: "webhook-secret-of-the-workerd-tests",
  WEBHOOK_SECRET_PREVIOUS: "webhook-secret-before-the-rotation",
  MESSAGING_SECRET: "messaging-secret-of-the-workerd-tests",
  STANDARD_SECRET: "whsec_c3RhbmRhcmQtc2VjcmV0LW9mLXRoZS10ZXN0cw==",
  GITHUB_SECRET: "It's a Secret to Everybody",
  ALERT_SECRET: "whsec_YWxlcnQtc2VjcmV0LW9mLXRoZS10ZXN0cw==",
  DESTINATION_TOKEN: "Bearer destination-token-of-the-workerd-tests",
  DESTINATION_SECRET: "whsec_ZGVzdGluYXRpb24tc2VjcmV0LW9mLXRlc3Rz",
} as const;

/** What must never be stored, shown or logged. The client's id is no secret. */
export const CONFIDENTIAL = Object.entries(SECRETS)
  .filter(([name]) => name !== "GENESYS_CLIENT_ID")
  .map(([, value]) => value);

/** Waits of the sources that retry, in seconds. Below 5 s there is no jitter, so delays are exact. */
export const RETRY_SCHEDULE_S = [3, 4];

/** Requests a minute that the rate-limit binding of the source `limited` lets through. */
export const RATE_LIMIT = 4;
/** Waits of the sources that are overrun, in seconds: short, so that some deliveries use them up. */
export const CROWD_SCHEDULE_S = [5, 30];

/** The limit of the source `small`. */
export const SMALL_LIMIT_BYTES = 1_000;

/** Dead letters above which an alert is raised. */
export const DEAD_LETTERS_OVER = 4;

/** The limit of silence of the source `watched`. */
export const SILENCE_AFTER_S = 600;

/** Letters a minute that the source `budgeted` keeps of what it cannot verify. */
export const BUDGET_LETTERS = 3;

/** Letters that the source `capped` keeps. */
export const CAPPED_LETTERS = 3;

/** Bytes of bodies that the source `capped-bytes` keeps. */
export const CAPPED_BYTES = 4_000;

/** The name at the simulator of the sink that a source of the runtime `run` delivers to. */
export function sinkName(run: string, source: string): string {
  return `${run}-${source}`;
}

/**
 * @param simulator base URL of the simulator
 * @param run names this runtime among those that share the simulator
 */
export function bindings(simulator: string, run: string, vectors: VectorSources) {
  const secrets = ["WEBHOOK_SECRET"];
  const sink = (source: string) => `${simulator}/sink/${sinkName(run, source)}`;
  const signedTo = (source: string) => ({ url: sink(source), secret: "DESTINATION_SECRET" });
  const GATEWAY = {
    login_url: simulator,
    api_url: simulator,
    // The address of a runtime in a test cannot be called from outside. A sink answers probes as a gateway does; behind `?at=`
    // the path of a source changes nothing for it.
    public_url: `${sink("public")}?at=`,
    allow_private_addresses: true,
    owner: `workerd-tests-${run}`,
    alerts: { url: sink("alerts"), secret: "ALERT_SECRET", dead_letters_over: DEAD_LETTERS_OVER },
    sources: [
      {
        name: "contact-center",
        profile: "webhooks",
        secrets: ["WEBHOOK_SECRET", { name: "WEBHOOK_SECRET_PREVIOUS", label: "previous" }],
        subscription: { name: `Contact center ${run}`, event_types: ["call:created", "call:answered"] },
        destination: signedTo("contact-center"),
        retry_schedule_s: RETRY_SCHEDULE_S,
      },
      { name: "archive", profile: "webhooks", secrets },
      {
        name: "messaging",
        profile: "open-messaging",
        secrets: ["MESSAGING_SECRET"],
        subscription: { name: `Messaging ${run}` },
        destination: signedTo("messaging"),
      },
      { name: "standard", profile: "standard-webhooks", secrets: ["STANDARD_SECRET"] },
      {
        name: "github",
        profile: "custom",
        secrets: ["GITHUB_SECRET"],
        custom: { header: "X-Hub-Signature-256", prefix: "sha256=", encoding: "hex", dedupe_header: "X-GitHub-Delivery" },
      },
      { name: "no-secret", profile: "webhooks", secrets: ["MISSING_SECRET"] },
      { name: "small", profile: "webhooks", secrets, max_body_bytes: SMALL_LIMIT_BYTES },
      { name: "budgeted", profile: "webhooks", secrets, quarantine: { letters_per_minute: BUDGET_LETTERS } },
      { name: "unsigned", profile: "webhooks", secrets, destination: { url: sink("unsigned") } },
      {
        name: "slow",
        profile: "webhooks",
        secrets,
        destination: { ...signedTo("slow"), timeout_ms: 250 },
        retry_schedule_s: [2],
      },
      // Port 1 is reserved (tcpmux) and nothing listens there.
      { name: "unreachable", profile: "webhooks", secrets, destination: { url: "http://127.0.0.1:1/" }, retry_schedule_s: [2] },
      {
        name: "unsignable",
        profile: "webhooks",
        secrets,
        destination: { url: sink("unsignable"), secret: "MISSING_DESTINATION_SECRET" },
        retry_schedule_s: [2],
      },
      { name: "capped", profile: "webhooks", secrets, dead_letters: { max_letters: CAPPED_LETTERS } },
      { name: "capped-bytes", profile: "webhooks", secrets, dead_letters: { max_bytes: CAPPED_BYTES } },
      { name: "fenced", profile: "webhooks", secrets, allow_networks: ["192.0.2.0/24", "2001:db8::/32"], webhook_origins: ["events.example"] },
      { name: "limited", profile: "webhooks", secrets, rate_limit: "DELIVERY_RATE" },
      { name: "unlimited", profile: "webhooks", secrets, rate_limit: "MISSING_RATE" },
      // Its deliveries that fail come back by the queue itself, soon.
      { name: "restless", profile: "webhooks", secrets, destination: signedTo("restless"), retry_schedule_s: [1] },
      { name: "watched", profile: "webhooks", secrets, silence_after_s: SILENCE_AFTER_S },
      {
        name: "dressed",
        profile: "webhooks",
        secrets,
        destination: {
          ...signedTo("dressed"),
          headers: { "X-Tenant": "north west" },
          forward_headers: ["ININ-Correlation-Id"],
          secret_headers: { Authorization: "DESTINATION_TOKEN" },
        },
        retry_schedule_s: [2],
      },
      {
        name: "undressed",
        profile: "webhooks",
        secrets,
        destination: { url: sink("undressed"), secret_headers: { "x-key": "MISSING_DESTINATION_TOKEN" } },
        retry_schedule_s: [2],
      },
      // Those whose circuits are opened.
      { name: "tripping", profile: "webhooks", secrets, destination: { ...signedTo("tripping"), timeout_ms: 1_000 }, retry_schedule_s: [2] },
      { name: "tripping-archive", profile: "webhooks", secrets, circuit: { min_calls: 2 }, retry_schedule_s: [2] },
      // Those that are overrun. The longest time limit that there is: what a destination has accepted and the gateway hears of
      // too late is repeated, and a busy machine stops a test for many seconds.
      ...["crowd-a", "crowd-b"].map((name) => ({
        name,
        profile: "webhooks",
        secrets,
        destination: { ...signedTo(name), timeout_ms: 60_000 },
        retry_schedule_s: CROWD_SCHEDULE_S,
      })),
      { name: "crowd-archive", profile: "webhooks", secrets, retry_schedule_s: CROWD_SCHEDULE_S },
      ...vectors.sources,
    ],
  };
  return { GATEWAY, ...SECRETS, ...vectors.secrets, SIMULATOR: simulator, RUN: run };
}
