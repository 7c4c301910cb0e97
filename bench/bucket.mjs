/**
 * A bucket over HTTP that keeps its objects, in the memory of the process that measures: what the binding `PAYLOADS` leads to.
 *
 * Speaks as much of what workerd's R2 binding speaks as the gateway needs for a delivery. A put or delete is a `PUT` that begins
 * with `CF-R2-Metadata-Size` bytes of JSON; a get is a `GET` with that JSON in the header `CF-R2-Request`, answered by the
 * object's metadata and then its value; an object that is not there is a 404 with `CF-R2-Error`. It counts its calls. Out of
 * scope: ranges, conditions, checksums, lists, multipart uploads.
 */

import { createServer } from "node:http";
import { listen } from "./server.mjs";

/** R2's number for "the specified key does not exist". */
const NO_SUCH_KEY = 10_007;

/** The metadata of an object, as the binding reads it. */
export const objectMetadata = (name, sizeBytes) => ({
  name,
  version: "0",
  size: String(sizeBytes),
  etag: "00000000000000000000000000000000",
  uploaded: "1764000000000",
  httpFields: {},
  customFields: [],
  checksums: {},
  storageClass: "Standard",
});

/** Starts a bucket on any free port. `onGet` is called with the size of each value that is about to be sent. */
export async function startBucket({ onGet = () => {} } = {}) {
  const objects = new Map();
  const calls = { put: 0, get: 0, delete: 0 };

  function answer(response, metadata, value = Buffer.alloc(0)) {
    const head = Buffer.from(JSON.stringify(metadata));
    response.writeHead(200, { "content-type": "application/json", "cf-r2-metadata-size": head.length, "content-length": head.length + value.length });
    response.write(head);
    response.end(value);
  }

  function serve(call, value, response) {
    const name = call.object;
    if (!(call.method in calls)) {
      response.writeHead(501).end();
      return;
    }
    calls[call.method] += 1;
    if (call.method === "put") {
      objects.set(name, value);
      answer(response, objectMetadata(name, value.length));
    } else if (call.method === "delete") {
      for (const gone of call.objects ?? [name]) objects.delete(gone);
      response.writeHead(200, { "content-length": 0 }).end();
    } else if (objects.has(name)) {
      const kept = objects.get(name);
      onGet(kept.length);
      answer(response, objectMetadata(name, kept.length), kept);
    } else {
      const error = JSON.stringify({ version: 0, v4code: NO_SUCH_KEY, message: "The specified key does not exist." });
      response.writeHead(404, { "cf-r2-error": error, "content-length": 0 }).end();
    }
  }

  const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const all = Buffer.concat(chunks);
      const metadataBytes = Number(request.headers["cf-r2-metadata-size"] ?? 0);
      const text = request.method === "GET" ? request.headers["cf-r2-request"] : all.subarray(0, metadataBytes).toString();
      serve(JSON.parse(text), all.subarray(metadataBytes), response);
    });
  });
  const { port, stop } = await listen(server);
  return { port, objects, calls, stop };
}
