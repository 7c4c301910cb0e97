/**
 * Starts builds of the Worker on `workerd serve`, with no proxy in front, and sends them load over loopback.
 *
 * Promise: bounded in count and time, ends by itself, leaves no process behind. The figure is the CPU time that the server
 * process used for the requests, from the operating system's own accounting. Out of scope: what is measured (its callers).
 */

import { spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const CLASSES = ["Counters", "DeliveryLedger", "DeadLetterStore", "AuditLog", "Lifecycle", "Destination", "Watch"];
const BINDINGS = ["COUNTERS", "DELIVERY_LEDGER", "DEAD_LETTER_STORE", "AUDIT_LOG", "LIFECYCLE", "DESTINATIONS", "WATCH"];

/** Text as a literal of Cap'n Proto's text format. */
const literal = (text) => JSON.stringify(text).replaceAll("\\u", "\\\\u");

/** Modules and classes of each kind of server. */
const WORKERS = {
  javascript: "bench/workers/javascript.js",
  floor: "bench/workers/floor.js",
};

/** A configuration of workerd: the Worker, and where `sinks` is set what stands behind its queues and its bucket. */
function configuration({ modules, port, gateway, secrets, classes, sinks }) {
  const text = Object.entries(secrets).map(([name, value]) => `(name = ${literal(name)}, text = ${literal(value)})`);
  const objects = classes ? BINDINGS.map((name, n) => `(name = "${name}", durableObjectNamespace = "${CLASSES[n]}")`) : [];
  const namespaces = classes ? CLASSES.map((name) => `(className = "${name}", uniqueKey = "bench-${name}", enableSql = true)`) : [];
  const stores = sinks
    ? [`(name = "DELIVERIES", queue = "sinks")`, `(name = "DEAD_LETTERS", queue = "sinks")`, `(name = "PAYLOADS", r2Bucket = "sinks")`]
    : [];
  const sinksService = sinks ? `, (name = "sinks", worker = .sinks)` : "";
  const sinksWorker = `const sinks :Workerd.Worker = (modules = [(name = "sinks.js", esModule = embed "sinks.js")], compatibilityDate = "2026-11-01");`;
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .gateway)${sinksService}],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]);
const gateway :Workerd.Worker = (
  modules = [${modules}],
  compatibilityDate = "2026-11-01",
  bindings = [${[`(name = "GATEWAY", json = ${literal(JSON.stringify(gateway))})`, ...text, ...objects, ...stores].join(", ")}],
  ${classes ? `durableObjectNamespaces = [${namespaces.join(", ")}], durableObjectStorage = (inMemory = void)` : ""});
${sinks ? sinksWorker : ""}
`;
}

/**
 * Starts one server: `build`, the folder of a build of the Worker, or `kind`: "javascript", "floor" (workerd) or "express".
 * `gateway` is the GATEWAY variable, `secrets` the Worker secrets; `sinks` binds queues and bucket to a service that forgets.
 */
export async function start({ build, kind = "gateway", port, gateway, secrets, sinks = false, inspector }) {
  const folder = mkdtempSync(join(tmpdir(), "gateway-bench-"));
  const startedAt = performance.now();
  let child;
  if (kind === "express") {
    const env = { ...process.env, NODE_ENV: "production", WEBHOOK_SECRET: Object.values(secrets)[0] };
    child = spawn(process.execPath, [join(root, "bench/express/server.mjs"), String(port)], { stdio: ["ignore", "ignore", "pipe"], env });
  } else {
    let modules = `(name = "worker.js", esModule = embed "worker.js")`;
    if (kind === "gateway") {
      copyFileSync(join(build, "index.js"), join(folder, "index.js"));
      copyFileSync(join(build, "index_bg.wasm"), join(folder, "index_bg.wasm"));
      modules = `(name = "index.js", esModule = embed "index.js"), (name = "./index_bg.wasm", wasm = embed "index_bg.wasm")`;
    } else {
      copyFileSync(join(root, WORKERS[kind]), join(folder, "worker.js"));
    }
    if (sinks) copyFileSync(join(root, "bench/workers/sinks.js"), join(folder, "sinks.js"));
    writeFileSync(join(folder, "config.capnp"), configuration({ modules, port, gateway, secrets, classes: kind === "gateway", sinks }));
    const inspect = inspector ? [`--inspector-addr=127.0.0.1:${inspector}`] : [];
    const arguments_ = ["serve", "--experimental", ...inspect, join(folder, "config.capnp")];
    child = spawn(workerdBinary(), arguments_, { stdio: ["ignore", "ignore", "pipe"] });
  }
  let errors = "";
  child.stderr.on("data", (data) => (errors = (errors + data).slice(-4000)));
  const atExit = () => child.kill("SIGKILL");
  process.once("exit", atExit);
  const stop = async () => {
    process.off("exit", atExit);
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  // Where nobody listens yet the refusal is immediate; a pause of a millisecond is the resolution of the start-up time.
  const deadline = startedAt + 20_000;
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the server ended: ${errors}`);
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
    if (answer?.ok) {
      const readyMs = performance.now() - startedAt;
      await answer.arrayBuffer();
      return { pid: realPid(child.pid), port, stop, errors: () => errors, readyMs };
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await stop();
  throw new Error(`the server did not answer: ${errors}`);
}

/** The program itself; npm's `workerd` is a Node script around it, whose start would be measured too. */
function workerdBinary() {
  const native = join(root, "node_modules", "@cloudflare", `workerd-${process.platform}-${process.arch === "x64" ? "64" : process.arch}`, "bin", "workerd");
  return existsSync(native) ? native : join(root, "node_modules", ".bin", "workerd");
}

/** npm's `workerd` may be a Node script that runs the real one: the process that works is the youngest descendant. */
function realPid(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return children ? realPid(Number(children.split(" ")[0])) : pid;
}

/** CPU time that the threads of a process have used, in microseconds, from the scheduler's own clock (nanoseconds). */
export function cpuUs(pid) {
  const task = `/proc/${pid}/task`;
  return readdirSync(task).reduce((sum, thread) => sum + Number(readFileSync(`${task}/${thread}/schedstat`, "utf8").split(" ")[0]) / 1e3, 0);
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
