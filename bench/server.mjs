/**
 * Starts builds of the Worker on `workerd serve`, with no proxy in front, and sends them load over loopback.
 *
 * Promise: bounded in count and time, ends by itself, leaves no process behind. The figure is the CPU time that the server
 * process used for the requests, from the operating system's own accounting. Out of scope: what is measured (its callers).
 */

import { spawn } from "node:child_process";
import { readFileSync, writeFileSync, mkdtempSync, rmSync, copyFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const CLASSES = ["Counters", "DeliveryLedger", "DeadLetterStore", "AuditLog", "Lifecycle", "Destination", "Watch"];
const BINDINGS = ["COUNTERS", "DELIVERY_LEDGER", "DEAD_LETTER_STORE", "AUDIT_LOG", "LIFECYCLE", "DESTINATIONS", "WATCH"];

/** Clock ticks a second of /proc; 100 on every Linux that Node runs on. */
const TICKS_PER_S = 100;

/** Text as a literal of Cap'n Proto's text format. */
const literal = (text) => JSON.stringify(text).replaceAll("\\u", "\\\\u");

/** Starts one build; `gateway` is the GATEWAY variable, `secrets` the Worker secrets. */
export async function start({ build, port, gateway, secrets }) {
  const folder = mkdtempSync(join(tmpdir(), "gateway-bench-"));
  copyFileSync(join(build, "index.js"), join(folder, "index.js"));
  copyFileSync(join(build, "index_bg.wasm"), join(folder, "index_bg.wasm"));
  const text = Object.entries(secrets).map(([name, value]) => `(name = ${literal(name)}, text = ${literal(value)})`);
  const objects = BINDINGS.map((name, n) => `(name = "${name}", durableObjectNamespace = "${CLASSES[n]}")`);
  const namespaces = CLASSES.map((name) => `(className = "${name}", uniqueKey = "bench-${name}", enableSql = true)`);
  writeFileSync(
    join(folder, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .gateway)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]);
const gateway :Workerd.Worker = (
  modules = [(name = "index.js", esModule = embed "index.js"), (name = "./index_bg.wasm", wasm = embed "index_bg.wasm")],
  compatibilityDate = "2026-11-01",
  bindings = [(name = "GATEWAY", json = ${literal(JSON.stringify(gateway))}), ${[...text, ...objects].join(", ")}],
  durableObjectNamespaces = [${namespaces.join(", ")}],
  durableObjectStorage = (inMemory = void));
`,
  );
  const workerd = join(root, "node_modules", ".bin", "workerd");
  const child = spawn(workerd, ["serve", "--experimental", join(folder, "config.capnp")], { stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr.on("data", (data) => (errors = (errors + data).slice(-4000)));
  const stop = async () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", () => child.kill("SIGKILL"));
  for (let tries = 0; tries < 200; tries += 1) {
    if (child.exitCode !== null) throw new Error(`workerd ended: ${errors}`);
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
    if (answer?.ok) return { pid: realPid(child.pid), port, stop, errors: () => errors };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await stop();
  throw new Error(`workerd did not answer: ${errors}`);
}

/** npm's `workerd` may be a Node script that runs the real one: the process that works is the youngest descendant. */
function realPid(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return children ? realPid(Number(children.split(" ")[0])) : pid;
}

/** CPU time that a process has used, in microseconds. */
export function cpuUs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_S) * 1e6;
}

/** Memory that a process has resident, now and at most, in megabytes. */
export function memoryMb(pid) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name) => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))[1]) / 1024;
  return { now: field("VmRSS"), peak: field("VmHWM") };
}

/** Sends `count` POSTs over `connections` kept connections and counts the answers by status. */
export async function send({ port, path, headers, body, count, connections }) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const statuses = {};
  let left = count;
  const one = () =>
    new Promise((resolve, reject) => {
      const call = request({ host: "127.0.0.1", port, path, method: "POST", agent, headers: { ...headers, "content-length": body.length } }, (answer) => {
        statuses[answer.statusCode] = (statuses[answer.statusCode] ?? 0) + 1;
        answer.resume();
        answer.on("end", resolve);
        answer.on("error", reject);
      });
      call.on("error", reject);
      call.end(body);
    });
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      await one();
    }
  };
  await Promise.all(Array.from({ length: connections }, lane));
  agent.destroy();
  return statuses;
}

export const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
