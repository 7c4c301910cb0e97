/**
 * The two things that only JavaScript can do for the module: be an `Error`, and catch what WebAssembly throws.
 */

/** An error of the client, or of the way in which it was called. */
export class GenesysError extends Error {
  constructor(message, code, fault, status, vendorCode, correlationId, retryAfterMs) {
    super(message);
    this.code = code;
    this.fault = fault;
    for (const [name, value] of Object.entries({ status, vendorCode, correlationId, retryAfterMs })) {
      if (value !== undefined) this[name] = value;
    }
  }
}

// On the prototype and not enumerable, as with the built-in errors.
Object.defineProperty(GenesysError.prototype, "name", { value: "GenesysError", configurable: true, writable: true });

/**
 * Calls a function of the module. A trap in it (a panic, no memory left) unwinds to here and no further, so the caller, in
 * WebAssembly again, goes on with its stack as it was. Answers nothing when the function came to its end, else what it was
 * cut off by.
 */
export function attempt(work) {
  try {
    work();
    return undefined;
  } catch (error) {
    return error ?? new Error("something was thrown that is nothing");
  }
}
