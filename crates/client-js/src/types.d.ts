/** What a `GenesysClient` is made from: a region or two URLs, and an OAuth client. */
export interface ClientOptions {
  /** The organisation's region, by its domain (`mypurecloud.ie`) or its AWS name (`eu-west-1`). Excludes the two URLs. */
  region?: string;
  /** Base of the token endpoint, where it is not a region's. Needs `apiUrl`. */
  loginUrl?: string;
  /** Base of the API, where it is not a region's. Needs `loginUrl`. */
  apiUrl?: string;
  /** The id of an OAuth client of the type "Client Credentials". */
  clientId: string;
  /** Its secret. Do not ship it to browsers. */
  clientSecret: string;
  /** Sends the requests; `globalThis.fetch` otherwise. It gets a URL and a `RequestInit` with `redirect: "manual"` and a signal. */
  fetch?: typeof globalThis.fetch;
  /** Permits `http:` and private addresses, for a simulator or local development. `false` otherwise. */
  allowPrivateAddresses?: boolean;
  /** The ownership mark. Two programs in one organisation need different ones. `genesys-webhook-gateway` otherwise. */
  owner?: string;
  /** The key of the fingerprints by which a changed secret is noticed where it cannot be read back. `clientSecret` otherwise. */
  fingerprintKey?: string;
  /** What `exportState` of an earlier client gave. */
  state?: string;
}

/** The vendor's two subscription APIs. */
export type SubscriptionApi = "webhooks" | "open-messaging";

/** An event type of the webhook API. */
export interface EventType {
  id: string;
  /** As in `call:created`. */
  name: string;
  description: string;
}

/** A topic of the notifications API. */
export interface Topic {
  /** As in `v2.users.{id}.activity`. */
  id: string;
  description: string;
  transports: string[];
}

/** An event type and what of it is wanted. */
export interface EventFilter {
  eventType: string;
  /** `"true"` takes every event; anything else is the vendor's filter expression. */
  filter: string;
}

/** A subscription as the vendor holds it. */
export interface Subscription {
  id: string;
  name: string;
  /** Where deliveries go. */
  address: string;
  enabled: boolean;
  /** Sorted; empty where the API knows no event types. */
  eventFilters: EventFilter[];
  /** The ownership mark, whoever's it is. */
  owner?: string;
  /** What is known of its secret; the secret itself is never shown. */
  secret: "absent" | "hidden" | "set";
  /** Whether it works yet. */
  provisioning: "ready" | "pending" | { failed: string };
  /** Its version, for `ifMatch`; only from `get`. */
  etag?: string;
}

/** A subscription as it should be. */
export interface DesiredSubscription {
  /** Its name, by which it is found. */
  name: string;
  /** Where deliveries go: a public https address. */
  address: string;
  /** `true` otherwise. Open Messaging cannot switch deliveries off. */
  enabled?: boolean;
  /** What is wanted; a name alone takes every event of that type. Open Messaging sends everything and takes none. */
  eventFilters?: readonly (string | { eventType: string; filter?: string })[];
  /** Signs the deliveries: at least 16 characters. */
  secret: string;
  /** Take over a subscription of this name that somebody else made. `false` otherwise. */
  adopt?: boolean;
}

/** A subscription as `plan` and `reconcile` take it. */
export interface DeclaredSubscription extends DesiredSubscription {
  /** The API that it belongs to. */
  api: SubscriptionApi;
  /** What the report calls it; its name otherwise. */
  source?: string;
  /** Delete owned subscriptions that point to this address and that nothing declares. `false` otherwise. */
  prune?: boolean;
}

export interface UpdateOptions {
  /** The `etag` that the caller saw: a newer version is an error (`version_mismatch`), not read again. */
  ifMatch?: string;
}

export interface DeleteOptions {
  /** Delete it whoever made it. `false` otherwise. */
  anyOwner?: boolean;
}

export interface CreatedSubscription {
  subscription: Subscription;
  /** The vendor's status; absent when its answer was lost and the subscription was found by name. */
  status?: number;
  correlationId?: string;
}

export interface UpdatedSubscription {
  /** Empty when it was as wanted, and nothing was sent. */
  changes: FieldChange[];
  status?: number;
  correlationId?: string;
}

export interface DeletedSubscription {
  /** 404 and 410: it was gone already. */
  status: number;
  correlationId?: string;
}

/** One difference between what is and what should be. A secret shows as `set` or `changed`. */
export interface FieldChange {
  field: "name" | "address" | "enabled" | "eventFilters" | "owner" | "secret";
  from?: unknown;
  to: unknown;
}

/** What a probe found. */
export interface Probe {
  url: string;
  /** Whether it answered with 2xx. */
  reachable: boolean;
  status?: number;
  method: "HEAD" | "GET";
  durationMs: number;
  /** Why it is not reachable. */
  error?: string;
}

export interface ReconcileOptions {
  /** APIs whose owned subscriptions are deleted when nothing declares them. None otherwise. */
  prune?: readonly SubscriptionApi[];
  /** Ask an address whether it answers before a subscription is pointed to it. `true` otherwise. */
  probe?: boolean;
  /** Nothing is begun after this many milliseconds. No limit otherwise. */
  timeoutMs?: number;
  /** At most so many requests, without those for tokens. No limit otherwise. */
  maxRequests?: number;
}

/** What `plan` would do, or `reconcile` did. */
export interface ReconcileReport {
  version: 1;
  startedAtMs: number;
  durationMs: number;
  dryRun: boolean;
  /** How many subscriptions were to be created, updated, adopted or deleted. */
  planned: number;
  applied: number;
  failed: number;
  unchanged: number;
  pending: number;
  skipped: number;
  kept: number;
  /** Requests that were sent, without those for tokens. */
  requests: number;
  /** As declared, then owned ones that nothing declares. */
  items: ReconcileItem[];
  /** What was checked and done, in order; for an audit trail. */
  audit: AuditEvent[];
}

export interface ReconcileItem {
  source?: string;
  api: SubscriptionApi;
  name: string;
  action: "create" | "update" | "adopt" | "delete" | "unchanged" | "orphan" | "conflict" | "undecided";
  webhookId?: string;
  diff: FieldChange[];
  outcome: "applied" | "unchanged" | "failed" | "pending" | "skipped" | "kept" | "planned";
  error?: { code: string; message: string; fault: Fault; status?: number };
  correlationId?: string;
  /** Requests that were sent for it. */
  attempts: number;
}

export interface AuditEvent {
  action: "CREATE" | "UPDATE" | "DELETE" | "VALIDATE" | "PROBE";
  source?: string;
  webhookId?: string;
  targetUrl?: string;
  statusCode?: number;
  error?: string;
  correlationId?: string;
}

/**
 * Who has to do something: `caller` (the code that calls this package), `configuration` (credentials, permissions, names,
 * addresses), `vendor`, `network`, `try_again` (nobody: it passes by itself), `ours` (this package).
 */
export type Fault = "caller" | "configuration" | "vendor" | "network" | "try_again" | "ours";

/** Everything that is thrown, or rejected with. No message shows a secret. */
export class GenesysError extends Error {
  constructor(message: string, code: string, fault: Fault);
  readonly name: "GenesysError";
  /** A stable name: `invalid_argument`, `missing_permission`, `rate_limited`, `wrong_client_secret`, … */
  readonly code: string;
  readonly fault: Fault;
  /** The status that was answered, where one was. */
  readonly status?: number;
  /** The vendor's own code, as in `missing.permissions`. */
  readonly vendorCode?: string;
  /** What the vendor's support asks for. */
  readonly correlationId?: string;
  /** What `Retry-After` asked for. */
  readonly retryAfterMs?: number;
}

/** Headers as they arrived: `Headers`, a `Map`, pairs, or an object such as Node's `request.headers`. */
export type HeadersLike =
  | Iterable<readonly [string, string]>
  | { readonly [name: string]: string | readonly string[] | undefined };

/** A signing secret: its text, or with a label (for results) and the last moment at which it is accepted. */
export type SigningSecret = string | { secret: string; label?: string; notAfter?: Date | number };

/** How deliveries are signed and shaped: a preset by name, or a description. */
export type Profile = "webhooks" | "open-messaging" | "standard-webhooks" | CustomProfile;

/** A signature scheme of HMAC-SHA256, described. */
export interface CustomProfile {
  /** Name of the header that carries the signature. */
  header: string;
  encoding: "hex" | "base64" | "base64url";
  /** Text before each signature, as in `sha256=`. */
  prefix?: string;
  /** Whether base64 ends in `=`; `true` for `base64` and `false` for `base64url` otherwise. */
  padding?: boolean;
  /** Name of the header with the time of signing in whole seconds. */
  timestampHeader?: string;
  /** How many seconds that time may be away, both ways; 300 otherwise. */
  toleranceS?: number;
  /** Name of the header with the delivery's identifier. */
  idHeader?: string;
  /** What is signed, from `{id}`, `{timestamp}`, `{body}` and other text; `{body}` otherwise. */
  signedContent?: string;
  /** How a secret becomes a key; `text` otherwise. */
  secretFormat?: "text" | "base64" | "hex";
  /** What a body is; `object` otherwise. */
  envelope?: "events" | "object" | "any";
  /** JSON pointer to what makes two deliveries one. */
  dedupePointer?: string;
  /** Header that makes two deliveries one. */
  dedupeHeader?: string;
}

export interface TimeOptions {
  /** The time that timestamps and expiries are compared with; now otherwise. */
  now?: Date | number;
}

export interface SignOptions {
  /** The time of signing; now otherwise. */
  now?: Date | number;
  /** The delivery's identifier, where the profile signs one. */
  id?: string;
}

/** A refusal: why, and the status to answer with. */
export interface Refused<Code extends string> {
  ok: false;
  code: Code;
  status: number;
  /** What and where, in words; safe to answer and to log. */
  detail: string;
}

export type VerifyResult =
  /** `label`: of the secret that made the signature. */
  | { ok: true; label: string }
  /** `no_active_secret` (status 503): every secret has expired. */
  | Refused<
      | "missing_signature"
      | "malformed_signature"
      | "signature_mismatch"
      | "timestamp_out_of_tolerance"
      | "no_active_secret"
    >;

export type InspectResult =
  | { ok: true; eventCount: number; idempotencyKey: string }
  | Refused<"invalid_json" | "invalid_envelope">;

/** What the signature doctor found. */
export interface Explanation {
  /** `accepted`, the code of a refusal, or `no_active_secret`. */
  verdict: string;
  /** Everything in one line. */
  summary: string;
  expected: {
    profile: string;
    header: string;
    prefix: string;
    encoding: string;
    signedContent: string;
    toleranceS?: number;
  };
  /** What looks like a signature in the request; values are not shown. */
  seen: { header: string; prefix?: string; encoding?: string; chars: number }[];
  /** The label of the secret that made a signature of the request, as it is or after the findings. */
  secretLabel?: string;
  eventCount?: number;
  /** What is wrong, most important first. */
  findings: { code: string; detail: string }[];
  /** How many combinations were computed. */
  tried: number;
  /** `false` where the search ended at its limit. */
  complete: boolean;
}
