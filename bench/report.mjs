/**
 * Results as tables: for the terminal and, between markers, for `README.md`.
 *
 * Promise: a table replaces only what stands between its own markers; a figure is printed with the spread it was taken with.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { root } from "./server.mjs";
import { summary } from "./receive.mjs";

const NAMES = { a: "gateway", b: "JavaScript Worker", c: "JavaScript floor", d: "Node/Express", e: "unchecked" };
/** The aims for a/b by size; a/d is to be 0.6 at most everywhere. */
const AIMS = { 1_000: 0.95, 16_000: 0.85, 128_000: 0.6, 1_000_000: 0.6, 5_000_000: 0.6 };

export const kb = (bytes) => (bytes >= 1_000_000 ? `${bytes / 1_000_000} MB` : `${bytes / 1_000} KB`);
const whole = (value) => Math.round(value).toLocaleString("en-US");
const ms = (value) => value.toFixed(value < 10 ? 1 : 0);

/** Lines of a Markdown table. */
export function table(head, rows) {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** What the figures were taken on. */
export function machine() {
  const version = (program, args) => spawnSync(program, args, { encoding: "utf8", cwd: root }).stdout?.trim().split("\n")[0];
  const locked = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const express = JSON.parse(readFileSync(join(root, "bench", "express", "package.json"), "utf8")).dependencies.express;
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: `${cpus().length} × ${cpus()[0].model.trim()}`,
    commit: version("git", ["rev-parse", "--short", "HEAD"]),
    rustc: version("rustc", ["--version"])?.split(" ")[1],
    workerd: locked["node_modules/workerd"].version,
    node: process.version,
    express,
  };
}

export const machineLine = (of) =>
  `${of.date}, ${of.cpu}, ${process.platform}; commit ${of.commit}, rustc ${of.rustc}, workerd ${of.workerd}, Node ${of.node}, Express ${of.express}.`;

const spread = ({ median, min, max }) => `${median.toFixed(2)} (${min.toFixed(2)}..${max.toFixed(2)})`;

/** The tables of the receive path. */
export function receiveTables(results, rounds) {
  const ratios = [];
  const figures = [];
  for (const [size, each] of Object.entries(results)) {
    const { medians, ratios: of } = summary(each);
    ratios.push([kb(Number(size)), spread(of["a/b"]), `≤ ${AIMS[size]}`, spread(of["e/b"]), spread(of["a/d"]), "≤ 0.6", spread(of["a/c"])]);
    for (const [name, of] of Object.entries(medians)) {
      figures.push([kb(Number(size)), NAMES[name], whole(of.cpuUs), whole(of.perS), ms(of.p50Ms), ms(of.p99Ms)]);
    }
  }
  return [
    `CPU time per delivery of the gateway as a ratio to the others, median of ${rounds} rounds (smallest..largest); *least*: of a Worker that checks nothing to the JavaScript Worker, which no Worker can go below:`,
    table(["body", "to JavaScript", "aim", "least", "to Express", "aim", "to the floor"], ratios),
    "Medians of the same rounds (closed loop, 8 connections, 4 from 1 MB on, load generator on the same cores):",
    table(["body", "server", "CPU µs a delivery", "deliveries/s", "p50 ms", "p99 ms"], figures),
  ].join("\n\n");
}

/** The table of the whole system. */
export function systemTable(figures) {
  const pair = ({ p50, p99 }) => `${ms(p50)} / ${ms(p99)}`;
  const rows = figures.map((of) => [
    of.what,
    whole(of.deliveries),
    whole(of.perS),
    whole(of.cpuUs),
    pair(of.answerMs),
    pair(of.endToEndMs),
    `${of.missing} / ${of.twice}`,
  ]);
  return table(["run", "deliveries", "deliveries/s", "CPU µs a delivery", "answer p50 / p99 ms", "end to end p50 / p99 ms", "missing / twice"], rows);
}

/** Replaces what stands between the markers `name` in README.md. */
export function writeSection(name, text) {
  const path = join(root, "bench", "README.md");
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const readme = readFileSync(path, "utf8");
  const [before, rest] = readme.split(open);
  const after = rest?.split(close)[1];
  if (after === undefined) throw new Error(`README.md has no markers ${open} … ${close}`);
  writeFileSync(path, `${before}${open}\n${text}\n${close}${after}`);
}
