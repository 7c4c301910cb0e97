/**
 * Starts the servers that are measured, each in a process of its own and with no proxy in front, and reads from the operating
 * system what they use.
 *
 * Promise: every server is ended with this process, its folder is removed. Out of scope: load (`load.mjs`), what is measured.
 */

import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const CLASSES = ["Counters", "DeliveryLedger", "DeadLetterStore", "AuditLog", "Lifecycle", "Destination", "Monitor"];
const BINDINGS = ["COUNTERS", "DELIVERY_LEDGER", "DEAD_LETTER_STORE", "AUDIT_LOG", "LIFECYCLE", "DESTINATIONS", "MONITOR"];

/** Name of the queue of deliveries. */
const DELIVERIES = "genesys-deliveries";

/** Clock ticks a second of /proc; 100 on every Linux that Node runs on. */
const TICKS_PER_S = 100;

/** Text as a literal of Cap'n Proto's text format. */
const literal = (text) => JSON.stringify(text).replaceAll("\\u", "\\\\u");

/** Where Durable Objects keep their SQLite files: the objects that workerd keeps in memory have no SQL. */
function disk(folder) {
  mkdirSync(join(folder, "objects"));
  return `, (name = "disk", disk = (path = ${literal(join(folder, "objects"))}, writable = true))`;
}

/** A port that is free now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Has an HTTP server of this process listen on any free port; `stop` ends it with its connections. */
export async function listen(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { port: server.address().port, stop };
}

/** Starts a program that listens on `port` and waits for its first answer; `startMs` is the time until then. */
async function launch(program, args, port, cleanUp = () => {}) {
  const started = performance.now();
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr.on("data", (data) => (errors = (errors + data).slice(-4000)));
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const stop = async () => {
    process.off("exit", kill);
    if (child.exitCode === null && child.signalCode === null) {
      kill();
      await new Promise((resolve) => child.once("exit", resolve));
    }
    cleanUp();
  };
  while (performance.now() - started < 10_000 && child.exitCode === null) {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
    if (answer && answer.status < 300) {
      return { pid: realPid(child.pid), port, stop, errors: () => errors, startMs: performance.now() - started };
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await stop();
  throw new Error(`${program} did not answer: ${errors}`);
}

/** npm's `workerd` may be a Node script that runs the real one: the process that works is the youngest descendant. */
function realPid(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return children ? realPid(Number(children.split(" ")[0])) : pid;
}

/** The program itself where npm has it, so that starting it does not include starting a Node that starts it. */
function workerd() {
  const native = join(root, "node_modules", "@cloudflare", `workerd-${process.platform}-${process.arch === "x64" ? "64" : process.arch}`, "bin", "workerd");
  return existsSync(native) ? native : join(root, "node_modules", ".bin", "workerd");
}

/**
 * A Worker on `workerd serve`.
 *
 * @param files     module names and their paths; the first is the entry
 * @param variables JSON bindings
 * @param secrets   text bindings
 * @param sinkPort  where the bindings DELIVERIES, DEAD_LETTERS and PAYLOADS lead; without it there are none
 * @param objects   whether the gateway's Durable Objects are there
 * @param v8Flags   flags of the engine
 * @param args      more arguments of workerd
 * @param compiled  whether its configuration is read as text or compiled before: a platform reads none while an instance starts
 */
export async function startWorker({ files, variables = {}, secrets = {}, sinkPort, objects = false, v8Flags = [], args = [], compiled = false }) {
  const folder = mkdtempSync(join(tmpdir(), "gateway-bench-"));
  const port = await freePort();
  const modules = Object.entries(files).map(([name, path], n) => {
    copyFileSync(path, join(folder, `module-${n}`));
    return `(name = "${name}", ${name.endsWith(".wasm") ? "wasm" : "esModule"} = embed "module-${n}")`;
  });
  const bindings = [
    ...Object.entries(variables).map(([name, value]) => `(name = ${literal(name)}, json = ${literal(JSON.stringify(value))})`),
    ...Object.entries(secrets).map(([name, value]) => `(name = ${literal(name)}, text = ${literal(value)})`),
  ];
  if (sinkPort) {
    bindings.push('(name = "DELIVERIES", queue = "sink")', '(name = "DEAD_LETTERS", queue = "sink")', '(name = "PAYLOADS", r2Bucket = "sink")');
  }
  if (objects) bindings.push(...BINDINGS.map((name, n) => `(name = "${name}", durableObjectNamespace = "${CLASSES[n]}")`));
  const namespaces = objects ? CLASSES.map((name) => `(className = "${name}", uniqueKey = "bench-${name}", enableSql = true)`) : [];
  const sink = sinkPort ? `, (name = "sink", external = (address = "127.0.0.1:${sinkPort}", http = ()))` : "";
  writeFileSync(
    join(folder, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .tested)${sink}${objects ? disk(folder) : ""}],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")], v8Flags = ${JSON.stringify(v8Flags)});
const tested :Workerd.Worker = (
  modules = [${modules.join(", ")}], compatibilityDate = "2026-11-01", bindings = [${bindings.join(", ")}],
  durableObjectNamespaces = [${namespaces.join(", ")}]${objects ? ', durableObjectStorage = (localDisk = "disk")' : ""});
`,
  );
  const remove = () => rmSync(folder, { recursive: true, force: true });
  let configuration = [join(folder, "config.capnp")];
  if (compiled) {
    const binary = execFileSync(workerd(), ["compile", "--config-only", ...configuration], { maxBuffer: 100_000_000 });
    configuration = ["--binary", join(folder, "config.bin")];
    writeFileSync(configuration[1], binary);
  }
  return launch(workerd(), ["serve", "--experimental", ...args, ...configuration], port, remove);
}

/** A build of the gateway; `gateway` is the GATEWAY variable, `secrets` the Worker secrets. */
export function start({ build, gateway, secrets, sinkPort, v8Flags, args, compiled }) {
  const files = { "index.js": join(build, "index.js"), "./index_bg.wasm": join(build, "index_bg.wasm") };
  return startWorker({ files, variables: { GATEWAY: gateway }, secrets, sinkPort, objects: true, v8Flags, args, compiled });
}

/**
 * The whole system in one process: the gateway, its queues (`workers/broker.js`), its objects, and the way out to loopback.
 *
 * @param main       the text of a module in front of the build, which it imports as `./index.js`
 * @param gatherMs   how long the queue waits for a batch to fill
 * @param batch      the most messages in a batch
 * @param isHeld     whether the queue of deliveries keeps everything until `release` is called
 * @param bucketPort where the binding PAYLOADS leads (`bucket.mjs`); without it bodies have to fit into a message
 * @param args       more arguments of workerd
 */
export async function startSystem({ build, gateway, secrets, main, gatherMs = 20, batch = 50, isHeld = false, bucketPort, args = [] }) {
  const folder = mkdtempSync(join(tmpdir(), "gateway-bench-"));
  const [port, brokerPort] = [await freePort(), await freePort()];
  for (const name of ["index.js", "index_bg.wasm"]) copyFileSync(join(build, name), join(folder, name));
  copyFileSync(join(root, "bench", "workers", "broker.js"), join(folder, "broker.js"));
  if (main !== undefined) writeFileSync(join(folder, "main.js"), main);
  const front = main === undefined ? "" : '(name = "main.js", esModule = embed "main.js"), ';
  // With a module in front, what it imports keeps the name by which it does.
  const own = main === undefined ? "index.js" : "./index.js";
  const bindings = [
    `(name = "GATEWAY", json = ${literal(JSON.stringify(gateway))})`,
    '(name = "DELIVERIES", queue = "deliveries")',
    '(name = "DEAD_LETTERS", queue = "dead-letters")',
    ...Object.entries(secrets).map(([name, value]) => `(name = ${literal(name)}, text = ${literal(value)})`),
    ...BINDINGS.map((name, n) => `(name = "${name}", durableObjectNamespace = "${CLASSES[n]}")`),
    ...(bucketPort ? ['(name = "PAYLOADS", r2Bucket = "bucket")'] : []),
  ];
  const bucket = bucketPort ? `, (name = "bucket", external = (address = "127.0.0.1:${bucketPort}", http = ()))` : "";
  const namespaces = CLASSES.map((name) => `(className = "${name}", uniqueKey = "bench-${name}", enableSql = true)`);
  const broker = (queue) => `(
  modules = [(name = "broker.js", esModule = embed "broker.js")], compatibilityDate = "2026-11-01",
  compatibilityFlags = ["service_binding_extra_handlers"],
  bindings = [(name = "QUEUE", text = "${queue}"), (name = "GATHER_MS", text = "${gatherMs}"), (name = "BATCH", text = "${batch}"),
    (name = "IS_HELD", text = "${isHeld && queue === DELIVERIES}"), (name = "GATEWAY", service = "main")])`;
  writeFileSync(
    join(folder, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .gateway), (name = "deliveries", worker = .deliveries),
    (name = "dead-letters", worker = .letters), (name = "out", network = (allow = ["private", "local"]))${bucket}${disk(folder)}],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main"),
    (name = "broker", address = "127.0.0.1:${brokerPort}", http = (), service = "deliveries")]);
const gateway :Workerd.Worker = (
  modules = [${front}(name = "${own}", esModule = embed "index.js"), (name = "./index_bg.wasm", wasm = embed "index_bg.wasm")],
  compatibilityDate = "2026-11-01", globalOutbound = "out", bindings = [${bindings.join(", ")}],
  durableObjectNamespaces = [${namespaces.join(", ")}], durableObjectStorage = (localDisk = "disk"));
const deliveries :Workerd.Worker = ${broker(DELIVERIES)};
const letters :Workerd.Worker = ${broker("genesys-dead-letters")};
`,
  );
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const server = await launch(workerd(), ["serve", "--experimental", ...args, join(folder, "config.capnp")], port, remove);
  const ask = async (what) => (await fetch(`http://127.0.0.1:${brokerPort}/${what}`)).json();
  return { ...server, seen: () => ask("seen"), release: () => ask("release") };
}

/** A Node program that takes its port as its first argument. */
export async function startNode(script, args) {
  const port = await freePort();
  return launch(process.execPath, [script, String(port), ...args.map(String)], port);
}

/** CPU time that a process has used, in microseconds: nanoseconds of its threads where the kernel tells them, else ticks. */
export function cpuUs(pid) {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]), 0) / 1_000;
  } catch {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
    return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_S) * 1e6;
  }
}

/** Memory that a process has resident, now and at most, in megabytes. */
export function memoryMb(pid) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name) => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))[1]) / 1024;
  return { now: field("VmRSS"), peak: field("VmHWM") };
}
