/** Every part of the declarations, used as a program would. Only compiled. */

import {
  GenesysClient,
  GenesysError,
  type Explanation,
  type Fault,
  type ReconcileReport,
  type Subscription,
  explain,
  inspect,
  sign,
  verify,
} from "genesys-client";

const client = new GenesysClient({ region: "eu-west-1", clientId: "a", clientSecret: "b", fetch: globalThis.fetch });
const body = new TextEncoder().encode("{}");

export async function use(): Promise<ReconcileReport> {
  const webhooks = client.subscriptions("webhooks");
  const found: Subscription[] = await webhooks.list();
  const desired = { name: "a", address: "https://a.example", secret: "s", eventFilters: ["call:created"] } as const;
  const { changes } = await webhooks.update(found[0]?.id ?? "", desired, { ifMatch: found[0]?.etag ?? "" });
  const names: string[] = changes.map((change) => change.field);
  await webhooks.delete(names[0] ?? "", { anyOwner: true });
  if (typeof found[0]?.provisioning === "object") found[0].provisioning.failed.trim();
  const report = await client.reconcile([{ api: "webhooks", ...desired, prune: true }], { timeoutMs: 5_000 });
  report.items[0]?.error?.fault satisfies Fault | undefined;
  return report;
}

export function receive(headers: Headers, nodeHeaders: Record<string, string | string[] | undefined>): number {
  const result = verify(headers, body, ["a", { secret: "b", notAfter: new Date() }], "webhooks", { now: 5 });
  verify(nodeHeaders, body.buffer, "a", { header: "x", encoding: "hex" });
  const explanation: Explanation = explain(headers, body, "a", "open-messaging");
  if (!result.ok) {
    const status: number = result.status;
    return result.code === "no_active_secret" ? 503 : status + explanation.findings.length;
  }
  const label: string = result.label;
  const envelope = inspect(body, "webhooks", headers);
  return envelope.ok ? envelope.eventCount : label.length;
}

export function failed(error: unknown): string | undefined {
  return error instanceof GenesysError ? `${error.code} ${error.correlationId} ${error.retryAfterMs}` : undefined;
}

export const signed: Record<string, string> = sign(body, "a", "standard-webhooks", { id: "1" });

// What must not compile.
// @ts-expect-error a client needs its secret
new GenesysClient({ region: "eu-west-1", clientId: "a" });
// @ts-expect-error text is not bytes
verify(new Headers(), "text", "a", "webhooks");
// @ts-expect-error there is no such profile
verify(new Headers(), body, "a", "webhook");
// @ts-expect-error there is no such API
client.subscriptions("webhook");
// @ts-expect-error a declaration says which API it is for
void client.plan([{ name: "a", address: "https://a.example", secret: "s" }]);
