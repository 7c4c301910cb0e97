/** Nothing that happens inside the module ends the process or leaves a promise open: memory that is used up is an error. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { loadPackage, packageDir } from "./support/paths.mjs";

const { GenesysClient, GenesysError, sign, verify } = await loadPackage();
const { initSync } = await import(pathToFileURL(join(packageDir, "genesys_client.js")).href);

const secret = "0123456789abcdef0123";
const small = new TextEncoder().encode('{"events":[]}');

test("a panic fails its call as an error that says where it was, and no more", () => {
  // More than an address of WebAssembly can count, so that no vector can hold it. The host does not fill it.
  const endless = new Uint8Array(2 ** 31 + 1);
  assert.throws(() => verify({}, endless, secret, "webhooks"), (error) => {
    assert.ok(error instanceof GenesysError && error.cause instanceof WebAssembly.RuntimeError, error.stack);
    assert.match(error.message, /^internal error at \S+\.rs:\d+$/);
    return error.code === "internal_error";
  });
  assert.equal(verify(sign(small, secret, "webhooks"), small, secret, "webhooks").ok, true);
});

test("when no memory is left a call fails as an error, and smaller ones still work", async (context) => {
  // A call that was cut off cannot end its timer, for which the process would wait.
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const tokens = { access_token: "t", expires_in: 86_400 };
  const page = { entities: [], pageCount: 1, total: 0, padding: "x".repeat(1_000_000) };
  const fetch = async (url) => Response.json(url.endsWith("/oauth/token") ? tokens : page);
  const genesys = new GenesysClient({ region: "mypurecloud.com", clientId: "id", clientSecret: "s", fetch });
  assert.deepEqual(await genesys.subscriptions("webhooks").list(), [], "there is memory at first");

  // Called again, the initialisation gives the exports of the instance that is there. Another taker uses up its memory.
  const { memory } = initSync();
  for (let pages = 65_536; pages > 0; ) {
    try {
      memory.grow(pages);
    } catch {
      pages = Math.floor(pages / 2);
    }
  }
  const large = new Uint8Array(64 * 1_048_576);
  const noMemory = (error) => error instanceof GenesysError && error.code === "internal_error" && error.fault === "ours";
  for (let turn = 0; turn < 1_000; turn += 1) {
    assert.equal(verify(sign(small, secret, "webhooks"), small, secret, "webhooks").ok, true);
    assert.throws(() => verify({}, large, secret, "webhooks"), noMemory, "the stack is as it was");
  }
  page.padding = "x".repeat(8_000_000);
  await assert.rejects(genesys.subscriptions("webhooks").list(), noMemory, "the promise is settled");
});
