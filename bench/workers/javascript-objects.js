/** `javascript.js` with as many classes of Durable Objects as the gateway has: the runtime sets up their storage when it starts. */

import { DurableObject } from "cloudflare:workers";

export { default } from "./javascript.js";

export class Counters extends DurableObject {}
export class DeliveryLedger extends DurableObject {}
export class DeadLetterStore extends DurableObject {}
export class AuditLog extends DurableObject {}
export class Lifecycle extends DurableObject {}
export class Destination extends DurableObject {}
export class Monitor extends DurableObject {}
