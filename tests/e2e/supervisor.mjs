/**
 * Runs a command in a process group of its own until standard input closes: `supervisor.mjs FOLDER LOG COMMAND [ARGUMENT…]`.
 *
 * Promises: whatever becomes of the test that started it (an error, a signal, SIGKILL), its end of the pipe closes, the whole
 * group is ended (`wrangler dev` starts further processes) and FOLDER, which holds secrets and state, is removed. Output goes to
 * LOG. One line on standard output says that the command has ended by itself. Out of scope: what the command does.
 */

import { spawn } from "node:child_process";
import { openSync, rmSync } from "node:fs";

/** How long the group may take to end by itself; wrangler needs well under a second. */
const GRACE_MS = 3_000;

const [folder, log, command, ...args] = process.argv.slice(2);
const output = openSync(log, "a");
const child = spawn(command, args, { detached: true, stdio: ["ignore", output, output] });
let running = true;
let ending = false;

function signal(name) {
  try {
    process.kill(-child.pid, name);
  } catch (error) {
    // A group without members is what is wanted.
    if (error.code !== "ESRCH") throw error;
  }
}

function finish() {
  // Also what the command left behind still belongs to the group.
  signal("SIGKILL");
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  process.exit();
}

function end() {
  if (ending) return;
  ending = true;
  if (!running) return finish();
  signal("SIGTERM");
  setTimeout(() => signal("SIGKILL"), GRACE_MS);
}

child.once("exit", (code, by) => {
  running = false;
  if (ending) finish();
  else process.stdout.write(`ended by itself: ${by ?? code}\n`);
});
process.stdin.resume().once("close", end);
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, end);
