/** A page that runs the scenario of all runtimes and posts what came of it. */

import * as client from "genesys-client";

import { scenario } from "./scenario.mjs";

const post = (path, text) => fetch(path, { method: "POST", body: text });

try {
  const options = await (await fetch("/options")).json();
  await post("/result", JSON.stringify(await scenario(client, options)));
} catch (error) {
  await post("/failure", `${error.stack ?? error}`);
}
