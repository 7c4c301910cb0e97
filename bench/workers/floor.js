/** What no Worker can do without: the body is read and an answer is given. */
export default {
  async fetch(request) {
    if (request.method !== "POST") return new Response(null, { status: 204 });
    await request.arrayBuffer();
    return new Response('{"received":true,"eventCount":0,"id":"00000000000000000000000000"}', {
      headers: { "content-type": "application/json", "cache-control": "no-store" },
    });
  },
};
