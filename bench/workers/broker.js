/**
 * A queue between the gateway and itself, for measurements: takes the messages of the binding and hands them to the gateway's
 * consumer in batches, several at a time, as the platform does (and as the local emulator, with one batch at a time, does not).
 *
 * Promise: a message is handed over until it is acknowledged, in batches of at most `BATCH`, after the delay that
 * its consumer asked for; with `IS_HELD` nothing is handed over before `/release`. Everything is in memory. Out of scope:
 * order, dead-letter queues.
 */

const BATCHES_AT_ONCE = 8;

/** Waiting messages by queue. */
const waiting = new Map();
let drivers = 0;
let numbers = 0;
let isReleased = false;
const seen = { messages: 0, batches: 0, redelivered: 0 };

async function drive(env, queue) {
  const [GATHER_MS, BATCH] = [Number(env.GATHER_MS), Number(env.BATCH)];
  drivers += 1;
  try {
    for (;;) {
      // Other requests and drivers change it while this one waits.
      let messages = waiting.get(queue);
      if (messages.length === 0) break;
      const now = Date.now();
      const ready = messages.filter(({ notBefore }) => notBefore <= now).slice(0, BATCH);
      const isHeld = env.IS_HELD === "true" && !isReleased;
      const waitMs = ready.length === 0 ? GATHER_MS : ready[0].timestamp.getTime() + GATHER_MS - now;
      if (isHeld || (ready.length < BATCH && waitMs > 0)) {
        await scheduler.wait(isHeld ? 20 : Math.min(waitMs, 20));
        continue;
      }
      const taken = new Set(ready);
      waiting.set(queue, (messages = messages.filter((message) => !taken.has(message))));
      const batch = ready.map(({ id, timestamp, body, attempts }) => ({ id, timestamp, body, attempts: attempts + 1 }));
      seen.batches += 1;
      const { outcome, retryBatch, retryMessages, explicitAcks } = await env.GATEWAY.queue(queue, batch);
      // Without a verdict of its own a message counts as done, unless the batch failed as a whole.
      const acknowledged = new Set(explicitAcks);
      const delays = new Map(retryMessages?.map(({ msgId, delaySeconds }) => [msgId, delaySeconds ?? 0]));
      const failed = outcome !== "ok" || retryBatch?.retry;
      const again = batch.filter(({ id }) => delays.has(id) || (failed && !acknowledged.has(id)));
      seen.redelivered += again.length;
      messages = waiting.get(queue);
      for (const message of again) messages.push({ ...message, notBefore: Date.now() + 1_000 * (delays.get(message.id) ?? 1) });
      seen.last = { outcome, again: again.length };
    }
  } finally {
    drivers -= 1;
  }
}

export default {
  async fetch(request, env, context) {
    const { pathname } = new URL(request.url);
    if (pathname === "/seen") return Response.json(seen);
    if (pathname === "/release") return Response.json({ isReleased: (isReleased = true) });
    const queue = env.QUEUE;
    // Before the list is looked up: a driver may put another one in its place meanwhile.
    const body = new Uint8Array(await request.arrayBuffer());
    if (!waiting.has(queue)) waiting.set(queue, []);
    const messages = waiting.get(queue);
    numbers += 1;
    seen.messages += 1;
    messages.push({ id: `message-${numbers}`, timestamp: new Date(), attempts: 0, notBefore: 0, body });
    if (drivers === 0 || (messages.length >= Number(env.BATCH) && drivers < BATCHES_AT_ONCE)) context.waitUntil(drive(env, queue));
    return Response.json({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0, oldestMessageTimestamp: 0 } } });
  },
};
