/** The examples of the README, pasted into files and run as they are. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { installed, loadPackage, packageDir } from "./support/paths.mjs";
import { clientId, clientSecret, startSimulator } from "./support/simulator.mjs";

const { sign } = await loadPackage();
const secret = "a-signing-secret-of-the-example";

/** The README's example that begins with the comment `// {name}`. */
function example(name) {
  const blocks = readFileSync(join(packageDir, "README.md"), "utf8").matchAll(/```js\n(.*?)```/gs);
  const found = [...blocks].map(([, code]) => code).find((code) => code.startsWith(`// ${name}\n`));
  assert.ok(found, `the README has an example ${name}`);
  return found;
}

function run(context, name, args, env) {
  const dir = installed(context);
  writeFileSync(join(dir, name), example(name));
  const child = spawn(process.execPath, [...args, join(dir, name)], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  context.after(() => child.kill());
  return child;
}

test("the receiver accepts what is signed and refuses the rest", async (context) => {
  const child = run(context, "receiver.mjs", [], { WEBHOOK_SECRET: secret, PORT: "0" });
  const [line] = await once(createInterface(child.stdout), "line");
  const url = `http://127.0.0.1:${/port (\d+)$/.exec(line)[1]}/`;
  const post = async (text, headers) => {
    const response = await fetch(url, { method: "POST", body: text, headers });
    return [response.status, await response.json()];
  };
  const signed = (text) => sign(new TextEncoder().encode(text), secret, "webhooks");
  const good = '{"events":[{},{}]}';
  assert.deepEqual(await post(good, signed(good)), [200, { received: true, eventCount: 2 }]);
  assert.deepEqual((await post(good, signed("other")))[0], 401);
  assert.deepEqual((await post(good, {}))[1].error, "missing_signature");
  assert.deepEqual((await post("{}", signed("{}")))[1].error, "invalid_envelope");
});

test("the subscription is created, and found unchanged the second time", async (context) => {
  const simulator = await startSimulator(context);
  // The example talks to a region: its hosts are played by the simulator.
  const redirect = `const real = globalThis.fetch;
    globalThis.fetch = (url, init) => real(url.replace(/^https:\\/\\/(login|api)\\.mypurecloud\\.com/, ${JSON.stringify(simulator.baseUrl)}), init);`;
  const args = ["--import", `data:text/javascript,${encodeURIComponent(redirect)}`];
  const env = { GENESYS_CLIENT_ID: clientId, GENESYS_CLIENT_SECRET: clientSecret, WEBHOOK_SECRET: secret };
  for (const expected of ["create, applied", "unchanged, unchanged"]) {
    const child = run(context, "subscriptions.mjs", args, env);
    const [text, [code]] = await Promise.all([child.stdout.toArray(), once(child, "exit")]);
    assert.equal(text.join("").trim(), `Production Webhook: ${expected}`);
    assert.equal(code, 0);
  }
});
