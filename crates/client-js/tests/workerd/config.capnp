# The bundled worker on workerd itself, with nothing in between. The simulator is on a private address.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "outside", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const main :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "genesys_client_bg.wasm", wasm = embed "genesys_client_bg.wasm"),
  ],
  compatibilityDate = "2026-09-01",
  globalOutbound = "outside",
);
