/** The simulator as the tests steer it: sinks, which play the users' destinations, and the vendor's side of it. */

import { env } from "cloudflare:workers";
import { expect } from "vitest";

import { SECRETS, sinkName } from "./gateway.ts";

/** A call of the simulator's control API; answers its JSON, where there is any. */
export async function control(method: string, path: string, body?: unknown): Promise<any> {
  const response = await fetch(`${env.SIMULATOR}/control/${path}`, {
    method,
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await response.text();
  expect(response.ok, `${method} ${path}: ${response.status} ${text}`).toBe(true);
  return text === "" ? undefined : JSON.parse(text);
}

/** The destination of a source. */
export function sink(source: string) {
  const path = `sink/${sinkName(env.RUN, source)}`;
  return {
    /** Figures since the start of this runtime. */
    report: () => control("GET", path),
    /** The latest requests with headers and body, oldest first. */
    latest: (): Promise<any[]> => control("GET", `${path}/latest`),
    /** Bodies that arrived, by digest. */
    arrival: async (digest: string) => {
      const { arrivals } = await control("GET", `${path}/arrivals?limit=10000`);
      return arrivals.find((arrival: any) => arrival.digest === digest);
    },
    /** Verifies every signature from now on. */
    verify: () => control("PUT", path, { secret: SECRETS.DESTINATION_SECRET }),
    /** Adds a misbehaviour. */
    behave: (behaviour: object) => control("POST", `${path}/behaviour`, behaviour),
    /** Ends all misbehaviour. */
    behaveWell: () => control("DELETE", `${path}/behaviour`),
    /** Answers when so many requests were accepted. */
    wait: (accepted: number) => control("POST", `${path}/wait`, { accepted, timeoutMs: 20_000 }),
  };
}
