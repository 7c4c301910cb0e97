/**
 * A sender of HTTP/1.1 requests over kept connections, on loopback only, bounded in count.
 *
 * Written on sockets, with the request's bytes made once: what the sender costs disturbs what it measures on the same machine.
 * Understands answers with `Content-Length` and chunked ones that end in their last chunk. Out of scope: anything else.
 */

import { connect } from "node:net";

const END_OF_HEAD = Buffer.from("\r\n\r\n");

/** The bytes of one POST. */
export function requestBytes({ path, headers, body }) {
  const lines = Object.entries({ host: "127.0.0.1", ...headers, "content-length": body.length }).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join("")}\r\n`), body]);
}

/** Length of the answer at the beginning of `bytes`, or undefined while it is incomplete. */
function answerLength(bytes) {
  const end = bytes.indexOf(END_OF_HEAD);
  if (end < 0) return undefined;
  const head = bytes.latin1Slice(0, end);
  const declared = /\r\ncontent-length: (\d+)/i.exec(head);
  if (declared) {
    const length = end + 4 + Number(declared[1]);
    return bytes.length >= length ? length : undefined;
  }
  return bytes.latin1Slice(-5) === "0\r\n\r\n" ? bytes.length : undefined;
}

/**
 * Sends `count` requests. `next()` gives the bytes of each; `onAnswer(status, text, requestIndex)` sees each answer.
 * With `ratePerS` the requests start at that rate (and are late where the connections are all busy), otherwise as fast as they are answered.
 *
 * @returns {{statuses: object, latenciesMs: number[], seconds: number}}
 */
export async function send({ port, next, count, connections, ratePerS, onAnswer }) {
  const statuses = {};
  const latenciesMs = [];
  const started = performance.now();
  let begun = 0;
  const lane = () =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port, noDelay: true });
      let bytes = Buffer.alloc(0);
      let sentAt = 0;
      let index = 0;
      const one = () => {
        if (begun >= count) return socket.end(resolve);
        index = begun;
        begun += 1;
        const dueInMs = ratePerS ? started + (index / ratePerS) * 1_000 - performance.now() : 0;
        const go = () => {
          // Where the start is late, the wait counts: it is the sender's too.
          sentAt = performance.now() + Math.min(0, dueInMs);
          socket.write(next(index));
        };
        return dueInMs > 1 ? setTimeout(go, dueInMs) : go();
      };
      socket.on("connect", one);
      socket.on("error", reject);
      socket.on("close", () => (sentAt ? reject(new Error("the server closed a connection")) : resolve()));
      socket.on("data", (data) => {
        bytes = bytes.length ? Buffer.concat([bytes, data]) : data;
        const length = answerLength(bytes);
        if (length === undefined) return;
        latenciesMs.push(performance.now() - sentAt);
        sentAt = 0;
        const status = bytes.latin1Slice(9, 12);
        statuses[status] = (statuses[status] ?? 0) + 1;
        onAnswer?.(status, bytes, index);
        bytes = bytes.subarray(length);
        one();
      });
    });
  await Promise.all(Array.from({ length: connections }, lane));
  return { statuses, latenciesMs, seconds: (performance.now() - started) / 1_000 };
}

/** The value below which `share` of the values lie. */
export function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
