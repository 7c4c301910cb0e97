/**
 * Starts the simulator for a run of the test files of a project and ends it with the run. In Node, not in workerd.
 *
 * The program is the one that `GENESYS_SIMULATOR` names, else the one that cargo builds. It ends with its standard input, so
 * no way of ending the run can leave it behind.
 */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import type { TestProject } from "vitest/node";

import { CLIENT_ID, CLIENT_SECRET } from "./gateway.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));

function program(): string {
  const given = process.env.GENESYS_SIMULATOR;
  if (given) {
    return given;
  }
  const build = ["build", "--workspace", "--bin", "genesys-simulator", "--message-format=json"];
  const messages = execFileSync("cargo", build, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  for (const line of messages.split("\n").filter((text) => text.startsWith("{"))) {
    const message = JSON.parse(line);
    if (message.executable && message.target?.name === "genesys-simulator") {
      return message.executable;
    }
  }
  throw new Error("cargo has built no genesys-simulator");
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const options = ["--exit-with-stdin", "--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET];
  const simulator = spawn(program(), options, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(simulator, "exit");
  const line = once(createInterface(simulator.stdout), "line");
  const first = await Promise.race([
    line,
    ended.then(([code]) => Promise.reject(new Error(`the simulator ended with ${code}`))),
  ]);
  const { baseUrl } = JSON.parse(String(first[0]));
  (project.provide as (key: string, value: unknown) => void)("simulator", baseUrl);
  return async () => {
    simulator.stdin.end();
    await ended;
  };
}
