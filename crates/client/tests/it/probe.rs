//! The reachability check.

use crate::calls::client;
use crate::clock::{Clock, block_on};
use crate::vendor::FakeVendor;
use genesys_client::transport::Method;
use genesys_client::{Client, Error, HttpRequest, HttpResponse, Secret, TokenSource, Transport, TransportError};
use std::sync::Mutex;

struct NoTokens;

impl TokenSource for NoTokens {
    async fn token(&self, _stale: Option<&str>) -> Result<Secret, Error> {
        panic!("a probe needs no token");
    }
}

/// Answers HEAD and GET as told, and keeps what it was asked.
struct ProbedReceiver {
    head: Result<u16, TransportError>,
    get: Result<u16, TransportError>,
    seen: Mutex<Vec<HttpRequest>>,
}

impl Transport for &ProbedReceiver {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let answer = if request.method == Method::HEAD { self.head.clone() } else { self.get.clone() };
        self.seen.lock().unwrap().push(request);
        answer.map(|status| HttpResponse { status, ..HttpResponse::default() })
    }
}

fn probe(
    head: Result<u16, TransportError>,
    get: Result<u16, TransportError>,
) -> (genesys_client::probe::Probe, Vec<HttpRequest>) {
    let receiver = ProbedReceiver { head, get, seen: Mutex::new(Vec::new()) };
    let found = block_on(
        Client::new(&receiver, Clock::new(), NoTokens, "https://api.example.com")
            .probe("https://hooks.example.com/a", false),
    )
    .unwrap();
    (found, receiver.seen.into_inner().unwrap())
}

#[test]
fn head_is_enough_where_it_is_answered() {
    let (found, seen) = probe(Ok(204), Ok(200));
    assert!(found.reachable);
    assert_eq!((found.status, found.method.as_str(), seen.len()), (Some(204), "HEAD", 1));
}

#[test]
fn a_get_with_the_probe_header_follows_where_head_is_refused() {
    for head in [Ok(405), Ok(501), Ok(404), Err(TransportError::other("hung up"))] {
        let (found, seen) = probe(head, Ok(200));
        assert!(found.reachable);
        assert_eq!((found.status, found.method.as_str(), seen.len()), (Some(200), "GET", 2));
        assert!(seen[1].headers.contains(&("x-genesys-gateway-probe", "1".to_owned())));
        assert!(seen.iter().all(|request| request.max_response_bytes == 0 && request.headers.len() == 1));
    }
}

#[test]
fn what_answers_with_an_error_or_a_redirect_is_not_reachable() {
    for status in [301, 401, 404, 500] {
        let (found, _) = probe(Ok(405), Ok(status));
        assert!(!found.reachable);
        assert_eq!((found.status, found.error), (Some(status), Some(format!("it answered {status}"))));
    }
}

#[test]
fn an_address_without_connection_is_not_asked_twice() {
    let (found, seen) = probe(Err(TransportError::connect("no route")), Ok(200));
    assert!(!found.reachable);
    assert_eq!((found.error.as_deref(), seen.len()), (Some("no route"), 1));
}

#[test]
fn an_address_that_must_not_be_called_is_not_called() {
    let vendor = FakeVendor::new();
    for url in
        ["http://hooks.example.com", "https://127.0.0.1/", "https://169.254.169.254/", "https://[::ffff:10.0.0.1]/"]
    {
        assert!(matches!(block_on(client(&vendor).probe(url, false)), Err(Error::Address(_))), "{url}");
    }
    assert!(vendor.state().log.is_empty());
}
