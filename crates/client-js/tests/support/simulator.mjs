/** The simulator, one process a test, on a port that the system chooses. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { simulator } from "./paths.mjs";

export const clientId = "tests";
export const clientSecret = "a-client-secret-that-no-error-shows";

/** Starts a simulator; it ends with the test `context`, or with this process. */
export async function startSimulator(context, settings = {}) {
  const args = ["--exit-with-stdin", "--port", "0", "--client-id", clientId, "--client-secret", clientSecret];
  const child = spawn(simulator, args, { stdio: ["pipe", "pipe", "inherit"] });
  const failed = once(child, "error").then(([error]) => Promise.reject(error));
  const [line] = await Promise.race([once(createInterface(child.stdout), "line"), failed]);
  failed.catch(() => {});
  const { baseUrl } = JSON.parse(line);
  context.after(async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, "exit");
  });

  const control = async (method, path, body) => {
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${baseUrl}/control/${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  };
  await control("PATCH", "settings", { cors: true, ...settings });
  const options = { loginUrl: baseUrl, apiUrl: baseUrl, clientId, clientSecret, allowPrivateAddresses: true };
  return {
    baseUrl,
    control,
    /** What a client of this simulator is made from. */
    options,
    /** How many requests arrived whose route begins so, as in `POST /oauth/token`. */
    async count(route) {
      const { latest } = await control("GET", "requests");
      return latest.filter(({ method, target }) => `${method} ${target}`.startsWith(route)).length;
    },
  };
}
