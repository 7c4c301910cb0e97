/** The client in Node, against the simulator and against a `fetch` that misbehaves. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { deferred } from "./support/deferred.mjs";
import { loadPackage } from "./support/paths.mjs";
import { expectScenario, scenario } from "./support/scenario.mjs";
import { clientSecret, startSimulator } from "./support/simulator.mjs";

const client = await loadPackage();
const { GenesysClient, GenesysError } = client;

const secret = "a-signing-secret-that-no-error-shows";
const declared = {
  api: "webhooks",
  name: "Calls",
  address: "https://hooks.example.com/webhook/calls",
  eventFilters: ["call:created"],
  secret,
};
const region = { region: "mypurecloud.com", clientId: "id", clientSecret };
const tokenAnswer = () => Response.json({ access_token: "an-access-token", expires_in: 86_400 });

/** A `fetch` that gives a token and leaves the rest to `answer`. */
const fetchWith = (answer) => async (url, init) => (url.endsWith("/oauth/token") ? tokenAnswer() : answer(url, init));

/** What a promise was rejected with; it must be one of ours and show no secret. */
async function rejection(promise) {
  const error = await promise.then(() => assert.fail("it was fulfilled"), (reason) => reason);
  assert.ok(error instanceof GenesysError && error instanceof Error, String(error));
  const shown = `${error.stack} ${JSON.stringify(error)}`;
  for (const hidden of [clientSecret, secret, "an-access-token", btoa(`id:${clientSecret}`)]) {
    assert.ok(!shown.includes(hidden), shown);
  }
  return error;
}

test("the scenario of all runtimes", async (context) => {
  const simulator = await startSimulator(context);
  expectScenario(assert, await scenario(client, simulator.options));
});

test("white space around credentials is not sent, and white space alone is none", async () => {
  for (const [clientId, clientSecret] of [["id\n", "s3cr3t\r\n"], [" id", "\ts3cr3t "]]) {
    const sent = [];
    const fetch = async (url, init) => {
      if (url.endsWith("/oauth/token")) sent.push(init.headers.authorization);
      return url.endsWith("/oauth/token") ? tokenAnswer() : Response.json({ entities: [] });
    };
    await new GenesysClient({ ...region, clientId, clientSecret, fetch }).subscriptions("webhooks").list();
    assert.deepEqual(sent, [`Basic ${btoa("id:s3cr3t")}`]);
  }
  const blank = () => new GenesysClient({ ...region, clientSecret: "\n" });
  assert.throws(blank, { code: "invalid_argument", message: "options.clientSecret: is required" });
});

test("a hundred callers at once share one token request", async (context) => {
  const simulator = await startSimulator(context);
  const genesys = new GenesysClient(simulator.options);
  const lists = await Promise.all(Array.from({ length: 100 }, () => genesys.subscriptions("webhooks").list()));
  assert.deepEqual(new Set(lists.map((list) => list.length)), new Set([0]));
  assert.equal(await simulator.count("POST /oauth/token"), 1);
});

test("a revoked token is replaced once, and the call repeated", async (context) => {
  const simulator = await startSimulator(context);
  const genesys = new GenesysClient(simulator.options);
  await genesys.eventTypes();
  await simulator.control("POST", "oauth/revoke");
  assert.ok((await genesys.eventTypes()).length > 0);
  assert.equal(await simulator.count("POST /oauth/token"), 2);
});

test("the state of one client lets the next go on with its token", async (context) => {
  const simulator = await startSimulator(context);
  const first = new GenesysClient(simulator.options);
  await first.subscriptions("webhooks").list();
  const second = new GenesysClient({ ...simulator.options, state: first.exportState() });
  await second.subscriptions("webhooks").list();
  assert.equal(await simulator.count("POST /oauth/token"), 1);
});

test("a create whose answer is lost is not made twice", async (context) => {
  const simulator = await startSimulator(context);
  await simulator.control("POST", "faults", { kind: "cut", method: "POST", applied: true, times: 1 });
  const report = await new GenesysClient(simulator.options).reconcile([declared], { probe: false });
  assert.equal(report.items[0].outcome, "applied", JSON.stringify(report));
  assert.equal(await simulator.count("POST /api/v2/webhooks/webhooks"), 1);
});

test("Retry-After is waited for", async (context) => {
  const simulator = await startSimulator(context);
  await simulator.control("POST", "faults", { kind: "rate_limited", times: 1, retryAfterS: 1 });
  assert.deepEqual(await new GenesysClient(simulator.options).subscriptions("webhooks").list(), []);
  assert.equal(await simulator.count("GET /api/v2/webhooks/webhooks"), 2);
});

test("two reconciliations of one client at once are refused", async (context) => {
  const simulator = await startSimulator(context);
  const genesys = new GenesysClient(simulator.options);
  const first = genesys.reconcile([declared], { probe: false });
  assert.equal((await rejection(genesys.reconcile([declared]))).code, "already_running");
  assert.equal((await first).applied, 1);
  assert.equal((await genesys.reconcile([declared], { probe: false })).unchanged, 1, "the first has ended");
});

test("an event type that does not exist fails its subscription and names what is near", async (context) => {
  const simulator = await startSimulator(context);
  const wrong = { ...declared, name: "Wrong", eventFilters: ["call:creatd"] };
  const report = await new GenesysClient(simulator.options).reconcile([declared, wrong], { probe: false });
  assert.deepEqual(report.items.map(({ outcome }) => outcome), ["applied", "failed"]);
  assert.equal(report.items[1].error.code, "unknown_event_type");
  assert.match(report.items[1].error.message, /call:created/);
  assert.ok(report.audit.some(({ action, webhookId }) => action === "CREATE" && webhookId));
});

test("a subscription of another owner is neither updated nor deleted without being told to", async (context) => {
  const simulator = await startSimulator(context);
  const { api, ...desired } = declared;
  const body = { name: desired.name, address: desired.address, enabled: true, eventFilters: [{ eventType: "call:created", filter: "true" }] };
  await simulator.control("POST", "subscriptions", { api, body });
  const webhooks = new GenesysClient(simulator.options).subscriptions("webhooks");
  const [{ id }] = await webhooks.list();
  assert.equal((await rejection(webhooks.update(id, desired))).code, "not_owned");
  assert.equal((await rejection(webhooks.delete(id))).code, "not_owned");
  const { changes } = await webhooks.update(id, { ...desired, adopt: true });
  assert.ok(changes.some(({ field, to }) => field === "secret" && to === "changed"));
  assert.equal((await webhooks.delete(id, { anyOwner: true })).status, 204);
});

test("a probe says whether an address answers, and refuses private ones", async (context) => {
  const simulator = await startSimulator(context);
  const genesys = new GenesysClient(simulator.options);
  const found = await genesys.probe(`${simulator.baseUrl}/sink/probe`);
  assert.deepEqual([found.reachable, found.status, found.method], [true, 204, "HEAD"]);
  const strict = new GenesysClient(region);
  for (const url of ["https://169.254.169.254/", "https://localhost/", "http://example.com/", "nonsense", ""]) {
    assert.equal((await rejection(strict.probe(url))).code, "address_refused", url);
  }
});

test("a missing permission is named, with what the vendor's support asks for", async (context) => {
  const simulator = await startSimulator(context);
  await simulator.control("PUT", "oauth/clients", { id: "poor", secret: clientSecret, permissions: [] });
  const genesys = new GenesysClient({ ...simulator.options, clientId: "poor" });
  const error = await rejection(genesys.eventTypes());
  assert.deepEqual([error.code, error.status, error.fault], ["missing_permission", 403, "configuration"]);
  assert.ok(error.correlationId && error.vendorCode);
});

test("an address without a listener is a finding, with the system's own code", async (context) => {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  await new Promise((resolve) => server.close(resolve));
  const genesys = new GenesysClient({ ...region, region: undefined, loginUrl: url, apiUrl: url, allowPrivateAddresses: true });
  const probe = await genesys.probe(url);
  assert.equal(probe.reachable, false);
  assert.match(probe.error, /ECONNREFUSED/);
});

test("a fetch that never answers is given up after its time, and told so", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let signal;
  const asked = deferred();
  const fetch = (_url, init) => {
    signal = init.signal;
    asked.resolve();
    return new Promise(() => {});
  };
  const probe = new GenesysClient({ ...region, fetch }).probe("https://hooks.example.com/");
  await asked.promise;
  assert.equal(signal.aborted, false);
  context.mock.timers.tick(5_000);
  assert.deepEqual((await probe).error, "no answer within 5000 ms");
  assert.equal(signal.aborted, true);
});

test("requests follow no redirect and carry what the vendor expects", async () => {
  const seen = [];
  const fetch = fetchWith((url, init) => {
    seen.push({ url, ...init });
    return new Response(null, { status: 302, headers: { location: "https://elsewhere.example/" } });
  });
  const error = await rejection(new GenesysClient({ ...region, fetch }).eventTypes());
  assert.equal(error.status, 302);
  assert.equal(seen.length, 1);
  assert.equal(seen[0].redirect, "manual");
  assert.equal(seen[0].headers.authorization, "Bearer an-access-token");
  assert.ok(seen[0].url.startsWith("https://api.mypurecloud.com/api/v2/eventtypes?"));
});

test("an answer that is too long is cut off", async (context) => {
  let pulled = 0;
  let cancelled = false;
  const fetch = fetchWith(
    (_url, { signal }) => new Response(new ReadableStream({
      start: (controller) => signal.addEventListener("abort", () => {
        cancelled = true;
        controller.error(signal.reason);
      }),
      pull: (controller) => {
        pulled += 1;
        controller.enqueue(new Uint8Array(1_048_576));
      },
    })),
  );
  const genesys = new GenesysClient({ ...region, fetch });
  const report = await genesys.plan([declared], { maxRequests: 1 });
  assert.match(report.items[0].error.message, /longer than 8388608 bytes/);
  assert.ok(pulled <= 10, `${pulled} MB were read`);
  assert.ok(cancelled);
});

test("a foreign fetch may throw, give nonsense or quote what it was given", async (context) => {
  // Without jitter, waits before a repetition are of 0 ms.
  context.mock.method(Math, "random", () => 0);
  const quoting = fetchWith((_url, init) => {
    throw new Error(`cannot send ${JSON.stringify(init.headers)}`);
  });
  const textStream = { getReader: () => ({ read: () => ({ value: "text" }) }) };
  const nonsense = [undefined, null, 7, {}, { status: "x" }, { status: 200, headers: [], body: textStream }];
  const throwing = () => {
    throw undefined;
  };
  const misbehaving = [quoting, throwing, ...nonsense.flatMap((value) => [() => value, fetchWith(() => value)])];
  for (const fetch of misbehaving) {
    const report = await new GenesysClient({ ...region, fetch }).plan([declared]);
    assert.equal(report.items[0].outcome, "failed", fetch.toString());
    assert.equal(report.items[0].error.fault, "network", JSON.stringify(report.items[0].error));
    assert.ok(!JSON.stringify(report).includes("an-access-token"));
  }
  const login = (_url, init) => Promise.reject(new Error(`cannot send ${init.headers.authorization}`));
  const report = await new GenesysClient({ ...region, fetch: login }).plan([declared]);
  assert.equal(report.items[0].error.code, "token_no_answer");
  assert.ok(!JSON.stringify(report).includes(btoa(`id:${clientSecret}`)), JSON.stringify(report));
});

test("a wrong call is an error that names the argument and shows no value", async () => {
  const make = (options) => () => new GenesysClient(options);
  const genesys = new GenesysClient(region);
  for (const [call, message] of [
    [make(undefined), /^options: expected an object, found undefined$/],
    [make({ ...region, clientSecret: 4_711 }), /^options\.clientSecret: expected a string, found number$/],
    [make({ ...region, clientSecret: "" }), /^options\.clientSecret: is required$/],
    [make({ ...region, region: "mypurecloud.ei" }), /did you mean .*mypurecloud\.ie/],
    [make({ ...region, loginUrl: "https://login.example.com" }), /either region, or loginUrl and apiUrl/],
    [make({ ...region, region: undefined, loginUrl: "https://a.example", apiUrl: "http://b.example" }), /^options\.apiUrl: /],
    [make({ ...region, timeout: 5 }), /^options\.timeout: is not known; there are region, /],
    [make({ ...region, fetch: "fetch" }), /^options\.fetch: expected a function, found string$/],
    [make({ ...region, state: "{}" }), /^options\.state: expected what exportState gave$/],
    [() => genesys.subscriptions("webhook"), /^api: expected "webhooks" or "open-messaging"$/],
    [() => genesys.plan("x"), /^desired: expected an array, found string$/],
    [() => genesys.plan([{ ...declared, api: undefined }]), /^desired\[0\]\.api: is required$/],
    [() => genesys.plan([declared, { ...declared, secret: undefined }]), /^desired\[1\]\.secret: is required$/],
    [() => genesys.plan([{ ...declared, eventFilters: [7] }]), /^desired\[0\]\.eventFilters: expected names/],
    [() => genesys.plan([{ ...declared, adress: "" }]), /^desired\[0\]\.adress: is not known/],
    [() => genesys.reconcile([], { timeoutMs: -1 }), /^options\.timeoutMs: expected a whole number, not negative, found number$/],
    [() => genesys.probe(7), /^url: expected a string, found number$/],
    [() => genesys.subscriptions("webhooks").get(7), /^id: expected a string, found number$/],
  ]) {
    const error = await rejection((async () => call())());
    assert.deepEqual([error.code, error.fault], ["invalid_argument", "caller"]);
    assert.match(error.message, message);
  }
});

test("an id that leads elsewhere is refused before anything is sent", async () => {
  const fetch = () => assert.fail("nothing may be sent");
  const webhooks = new GenesysClient({ ...region, fetch }).subscriptions("webhooks");
  for (const id of ["../tokens", "", "a/b", "a?b"]) assert.equal((await rejection(webhooks.get(id))).code, "invalid");
});
