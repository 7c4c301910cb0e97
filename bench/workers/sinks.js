/**
 * What stands behind the bindings: a service that speaks as much of the queue's and the bucket's protocol as the runtime asks
 * of it. It reads what is sent and forgets it. (a) and (b) pay for the same real bindings and for the same service.
 */

const METADATA = JSON.stringify({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0, oldestMessageTimestamp: 0 } } });

export default {
  async fetch(request) {
    const size = (await request.arrayBuffer()).byteLength;
    const metadataSize = request.headers.get("cf-r2-metadata-size");
    if (metadataSize === null) return new Response(METADATA, { headers: { "content-type": "application/json" } });
    const object = { name: "k", version: "v", etag: "00".repeat(16), size: size - Number(metadataSize), uploaded: "0", checksums: {} };
    const text = JSON.stringify(object);
    return new Response(text, { headers: { "cf-r2-metadata-size": String(text.length), "content-type": "application/json" } });
  },
};
