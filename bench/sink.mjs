/**
 * What the measured servers send to: a queue and a bucket over HTTP, in the process of the load generator, so that nothing of
 * their work is in the figures of a server.
 *
 * Speaks as much as workerd's bindings need: a queue message is `POST /message`; an R2 put is `PUT` with `CF-R2-Metadata-Size`
 * bytes of JSON before the value, answered by the object's metadata. Out of scope: keeping anything (the last message is
 * shown for comparison).
 */

import { createServer } from "node:http";
import { objectMetadata } from "./bucket.mjs";
import { listen } from "./server.mjs";

const QUEUE_ANSWER = JSON.stringify({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0, oldestMessageTimestamp: 0 } } });
const OBJECT = JSON.stringify(objectMetadata("payload", 0));

/** Starts a sink on any free port. `keep`: holds on to the last message and the last object. */
export async function startSink({ keep = false } = {}) {
  const seen = { messages: 0, objects: 0, bytes: 0, message: undefined, object: undefined };
  const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
    const chunks = [];
    request.on("data", (chunk) => {
      seen.bytes += chunk.length;
      if (keep) chunks.push(chunk);
    });
    request.on("end", () => {
      if (request.method === "POST") {
        seen.messages += 1;
        seen.message = keep ? Buffer.concat(chunks) : undefined;
        response.writeHead(200, { "content-type": "application/json", "content-length": QUEUE_ANSWER.length });
        response.end(QUEUE_ANSWER);
      } else {
        seen.objects += 1;
        const metadata = Number(request.headers["cf-r2-metadata-size"] ?? 0);
        seen.object = keep ? Buffer.concat(chunks).subarray(metadata) : undefined;
        response.writeHead(200, { "content-type": "application/json", "content-length": OBJECT.length, "cf-r2-metadata-size": OBJECT.length });
        response.end(OBJECT);
      }
    });
  });
  const { port, stop } = await listen(server);
  return { port, seen, stop };
}
