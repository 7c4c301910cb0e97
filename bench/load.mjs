/**
 * Load over loopback: a fixed number of POSTs over kept connections, each with its answer read and judged.
 *
 * Promise: cheap enough to share two cores with the server (bytes of the requests made once, answers read by their
 * `Content-Length`), closed loop, bounded in count and in time. An answer that is not the expected one ends the run with an
 * error. Out of scope: pipelining, answers in chunks, anything but loopback.
 */

import { connect } from "node:net";

/** A run that has not ended by then has hung, in milliseconds. */
const TIMEOUT_MS = 120_000;

/** The bytes of a POST. */
export function post(path, headers, body) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines.join("")}Content-Length: ${body.length}\r\n\r\n`), body]);
}

/**
 * Sends `count` requests over `connections`.
 *
 * @param request bytes, or a function from the request's number to bytes
 * @param expect  text that each answer has to contain
 * @param onAnswer called with each answer's body and the time, by `performance.now()`, at which its request was written or due
 * @param forMs  stops sending after so many milliseconds
 * @param paceMs  time between the starts of two requests in milliseconds; 0 sends as fast as answers come
 * @returns {Promise<{latenciesMs: number[], elapsedS: number}>}
 */
export function load({ port, request, count, connections, status = 200, expect = "", onAnswer, forMs = Infinity, paceMs = 0 }) {
  return new Promise((resolve, reject) => {
    const latenciesMs = [];
    const sockets = [];
    const timer = setTimeout(() => finish(new Error(`${latenciesMs.length} of ${count} answers after ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
    const started = performance.now();
    let sent = 0;
    const finish = (error) => {
      clearTimeout(timer);
      for (const socket of sockets) socket.destroy();
      if (error) reject(error);
      else resolve({ latenciesMs, elapsedS: (performance.now() - started) / 1_000 });
    };
    const open = () => {
      const socket = connect({ host: "127.0.0.1", port, noDelay: true });
      sockets.push(socket);
      let at = 0;
      let text = "";
      const next = () => {
        if (performance.now() - started >= forMs) count = Math.min(count, sent);
        if (sent >= count) return latenciesMs.length >= count && finish();
        const dueMs = paceMs === 0 ? 0 : started + sent * paceMs - performance.now();
        const number = sent;
        sent += 1;
        const write = () => {
          // With a pace the latency counts from when the request was due: waiting for a free connection is part of it.
          at = paceMs === 0 ? performance.now() : Math.min(performance.now(), started + number * paceMs);
          socket.write(typeof request === "function" ? request(number) : request);
        };
        if (dueMs > 1) setTimeout(write, dueMs);
        else write();
      };
      socket.on("connect", next);
      socket.on("error", finish);
      socket.on("close", () => sent < count && finish(new Error("the server closed a connection")));
      socket.on("data", (data) => {
        text += data.latin1Slice();
        const end = text.indexOf("\r\n\r\n");
        if (end < 0) return;
        const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1] ?? Number.NaN);
        if (Number.isNaN(length)) return finish(new Error(`an answer without a length: ${text.slice(0, 300)}`));
        if (text.length < end + 4 + length) return;
        latenciesMs.push(performance.now() - at);
        if (Number(text.slice(9, 12)) !== status || !text.includes(expect)) {
          return finish(new Error(`unexpected answer: ${text.slice(0, 500)}`));
        }
        onAnswer?.(text.slice(end + 4), at);
        text = "";
        if (latenciesMs.length >= count) finish();
        else next();
      });
    };
    for (let n = 0; n < connections; n += 1) open();
  });
}

/** The value below which a share `q` of the values lies. */
export function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
}

export const median = (values) => quantile(values, 0.5);
