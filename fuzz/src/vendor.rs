//! A vendor that answers what the input says, and time that moves only when somebody waits.
//!
//! Answers are separated by a line `%%`; each is a status, headers a line, an empty line and a body. Status 0 is a lost
//! connection, 1 a refused one. After the last answer it begins again.

use crate::split_once;
use genesys_client::{Error, HttpRequest, HttpResponse, Runtime, Secret, TokenSource, Transport, TransportError};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The client's access token: vendors echo it in the inputs, errors must not.
pub const TOKEN: &str = "TOKEN-aaaabbbbccccdddd";

/// The vendor, its clock and its tokens.
pub struct Vendor {
    answers: Vec<Result<HttpResponse, TransportError>>,
    /// The URLs that were called.
    pub urls: RefCell<Vec<String>>,
    now_ms: Cell<u64>,
}

impl Vendor {
    /// Reads the answers.
    pub fn read(input: &[u8]) -> Self {
        let mut answers = Vec::new();
        let mut rest = input;
        while !rest.is_empty() && answers.len() < 32 {
            let (part, after) = split_once(rest, b"\n%%\n");
            answers.push(answer(part));
            rest = after;
        }
        Self { answers, urls: RefCell::default(), now_ms: Cell::new(1_767_225_600_000) }
    }
}

fn answer(part: &[u8]) -> Result<HttpResponse, TransportError> {
    let (head, body) = split_once(part, b"\n\n");
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split('\n');
    let status = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(200);
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    // A transport's own words, which are short, and say where they were cut.
    let words = || {
        let said = String::from_utf8_lossy(body);
        let mut words = said.chars().take(200).collect::<String>();
        if words.len() < said.len() {
            words.push('…');
        }
        words
    };
    match status {
        0 => Err(TransportError::other(words())),
        1 => Err(TransportError::connect(words())),
        _ => Ok(HttpResponse { status, headers, body: body.to_vec() }),
    }
}

impl Transport for &Vendor {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let mut urls = self.urls.borrow_mut();
        let answer = urls.len().checked_rem(self.answers.len()).and_then(|index| self.answers.get(index));
        urls.push(request.url);
        match answer {
            Some(Ok(response))
                if response.body.len() > request.max_response_bytes && request.max_response_bytes > 0 =>
            {
                Err(TransportError::other("too long"))
            }
            Some(answer) => answer.clone(),
            None => Err(TransportError::timeout("nobody there")),
        }
    }
}

impl Runtime for &Vendor {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    async fn sleep_ms(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get().saturating_add(ms));
    }

    fn random_u64(&self) -> u64 {
        0x9e37_79b9_7f4a_7c15
    }
}

impl TokenSource for &Vendor {
    async fn token(&self, _stale: Option<&str>) -> Result<Secret, Error> {
        Ok(Secret::new(TOKEN))
    }
}

/// Runs a future whose every await is ready at once.
pub fn block_on<F: Future>(future: F) -> F::Output {
    match pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits for something that nobody brings"),
    }
}
