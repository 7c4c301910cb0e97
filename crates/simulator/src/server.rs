//! The listener: loopback only, HTTP/1.1, and connections that a handler can cut.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tower::ServiceExt as _;

/// Cuts the connection that a request came on. In the extensions of every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionCutter(Arc<Notify>);

impl ConnectionCutter {
    /// Drops the connection, and with it the handler that calls this.
    pub(crate) async fn cut<T>(&self) -> T {
        self.0.notify_one();
        std::future::pending().await
    }
}

/// Serves until `ended` becomes true or its sender is gone; then every connection is dropped.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut ended: watch::Receiver<bool>) {
    let all_ended = ended.clone();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Without it, small answers wait for the peer's delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(connection(stream, router.clone(), all_ended.clone()));
                }
                // Out of file descriptors, or a peer that left: neither ends the service, and neither may spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = ended.wait_for(|ended| *ended) => {}
    }
}

async fn connection(stream: TcpStream, router: Router, mut ended: watch::Receiver<bool>) {
    let cutter = ConnectionCutter::default();
    let cut = cutter.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(cutter.clone());
        router.clone().oneshot(request)
    });
    tokio::select! {
        // Errors of one connection (a peer that left, garbage) do not concern the others.
        _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
        () = cut.0.notified() => {}
        _ = ended.wait_for(|ended| *ended) => {}
    }
}
