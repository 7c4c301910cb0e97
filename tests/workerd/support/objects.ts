/** Objects that do not answer: one whose storage fails, and one that takes its time. */

import { runInDurableObject } from "cloudflare:test";

type Stub = Parameters<typeof runInDurableObject>[0];

/** Every call that reads `table` fails, until the returned function is called. */
export async function failing(stub: Stub, table: string): Promise<() => Promise<void>> {
  const rename = (from: string, to: string) =>
    runInDurableObject(stub, (_, state) => void state.storage.sql.exec(`ALTER TABLE ${from} RENAME TO ${to}`));
  await rename(table, `${table}_away`);
  return () => rename(`${table}_away`, table);
}

/** Answers nothing for so long, from now on; resolves at the end. */
export function slow(stub: Stub, ms: number): Promise<void> {
  return runInDurableObject(stub, (_, state) => {
    void state.blockConcurrencyWhile(() => new Promise((done) => setTimeout(done, ms)));
  });
}
