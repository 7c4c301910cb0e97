/**
 * Asks an isolate of a running workerd what it holds, over the inspector.
 *
 * Promise: what is told is the most that was seen of heap and buffers, and wasm memory on top, which `Runtime.getHeapUsage` does
 * not count. What comes and goes between two questions is missed, and so is what lives only within one turn of the isolate, because
 * questions are answered between turns. Out of scope: what the runtime holds outside of isolates (`memoryMb` of `server.mjs` has
 * the whole process).
 */

/** Between two questions, in milliseconds. */
const PAUSE_MS = 20;

/** The inspector of the isolate of a service: `ask` answers a call's result. */
async function connect(inspectorPort, service) {
  const targets = await (await fetch(`http://127.0.0.1:${inspectorPort}/json`)).json();
  const target = targets.find(({ webSocketDebuggerUrl }) => webSocketDebuggerUrl.endsWith(`/${service}`));
  if (!target) throw new Error(`no isolate ${service} among ${JSON.stringify(targets)}`);
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
  const asked = new Map();
  const contexts = [];
  let numbers = 0;
  socket.onmessage = ({ data }) => {
    const { id, method, params, result } = JSON.parse(data);
    if (method === "Runtime.executionContextCreated") contexts.push(params.context.id);
    asked.get(id)?.(result);
    asked.delete(id);
  };
  const ask = (method, params = {}) =>
    new Promise((resolve) => {
      numbers += 1;
      asked.set(numbers, resolve);
      socket.send(JSON.stringify({ id: numbers, method, params }));
    });
  return { ask, contexts, close: () => socket.close() };
}

/** All wasm memory of an isolate, in bytes: found by what it is made from, because nothing names it. */
async function wasmBytes({ ask, contexts }) {
  await ask("Runtime.enable");
  const prototype = await ask("Runtime.evaluate", { expression: "WebAssembly.Memory.prototype", contextId: contexts[0] });
  const { objects } = await ask("Runtime.queryObjects", { prototypeObjectId: prototype.result.objectId });
  const functionDeclaration = "function () { return this.reduce((sum, memory) => sum + memory.buffer.byteLength, 0); }";
  const sum = await ask("Runtime.callFunctionOn", { objectId: objects.objectId, functionDeclaration, returnByValue: true });
  return sum.result.value;
}

/**
 * Asks again and again until the function that it answers is called, which tells the most that was seen, in megabytes.
 *
 * @param collects whether garbage is collected before each question: what is left is what a limit could not have freed
 * @param service  the service in workerd's configuration whose isolate it is
 */
export async function watchIsolate(inspectorPort, { collects = false, service = "main" } = {}) {
  const inspector = await connect(inspectorPort, service);
  const most = { heapMb: 0, buffersMb: 0, wasmMb: 0, togetherMb: 0, samples: 0 };
  const usage = () => inspector.ask("Runtime.getHeapUsage");
  // The runtime collects when the isolate runs next, and tells so only with a later answer: asked on until then. So there are
  // fewer looks, each soon after something has happened in the isolate.
  const usageWithoutGarbage = async () => {
    let isCollected = false;
    void inspector.ask("HeapProfiler.collectGarbage").then(() => (isCollected = true));
    for (;;) {
      const answer = await usage();
      if (isCollected) return answer;
    }
  };
  let timer;
  let stopped = false;
  const look = async () => {
    const { usedSize, backingStorageSize = 0 } = await (collects ? usageWithoutGarbage() : usage());
    if (stopped) return;
    const [heap, buffers] = [usedSize, backingStorageSize].map((bytes) => bytes / 1_000_000);
    most.samples += 1;
    most.heapMb = Math.max(most.heapMb, heap);
    most.buffersMb = Math.max(most.buffersMb, buffers);
    most.togetherMb = Math.max(most.togetherMb, heap + buffers);
    timer = setTimeout(look, PAUSE_MS);
  };
  void look();
  return async () => {
    stopped = true;
    clearTimeout(timer);
    // It never shrinks: what it is now is the most that it was.
    most.wasmMb = (await wasmBytes(inspector)) / 1_000_000;
    most.togetherMb += most.wasmMb;
    inspector.close();
    return most;
  };
}
