//! The addresses that webhooks come from.

use crate::clock::{Clock, block_on};
use genesys_client::{Client, Error, HttpRequest, HttpResponse, Secret, TokenSource, Transport, TransportError};

struct AnyToken;

impl TokenSource for AnyToken {
    async fn token(&self, _stale: Option<&str>) -> Result<Secret, Error> {
        Ok(Secret::new("t"))
    }
}

struct Ranges;

impl Transport for Ranges {
    async fn send(&self, _request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let range = |cidr: &str, service: &str, direction: &str| {
            format!(r#"{{"cidr":"{cidr}","service":"{service}","region":"us-east-1","direction":"{direction}"}}"#)
        };
        let entities = [
            range("198.51.100.0/25", "open-messaging", "both"),
            range("192.0.2.64/26", "data-actions", "outbound"),
            range("192.0.2.64/26", "data-actions", "outbound"),
            range("203.0.113.0/24", "open-messaging", "inbound"),
            range("198.51.100.128/25", "smtp", "outbound"),
        ];
        let body = format!(r#"{{"entities":[{}]}}"#, entities.join(","));
        Ok(HttpResponse { status: 200, body: body.into_bytes(), ..HttpResponse::default() })
    }
}

#[test]
fn only_networks_that_webhooks_come_from_are_listed_each_once() {
    let client = Client::new(Ranges, Clock::new(), AnyToken, "https://api.example.com");
    let ranges = block_on(client.webhook_ip_ranges()).unwrap();
    let networks: Vec<&str> = ranges.iter().map(|range| range.cidr.as_str()).collect();
    assert_eq!(networks, ["192.0.2.64/26", "198.51.100.0/25"]);
}
