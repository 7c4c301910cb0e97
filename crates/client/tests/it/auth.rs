//! Tokens, with one request for all, margins, hand-over, and errors that name what is wrong.

use genesys_client::error::{Exhausted, TokenProblem};
use genesys_client::{
    CachedToken, Client, Error, HttpRequest, HttpResponse, OAuthTokens, RunBudget, Runtime, Secret, TokenSource,
    Transport, TransportError,
};
use std::future::Future as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// tokio's paused time, which jumps when every task waits.
struct Paused(Instant);

impl Paused {
    fn new() -> Self {
        Self(Instant::now())
    }
}

impl Runtime for Paused {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    fn random_u64(&self) -> u64 {
        0
    }
}

/// A login host that takes `delay_ms` to answer what `answers` says, in turn; then tokens.
#[derive(Default)]
struct Login {
    requests: AtomicU32,
    delay_ms: AtomicU64,
    answers: Mutex<Vec<Result<(u16, &'static str), TransportError>>>,
    seen: Mutex<Vec<String>>,
}

impl Transport for Login {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen
            .lock()
            .unwrap()
            .push(request.headers.iter().find(|(name, _)| *name == "authorization").unwrap().1.clone());
        tokio::time::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst))).await;
        let next = self.answers.lock().unwrap().pop();
        let (status, body) = match next {
            Some(answer) => answer.map(|(status, body)| (status, body.to_owned()))?,
            None => (200, format!(r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":3600}}"#)),
        };
        Ok(HttpResponse {
            status,
            headers: vec![("inin-correlation-id".into(), "corr".into())],
            body: body.into_bytes(),
        })
    }
}

type FakeVendorTokens = OAuthTokens<Arc<Login>, Paused>;

fn tokens(login: &Arc<Login>) -> Arc<FakeVendorTokens> {
    Arc::new(OAuthTokens::new(login.clone(), Paused::new(), "https://login.example.com", "id", Secret::new("s3cr3t")))
}

async fn failure(login: &Arc<Login>) -> Error {
    match tokens(login).token(None).await {
        Ok(_) => panic!("got a token"),
        Err(error) => error,
    }
}

fn problem(error: &Error) -> TokenProblem {
    match error {
        Error::Token(error) => error.problem,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_make_one_request() {
    let login = Arc::new(Login::default());
    login.delay_ms.store(500, Ordering::SeqCst);
    let tokens = tokens(&login);
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let tokens = tokens.clone();
        callers.spawn(async move { tokens.token(None).await.map(|token| token.expose().to_owned()) });
    }
    let all = callers.join_all().await;
    assert!(all.iter().all(|token| token.as_deref() == Ok("token-1")));
    assert_eq!(login.requests.load(Ordering::SeqCst), 1);
    assert_eq!(login.seen.lock().unwrap()[0], "Basic aWQ6czNjcjN0");
}

#[tokio::test(start_paused = true)]
async fn white_space_around_credentials_is_not_sent() {
    for (id, secret) in [
        ("id", "s3cr3t"),
        ("id\n", "s3cr3t\n"),
        ("id\r\n", "s3cr3t\r\n"),
        (" id\t", "\t s3cr3t "),
        ("id", "s3cr3t\n"),
        ("\u{a0}id", "s3cr3t"),
    ] {
        let login = Arc::new(Login::default());
        login.answers.lock().unwrap().push(Ok((400, r#"{"error":"invalid_client","description":"bad s3cr3t"}"#)));
        let tokens =
            OAuthTokens::new(login.clone(), Paused::new(), "https://login.example.com", id, Secret::new(secret));
        let Err(error) = tokens.token(None).await else { panic!("got a token") };
        // `id:s3cr3t`.
        assert_eq!(*login.seen.lock().unwrap(), ["Basic aWQ6czNjcjN0"], "{id:?} {secret:?}");
        assert!(error.to_string().contains("bad [secret]"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_share_a_failure_too() {
    let login = Arc::new(Login::default());
    login.delay_ms.store(500, Ordering::SeqCst);
    login
        .answers
        .lock()
        .unwrap()
        .push(Ok((400, r#"{"error":"invalid_client","description":"authentication failed"}"#)));
    let tokens = tokens(&login);
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let tokens = tokens.clone();
        callers.spawn(async move { tokens.token(None).await.err() });
    }
    let all = callers.join_all().await;
    assert!(all.iter().all(|error| problem(error.as_ref().unwrap()) == TokenProblem::WrongSecret));
    assert_eq!(login.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_with_the_same_stale_token_make_one_request() {
    let login = Arc::new(Login::default());
    login.delay_ms.store(500, Ordering::SeqCst);
    let tokens = tokens(&login);
    let first = tokens.token(None).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (tokens, stale) = (tokens.clone(), first.expose().to_owned());
        callers.spawn(async move { tokens.token(Some(&stale)).await.map(|token| token.expose().to_owned()) });
    }
    assert!(callers.join_all().await.iter().all(|token| token.as_deref() == Ok("token-2")));
    assert_eq!(login.requests.load(Ordering::SeqCst), 2);
    // A late caller with the old token gets the current one.
    assert_eq!(tokens.token(Some("token-1")).await.unwrap().expose(), "token-2");
    assert_eq!(login.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_leader_does_not_strand_the_others() {
    let login = Arc::new(Login::default());
    login.delay_ms.store(500, Ordering::SeqCst);
    let tokens = tokens(&login);
    let leader = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token(None).await.is_ok() }
    });
    tokio::task::yield_now().await;
    let mut followers = JoinSet::new();
    for _ in 0..10 {
        let tokens = tokens.clone();
        followers.spawn(async move { tokens.token(None).await.map(|token| token.expose().to_owned()) });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = Instant::now();
    leader.abort();
    assert!(followers.join_all().await.iter().all(|token| token.as_deref() == Ok("token-2")));
    assert_eq!(login.requests.load(Ordering::SeqCst), 2);
    assert_eq!(before.elapsed().as_millis(), 500, "they did not wait for the lease");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_leaked_without_drop_does_not_strand_the_others() {
    let login = Arc::new(Login::default());
    login.delay_ms.store(500, Ordering::SeqCst);
    let tokens = tokens(&login);
    let mut leader = Box::pin({
        let tokens = tokens.clone();
        async move { tokens.token(None).await.is_ok() }
    });
    assert!(leader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    std::mem::forget(leader);
    let mut followers = JoinSet::new();
    for _ in 0..10 {
        let tokens = tokens.clone();
        followers.spawn(async move { tokens.token(None).await.map(|token| token.expose().to_owned()) });
    }
    assert!(followers.join_all().await.iter().all(|token| token.as_deref() == Ok("token-2")));
    assert_eq!(login.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_sixty_seconds_before_it_expires() {
    let login = Arc::new(Login::default());
    let tokens = tokens(&login);
    assert_eq!(tokens.token(None).await.unwrap().expose(), "token-1");
    tokio::time::advance(Duration::from_millis(3_539_999)).await;
    assert_eq!(tokens.token(None).await.unwrap().expose(), "token-1");
    tokio::time::advance(Duration::from_millis(2)).await;
    assert_eq!(tokens.token(None).await.unwrap().expose(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_kept_token_is_used_again_and_shows_nothing() {
    let login = Arc::new(Login::default());
    let first = tokens(&login);
    first.token(None).await.unwrap();
    let kept = first.export().unwrap();
    assert_eq!(format!("{kept:?}"), "CachedToken { expires_at_ms: 3600000 }");
    let json = serde_json::to_string(&kept).unwrap();
    assert_eq!(json, r#"{"token":"token-1","expires_at_ms":3600000}"#);
    let second = tokens(&login);
    second.import(serde_json::from_str::<CachedToken>(&json).unwrap());
    assert_eq!(second.token(None).await.unwrap().expose(), "token-1");
    assert_eq!(login.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_that_comes_as_400_is_waited_out() {
    let login = Arc::new(Login::default());
    login.answers.lock().unwrap().push(Ok((400, r#"{"error":"invalid_request","description":"rate limit exceeded the maximum","error_description":"rate limit exceeded the maximum"}"#)));
    assert_eq!(tokens(&login).token(None).await.unwrap().expose(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn failures_that_pass_are_tried_again_and_those_that_do_not_are_not() {
    let login = Arc::new(Login::default());
    login.answers.lock().unwrap().extend([
        Ok((503, "")),
        Err(TransportError::other("reset")),
        Err(TransportError::timeout("slow")),
    ]);
    assert_eq!(tokens(&login).token(None).await.unwrap().expose(), "token-4");

    let login = Arc::new(Login::default());
    login.answers.lock().unwrap().extend(std::iter::repeat_n(Ok((503, "")), 9));
    assert_eq!(problem(&failure(&login).await), TokenProblem::VendorError);
    assert_eq!(login.requests.load(Ordering::SeqCst), 4);

    let login = Arc::new(Login::default());
    login.answers.lock().unwrap().push(Ok((404, "<html>")));
    let error = failure(&login).await;
    assert_eq!(problem(&error), TokenProblem::NotALoginHost);
    assert!(error.to_string().contains("login.example.com") && error.to_string().contains("corr"), "{error}");
    assert_eq!(login.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_repeats_the_secret_does_not_show_it() {
    let login = Arc::new(Login::default());
    login.answers.lock().unwrap().push(Ok((400, r#"{"error":"invalid_client","description":"bad secret s3cr3t"}"#)));
    let error = failure(&login).await;
    assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
}

/// A login host that repeats the secret where its correlation id belongs.
struct Echo;

impl Transport for Echo {
    async fn send(&self, _request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let headers = vec![("inin-correlation-id".into(), "corr-s3cr3t".into())];
        Ok(HttpResponse { status: 400, headers, body: b"{}".to_vec() })
    }
}

#[tokio::test(start_paused = true)]
async fn a_correlation_id_that_repeats_the_secret_does_not_show_it() {
    let tokens = OAuthTokens::new(Echo, Paused::new(), "https://login.example.com", "id", Secret::new("s3cr3t"));
    let Err(error) = tokens.token(None).await else { panic!("got a token") };
    assert!(error.to_string().contains("corr-[secret]") && !format!("{error:?}").contains("s3cr3t"), "{error}");
}

/// An API that succeeds with what cannot be read, and repeats the token where its correlation id belongs.
struct Unreadable;

impl Transport for Unreadable {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let said = request.headers.iter().map(|(_, value)| value.as_str()).collect::<String>();
        Ok(HttpResponse { status: 200, headers: vec![("inin-correlation-id".into(), said)], body: b"no list".to_vec() })
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_that_cannot_be_read_does_not_show_the_token_that_it_repeats() {
    let client = Client::new(Unreadable, Paused::new(), Fixed, "https://api.example.com");
    let error = client.event_types().await.unwrap_err();
    assert_eq!(error.code(), "unreadable_answer");
    assert!(error.to_string().contains("Bearer [secret]"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_login_host_that_fails_is_not_waited_for_beyond_the_deadline() {
    let login = Arc::new(Login::default());
    login.delay_ms.store(9_000, Ordering::SeqCst);
    login.answers.lock().unwrap().extend((0..20).map(|_| Ok((503, "{}"))));
    let tokens = tokens(&login);
    let budget = RunBudget { deadline_ms: 12_000, max_requests: 10 };
    let clock = Paused::new();
    let client =
        Client::new(login.clone(), Paused::new(), tokens.clone(), "https://api.example.com").with_budget(budget);
    let error = client.webhook_ip_ranges().await.unwrap_err();
    assert!(matches!(error, Error::Exhausted(Exhausted::Time)), "{error}");
    assert_eq!((clock.now_ms(), login.requests.load(Ordering::SeqCst)), (12_000, 2));
    // A later caller is not held up by the request that was given up.
    login.answers.lock().unwrap().clear();
    assert!(tokens.token(None).await.is_ok());
}

/// A source of another kind.
struct Fixed;

impl TokenSource for Fixed {
    async fn token(&self, _stale: Option<&str>) -> Result<Secret, Error> {
        Ok(Secret::new("fixed"))
    }
}

#[tokio::test]
async fn any_source_of_tokens_will_do() {
    assert_eq!(Fixed.token(None).await.unwrap().expose(), "fixed");
}
