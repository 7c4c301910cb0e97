//! The native transport against a real socket.

use genesys_client::native::{ReqwestTransport, TokioRuntime};
use genesys_client::transport::{Method, TransportErrorKind};
use genesys_client::{HttpRequest, Runtime, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one connection with `answer`, and gives what was received. An empty answer leaves the connection open and
/// silent.
async fn server(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = vec![0; 65_536];
        let length = stream.read(&mut received).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
        String::from_utf8_lossy(&received[..length]).into_owned()
    });
    (url, task)
}

fn request(url: &str) -> HttpRequest {
    HttpRequest {
        method: Method::POST,
        url: url.to_owned(),
        headers: vec![("x-test", "1".to_owned())],
        body: Some(b"body".to_vec()),
        timeout_ms: 5_000,
        max_response_bytes: 100,
    }
}

#[tokio::test]
async fn a_request_and_its_answer_arrive_whole() {
    let (url, task) = server("HTTP/1.1 201 Created\r\nETag: \"7\"\r\ncontent-length: 2\r\n\r\nok").await;
    let answer = ReqwestTransport::new().unwrap().send(request(&url)).await.unwrap();
    assert_eq!((answer.status, answer.header("etag"), answer.body.as_slice()), (201, Some("\"7\""), b"ok".as_slice()));
    let received = task.await.unwrap();
    assert!(received.starts_with("POST /path HTTP/1.1") && received.contains("x-test: 1"), "{received}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (url, _task) = server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(ReqwestTransport::new().unwrap().send(request(&url)).await.unwrap().status, 302);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read() {
    let (url, _task) = server("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890").await;
    let error = ReqwestTransport::new().unwrap().send(request(&url)).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::Other);
}

#[tokio::test]
async fn errors_are_told_apart() {
    let transport = ReqwestTransport::new().unwrap();
    let (url, _task) = server("").await;
    let silent = transport.send(HttpRequest { timeout_ms: 50, ..request(&url) }).await.unwrap_err();
    assert_eq!(silent.kind, TransportErrorKind::Timeout);
    let (url, _task) = server("garbage\r\n\r\n").await;
    assert_eq!(transport.send(request(&url)).await.unwrap_err().kind, TransportErrorKind::Other);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}/?secret=x", listener.local_addr().unwrap());
    drop(listener);
    let refused = transport.send(request(&closed)).await.unwrap_err();
    assert_eq!(refused.kind, TransportErrorKind::Connect);
    assert!(!refused.message.contains("secret"), "{}", refused.message);
}

#[tokio::test]
async fn time_and_randomness_move() {
    let before = TokioRuntime.now_ms();
    TokioRuntime.sleep_ms(2).await;
    assert!(TokioRuntime.now_ms() > before && before > 1_700_000_000_000);
    assert_ne!(TokioRuntime.random_u64(), TokioRuntime.random_u64());
}
