/** What `Promise.withResolvers` gives, for Node 20, which the package runs on and which does not have it. */
export function deferred() {
  let resolvers;
  const promise = new Promise((resolve, reject) => {
    resolvers = { resolve, reject };
  });
  return { promise, ...resolvers };
}
