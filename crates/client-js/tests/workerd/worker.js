/** A Worker that runs the scenario of all runtimes, once for each request. */

import * as client from "genesys-client";

import { scenario } from "../support/scenario.mjs";

export default {
  async fetch(request) {
    try {
      return Response.json(await scenario(client, await request.json()));
    } catch (error) {
      return new Response(`${error.stack}\n${error.cause?.stack ?? ""}`, { status: 500 });
    }
  },
};
