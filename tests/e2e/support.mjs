/**
 * What the end-to-end tests share: the release build under `wrangler dev` on a real port, the simulator beside it, and the
 * questions that tests ask of both.
 *
 * Promises: everything is on loopback, on ports of its own; every wait is bounded; what was started ends with the test file, also
 * when the file is killed. wrangler's own test harness is not used: it carries outgoing requests through Node's `fetch`, which
 * follows redirects, shows a broken connection as a 500 and does not notice an abort, so half of what is tested here would be
 * tested against something else. Out of scope: building (`npm run build` comes first).
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SIMULATOR = process.env.GENESYS_SIMULATOR ?? join(ROOT, "target/debug/genesys-simulator");

for (const [file, command] of [
  [join(ROOT, "build/index.js"), "npm run build -- --fast"],
  [SIMULATOR, "cargo build --workspace --bin genesys-simulator"],
]) {
  assert.ok(existsSync(file), `${file} is missing: \`${command}\` makes it`);
}

/** The cron of `wrangler.toml` that reconciles. */
const RECONCILE_CRON = "*/5 * * * *";

/** From the start of wrangler to the first answer; some seconds, more on a busy machine. */
const START_LIMIT_MS = 90_000;

/** One request to gateway or simulator. The slowest are runs with retries and bursts. */
const CALL_LIMIT_MS = 60_000;

/** Until what is counted outside of an answer can be read. */
const SETTLE_LIMIT_MS = 30_000;

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Asks `question` again until `enough` says so of its answer, and returns that; fails with the last one after a limit. */
export async function until(question, enough, what, limitMs = SETTLE_LIMIT_MS) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const answer = await question();
    if (enough(answer)) return answer;
    assert.ok(Date.now() < deadline, `${what} does not come about: ${JSON.stringify(answer)}`);
    await sleep(50);
  }
}

/** Name of the Worker secret of a source made by `source`. */
const secretOf = (name) => `SECRET_${name.toUpperCase().replaceAll("-", "_")}`;

/** A source as most tests need it: its own secret, and a subscription named after it. */
export function source(name, more = {}) {
  const subscription = { name: `Subscription of ${name}`, event_types: ["call:created", "call:answered"] };
  const made = { name, profile: "webhooks", secrets: [secretOf(name)], ...more };
  return { ...made, subscription: { ...subscription, ...more.subscription } };
}

async function request(base, method, path, { json, body, headers } = {}) {
  const response = await fetch(new URL(path, base), {
    method,
    headers,
    body: json === undefined ? body : JSON.stringify(json),
    redirect: "manual",
    signal: AbortSignal.timeout(CALL_LIMIT_MS),
  });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.startsWith("application/json") && text !== "";
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
}

// ---------------------------------------------------------------------------------------------------------- simulator

/** Starts a simulator; `config` is its `--config`. It ends with the test file. */
export async function startSimulator(config = {}) {
  const credentials = { id: "gateway-under-test", secret: randomBytes(24).toString("hex") };
  const whole = { seed: 7, clients: [credentials], ...config };
  const child = spawn(SIMULATOR, ["--exit-with-stdin", "--config", JSON.stringify(whole)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  after(async () => {
    const ended = child.exitCode ?? once(child, "exit");
    child.stdin.end();
    await ended;
  });
  const lines = createInterface({ input: child.stdout });
  const [line] = await Promise.race([once(lines, "line"), once(child, "error").then(([error]) => Promise.reject(error))]);
  return new Simulator(JSON.parse(line).baseUrl, credentials);
}

class Simulator {
  constructor(baseUrl, credentials) {
    this.baseUrl = baseUrl;
    this.credentials = credentials;
  }

  /** A call of the control API, which has to succeed. */
  async control(method, path, json) {
    const answer = await request(this.baseUrl, method, `/control/${path}`, { json });
    assert.ok(answer.status < 300, `${method} /control/${path}: ${answer.status} ${answer.text}`);
    return answer.json;
  }

  /** As at the start, for the next test. */
  async reset() {
    await this.control("POST", "reset");
    await this.control("PUT", "oauth/clients", this.credentials);
  }

  fault(fault) {
    return this.control("POST", "faults", fault);
  }

  subscriptions() {
    return this.control("GET", "subscriptions");
  }

  /** The one subscription of this name. */
  async subscription(name) {
    const named = (await this.subscriptions()).filter((subscription) => subscription.name === name);
    assert.equal(named.length, 1, `subscriptions named ${name}: ${named.map(({ id }) => id)}`);
    return named[0];
  }

  /** A webhook that the gateway did not make; its id. `owner` is the ownership mark. */
  async createWebhook({ name, address = "http://127.0.0.1:9/elsewhere", owner }) {
    const eventFilters = [{ eventType: "call:created", filter: "true" }];
    const customProperties = owner === undefined ? {} : { "webhook.created.by": owner };
    const body = { name, address, eventFilters, customProperties };
    return (await this.control("POST", "subscriptions", { api: "webhooks", body })).id;
  }

  /** The API requests so far, oldest first; with a method and a path, only those. */
  async requests(method, path) {
    const { latest } = await this.control("GET", "requests");
    const all = latest.map((one) => ({ ...one, ...parts(one.target) }));
    return all.filter((one) => (method ?? one.method) === one.method && (path === undefined || one.path.startsWith(path)));
  }

  /** Statuses of the requests with this method and path. */
  async statuses(method, path) {
    return (await this.requests(method, path)).map((one) => one.status);
  }

  /** Another client of the same organisation. Its requests are in the log too, so take it before the test counts. */
  async anotherWriter() {
    const other = { id: "another-writer", secret: "another-writers-secret" };
    await this.control("PUT", "oauth/clients", other);
    const basic = Buffer.from(`${other.id}:${other.secret}`).toString("base64");
    const token = await request(this.baseUrl, "POST", "/oauth/token", {
      headers: { authorization: `Basic ${basic}`, "content-type": "application/x-www-form-urlencoded" },
      body: "grant_type=client_credentials",
    });
    const authorization = `Bearer ${token.json.access_token}`;
    return {
      /** Reads the webhook, has it changed in place, writes it back. */
      change: async (id, edit) => {
        const path = `/api/v2/webhooks/webhooks/${id}`;
        const read = await request(this.baseUrl, "GET", path, { headers: { authorization } });
        const { id: _id, dateCreated: _created, dateModified: _modified, selfUri: _uri, ...fields } = read.json;
        edit(fields);
        const headers = { authorization, "if-match": read.headers.get("etag") };
        const written = await request(this.baseUrl, "PUT", path, { headers, json: fields });
        assert.equal(written.status, 200, written.text);
      },
    };
  }
}

function parts(target) {
  const { pathname, searchParams } = new URL(target, "http://simulator");
  return { path: pathname, query: Object.fromEntries(searchParams) };
}

// ------------------------------------------------------------------------------------------------------------ gateway

/**
 * Starts the gateway towards `simulator`; it ends with the test file.
 *
 * `gateway`: the GATEWAY variable, or a function that makes it from the gateway's own address. What it does not say of the
 * surroundings (where the vendor is, how the gateway is reached, that loopback is allowed) is added, unless `exactly` is set.
 * `without`: Worker secrets that are left out. `secrets`: those that are not drawn at random. `state`: a folder of the test's own, for a
 * gateway that is started again on what an earlier one stored.
 */
export async function startGateway(simulator, { gateway, exactly = false, without = [], secrets: givenSecrets = {}, state }) {
  const folder = mkdtempSync(join(tmpdir(), "gateway-e2e-"));
  const log = join(folder, "wrangler.log");
  const url = `http://127.0.0.1:${await freePort()}`;
  const given = typeof gateway === "function" ? gateway(url) : gateway;
  const vendor = { login_url: simulator.baseUrl, api_url: simulator.baseUrl };
  const variable = exactly ? given : { ...vendor, public_url: url, allow_private_addresses: true, ...given };
  const secrets = { ...drawSecrets(simulator, variable), ...givenSecrets };
  for (const name of without) delete secrets[name];
  const private_ = { mode: 0o600 };
  writeFileSync(log, "", private_);
  writeFileSync(join(folder, "wrangler.toml"), derivedConfiguration(variable), private_);
  writeFileSync(join(folder, ".dev.vars"), Object.entries(secrets).map(([name, value]) => `${name}="${value}"\n`).join(""), private_);
  const wrangler = [
    ...[join(ROOT, "node_modules/wrangler/bin/wrangler.js"), "dev", "--config", join(folder, "wrangler.toml")],
    ...["--ip", "127.0.0.1", "--port", new URL(url).port, "--inspector-port", String(await freePort())],
    ...["--persist-to", state ?? join(folder, "state"), "--log-level", "info", "--show-interactive-dev-session=false"],
  ];
  const supervisor = spawn(
    process.execPath,
    [fileURLToPath(new URL("supervisor.mjs", import.meta.url)), folder, log, process.execPath, ...wrangler],
    { cwd: ROOT, env: { ...process.env, ...quiet(folder) }, stdio: ["pipe", "pipe", "inherit"] },
  );
  let ended;
  supervisor.stdout.on("data", (text) => (ended = String(text).trim()));
  const stop = async () => {
    const gone = supervisor.exitCode ?? once(supervisor, "exit");
    supervisor.stdin.end();
    await gone;
  };
  after(stop);
  const started = new Gateway(url, secrets, log, state ?? join(folder, "state"), stop);
  const ready = async () => {
    if (ended !== undefined) assert.fail(`wrangler has ${ended}\n${started.log()}`);
    return fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) }).then((answer) => answer.status, () => 0);
  };
  await until(ready, (status) => status === 200, "the gateway's first answer", START_LIMIT_MS);
  return started;
}

/** Nothing that wrangler writes or asks goes beyond the folder and loopback. */
function quiet(folder) {
  return {
    CLOUDFLARE_CF_FETCH_ENABLED: "false",
    FORCE_COLOR: "0",
    NO_COLOR: "1",
    WRANGLER_CACHE_DIR: join(folder, "cache"),
    WRANGLER_HIDE_BANNER: "true",
    WRANGLER_LOG_PATH: join(folder, "logs"),
    WRANGLER_REGISTRY_PATH: join(folder, "registry"),
    WRANGLER_SEND_ERROR_REPORTS: "false",
    WRANGLER_SEND_METRICS: "false",
  };
}

/** The real `wrangler.toml` with another GATEWAY, without the build, as it has to stand outside of the project. */
function derivedConfiguration(variable) {
  const sections = readFileSync(join(ROOT, "wrangler.toml"), "utf8").split(/^(?=\[)/m);
  const kept = sections.filter((section) => !/^\[+(build\]|vars\.GATEWAY)/.test(section)).join("");
  const main = /^main = "(.*)"$/m;
  assert.match(kept, main);
  return `${kept.replace(main, (_, path) => `main = ${JSON.stringify(join(ROOT, path))}`)}\n[vars]\nGATEWAY = ${toml(variable)}\n`;
}

function toml(value) {
  if (Array.isArray(value)) return `[${value.map(toml).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{ ${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)} = ${toml(inner)}`).join(", ")} }`;
}

function drawSecrets(simulator, variable) {
  const secrets = {
    ADMIN_TOKEN: randomBytes(32).toString("hex"),
    GENESYS_CLIENT_ID: simulator.credentials.id,
    GENESYS_CLIENT_SECRET: simulator.credentials.secret,
  };
  for (const { secrets: named = [], destination } of variable.sources ?? []) {
    for (const name of named) secrets[name] = randomBytes(32).toString("hex");
    // As Standard Webhooks writes its keys.
    if (destination?.secret) secrets[destination.secret] = `whsec_${randomBytes(32).toString("base64")}`;
  }
  if (variable.alerts?.secret) secrets[variable.alerts.secret] = `whsec_${randomBytes(32).toString("base64")}`;
  return secrets;
}

/** A free port below the range from which systems take the ports of outgoing connections, so that it stays free. */
async function freePort() {
  for (let tries = 0; tries < 100; tries++) {
    const port = 10_000 + (randomBytes(2).readUInt16LE() % 20_000);
    const server = createTcpServer().listen(port, "127.0.0.1");
    const free = await once(server, "listening").then(() => true, () => false);
    server.close();
    if (free) return port;
  }
  throw new Error("no port is free");
}

class Gateway {
  #log;
  #answers = [];

  constructor(url, secrets, log, state, stop) {
    /** Ends it before the test file does. */
    this.stop = stop;
    /** The folder of everything that is stored: objects' databases, the bucket. */
    this.state = state;
    this.url = url;
    this.secrets = secrets;
    this.#log = log;
  }

  /** Where the vendor delivers to. */
  address(name) {
    return `${this.url}/webhook/${name}`;
  }

  /** A management call; `token: null` sends none. */
  async call(method, path, { token = this.secrets.ADMIN_TOKEN, headers, ...rest } = {}) {
    const authorization = token == null ? {} : { authorization: `Bearer ${token}` };
    const answer = await request(this.url, method, path, { ...rest, headers: { ...authorization, ...headers } });
    this.#answers.push(`${method} ${path}: ${answer.status} ${JSON.stringify([...answer.headers])} ${answer.text}`);
    return answer;
  }

  /** A management call that has to be answered with `status`; its JSON. */
  async ask(method, path, options = {}, status = 200) {
    const answer = await this.call(method, path, options);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.json;
  }

  /** Runs the scheduled handler that reconciles, as the platform's clock would. */
  async cron() {
    const query = new URLSearchParams({ cron: RECONCILE_CRON, format: "json" });
    const answer = await request(this.url, "GET", `/cdn-cgi/handler/scheduled?${query}`);
    assert.equal(answer.json?.outcome, "ok", answer.text);
  }

  /** One run now; its report. */
  reconcile({ dryRun = false } = {}) {
    return this.ask("POST", `/api/reconcile?dryRun=${dryRun}`);
  }

  /** The report of the last run. */
  async lastReport() {
    return (await this.ask("GET", "/api/reconcile")).report;
  }

  /** Posts a delivery signed with the source's secret, as the vendor would. */
  deliver(name, body, secret = this.secrets[secretOf(name)]) {
    const signature = createHmac("sha256", secret).update(body).digest("hex");
    return this.call("POST", `/webhook/${name}`, { token: null, body, headers: { "x-genesys-signature": signature } });
  }

  metrics() {
    return this.ask("GET", "/metrics");
  }

  /** What the metrics say of a source once `received` requests are counted and nothing is pending. */
  async settled(name, received) {
    const account = async () => (await this.metrics()).sources[name];
    return until(account, (now) => now?.received === received && now.pending === 0, `${received} settled of ${name}`);
  }

  /** All entries of a list call, page by page. */
  async all(path, key, limit = 100) {
    const found = [];
    let cursor;
    do {
      const url = new URL(path, this.url);
      url.searchParams.set("limit", limit);
      if (cursor) url.searchParams.set("cursor", cursor);
      const page = await this.ask("GET", url.pathname + url.search);
      found.push(...page[key]);
      cursor = page.nextCursor;
    } while (cursor);
    return found;
  }

  /** The number of the newest audit entry. */
  async auditedSoFar() {
    return (await this.ask("GET", "/api/audit?limit=1")).entries[0]?.seq ?? 0;
  }

  /** The audit entries behind number `seq`, oldest first. */
  async auditSince(seq) {
    const { entries } = await this.ask("GET", "/api/audit?limit=500");
    return entries.filter((entry) => entry.seq > seq).reverse();
  }

  /** What wrangler and the Worker have written. */
  log() {
    return readFileSync(this.#log, "utf8");
  }

  /** No secret and no access token is in any answer so far or in the log. */
  assertNoSecretShown() {
    const shown = this.#answers.join("\n") + this.log();
    const { GENESYS_CLIENT_ID: _public, ...secrets } = this.secrets;
    for (const [name, value] of Object.entries(secrets)) {
      for (const form of [value, Buffer.from(value).toString("base64"), value.replace("whsec_", "")]) {
        assert.ok(!shown.includes(form), `${name} is shown`);
      }
    }
    // The form of the simulator's access tokens.
    assert.doesNotMatch(shown, /sim-[0-9a-f]{8}-/);
  }
}

// ------------------------------------------------------------------------------------------------- the test's own server

/** A server in the test's own hands; `answer(request, response)` may be exchanged. It ends with the test file. */
export async function startServer(answer) {
  const own = { answer, seen: [] };
  const server = createServer((incoming, response) => {
    own.seen.push({ method: incoming.method, path: incoming.url, headers: incoming.headers });
    own.answer(incoming, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  own.url = `http://127.0.0.1:${server.address().port}`;
  return own;
}
