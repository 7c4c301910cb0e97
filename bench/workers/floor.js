/** (c) The floor: reads the body and answers. What is below it belongs to the runtime. */

export default {
  async fetch(request) {
    const body = request.method === "POST" ? await request.arrayBuffer() : undefined;
    return Response.json({ received: true, eventCount: body?.byteLength ?? 0, id: "0" });
  },
};
