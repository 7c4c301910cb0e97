/**
 * The envelope scanner as it is built for wasm, with its vector instructions, against `JSON.parse`: the same texts are JSON, the same
 * number of events is in them, and where a text is none, both name the same byte.
 *
 *   npm test -- --only wasm
 *
 * It builds crates/webhook/examples/scan.rs as the Worker is built (release, simd128). Documents come from a fixed seed.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TARGET = "wasm32-unknown-unknown";
const DOCUMENTS = 10_000;
/** Changed forms of each document. */
const CHANGES = 12;
/** Bytes that mean something in JSON, and some that mean nothing. */
const TELLING = Buffer.from('"\\{}[]:,tfn0159-+.eEu/ \n\r\tax\x00\x1f\x7f\x80\xbf\xc3\xed\xf0\xff', "latin1");

function scanner() {
  const build = ["build", "--release", "--package", "genesys-webhook", "--example", "scan", "--target", TARGET, "--message-format", "json"];
  const messages = execFileSync("cargo", build, { cwd: ROOT, encoding: "utf8", maxBuffer: 1e9, stdio: ["ignore", "pipe", "inherit"] });
  const artifacts = messages.trim().split("\n").map((line) => JSON.parse(line)).filter(({ target }) => target?.name === "scan");
  const file = artifacts.flatMap(({ filenames }) => filenames ?? []).find((name) => name.endsWith(".wasm"));
  return new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file))).exports;
}

/** mulberry32 */
let state = 20_260_927;
function random(below) {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
}

const pick = (list) => list[random(list.length)];

function value(depth) {
  switch (random(depth > 4 ? 6 : 9)) {
    case 0:
      return pick([null, true, false]);
    case 1:
      return pick([0, -0.5, 12.25e10, 1e-7, 123_456_789, random(1_000)]);
    case 2:
      return "x".repeat(random(90));
    case 3:
      return pick(["é", "😀", "☕ {[,:]}", '"\\', "\n\t\u0000", "\ud83d"]).repeat(random(12));
    case 4:
      return pick(["", "a", "text", "0123456789"]);
    case 5:
      return pick([[], {}]);
    case 6:
      return Array.from({ length: random(6) }, () => value(depth + 1));
    default:
      return Object.fromEntries(Array.from({ length: random(6) }, (_, at) => [pick(["a", "id", "é", '"', "k".repeat(60)]) + at, value(depth + 1)]));
  }
}

function document() {
  const events = Array.from({ length: random(6) }, () => value(0));
  const object = pick([{ a: value(0), events, z: [value(0)] }, { events, id: value(2) }, { a: value(0) }, [value(0)], { events: value(0) }]);
  const text = JSON.stringify(object, null, pick([undefined, undefined, 1, "\t"]));
  return Buffer.from(`${pick(["", "", "\ufeff", "\r\n "])}${text}${pick(["", "\n"])}`);
}

function changed(bytes) {
  const at = random(bytes.length + 1);
  const byte = Buffer.from([pick(TELLING)]);
  switch (random(5)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), byte, bytes.subarray(at)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(3))]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + random(70)), bytes.subarray(at)]);
    default:
      return Buffer.concat([bytes.subarray(0, at), byte, bytes.subarray(at + 1)]);
  }
}

/** What `JSON.parse` says: the events; or that there are none; or the byte of the fault, where it names one. */
function expected(bytes) {
  const mark = bytes.subarray(0, 3).equals(Buffer.from("\ufeff")) ? 3 : 0;
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(mark));
  } catch {
    return { verdict: "no JSON" };
  }
  try {
    const { events } = JSON.parse(text) ?? {};
    return Array.isArray(events) ? { verdict: "events", number: events.length } : { verdict: "another JSON" };
  } catch ({ message }) {
    const place = /at position (\d+)/.exec(message)?.[1];
    const number = place === undefined ? undefined : mark + Buffer.byteLength(text.slice(0, Number(place)));
    return { verdict: "no JSON", number, message };
  }
}

test("the scanner in wasm judges as JSON.parse does", () => {
  const { push, clear, judge } = scanner();
  const counts = {};
  for (let number = 0; number < DOCUMENTS; number += 1) {
    const valid = document();
    let bytes = valid;
    for (let change = 0; change <= CHANGES; change += 1) {
      clear();
      for (const byte of bytes) push(byte);
      const found = judge();
      const found_verdict = ["events", "no JSON", "another JSON", "none of them"][found % 4];
      const expects = expected(bytes);
      const shown = () => `${JSON.stringify(bytes.toString("latin1"))}: ${expects.message ?? ""}`;
      // A second "events" is refused, because two readers could count differently.
      const isTwice = bytes.toString("latin1").split("events").length > 2;
      if (!(isTwice && expects.verdict === "events" && found_verdict === "another JSON")) {
        assert.equal(found_verdict, expects.verdict, shown());
        if (expects.number !== undefined) assert.equal(Math.floor(found / 4), expects.number, shown());
      }
      const kind = expects.verdict === "no JSON" && expects.number !== undefined ? "no JSON, with its place" : expects.verdict;
      counts[kind] = (counts[kind] ?? 0) + 1;
      bytes = changed(random(4) === 0 ? bytes : valid);
    }
  }
  for (const kind of ["events", "another JSON", "no JSON", "no JSON, with its place"]) {
    assert.ok(counts[kind] > DOCUMENTS / 4, `${kind}: ${counts[kind]}`);
  }
});
