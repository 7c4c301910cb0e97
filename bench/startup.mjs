/**
 * Size of what is deployed, and how long an instance takes to start: from the start of a fresh process until its first answer,
 * the gateway and the JavaScript Worker in turn, the latter as it is and with as many classes of Durable Objects. The time of the
 * runtime itself is in all of them; parsing its configuration, into which the modules are embedded, is not.
 */

import { gzipSync } from "node:zlib";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SECRET } from "./bodies.mjs";
import { median } from "./load.mjs";
import { GATEWAY } from "./receive.mjs";
import { root, start, startWorker } from "./server.mjs";

const size = (path) => {
  const bytes = readFileSync(path);
  return { bytes: bytes.length, gzipBytes: gzipSync(bytes, { level: 9 }).length };
};

/** Sizes in bytes; times in milliseconds by server, one for each process. */
export async function measureStart({ build, processes }) {
  const javascript = join(root, "bench", "workers", "javascript.js");
  const secrets = { S: SECRET };
  const withObjects = { "index.js": join(root, "bench", "workers", "javascript-objects.js"), "./javascript.js": javascript };
  const compiled = true;
  const starters = {
    a: () => start({ build, gateway: GATEWAY, secrets, compiled }),
    b: () => startWorker({ files: { "index.js": javascript }, secrets, compiled }),
    objects: () => startWorker({ files: withObjects, secrets, objects: true, compiled }),
  };
  const startMs = { a: [], b: [], objects: [] };
  for (let round = -1; round < processes; round += 1) {
    for (const [name, starter] of Object.entries(starters)) {
      const server = await starter();
      await server.stop();
      if (round >= 0) startMs[name].push(server.startMs);
    }
  }
  return { wasm: size(join(build, "index_bg.wasm")), module: size(join(build, "index.js")), javascript: size(javascript), startMs };
}

/** The figures in Markdown. */
export function startText({ wasm, module, javascript, startMs }, table) {
  const kilobytes = ({ bytes, gzipBytes }) => [`${(bytes / 1_000).toFixed(0)} KB`, `${(gzipBytes / 1_000).toFixed(0)} KB`];
  const spread = (values) => `${median(values).toFixed(0)} ms (${Math.min(...values).toFixed(0)}..${Math.max(...values).toFixed(0)})`;
  const difference = (name) => median(startMs.a.map((ms, round) => ms - startMs[name][round])).toFixed(0);
  return [
    table(["", "raw", "gzip"], [["`index_bg.wasm`", ...kilobytes(wasm)], ["`index.js`", ...kilobytes(module)], ["the JavaScript Worker", ...kilobytes(javascript)]]),
    `First answer of a fresh process, over ${startMs.a.length} processes each, in turn (median, smallest..largest): gateway ${spread(startMs.a)}, JavaScript Worker ${spread(startMs.b)}, with the same classes of Durable Objects ${spread(startMs.objects)}. Median difference of the gateway to them: ${difference("b")} and ${difference("objects")} ms (aim: within 15 ms).`,
  ].join("\n\n");
}
