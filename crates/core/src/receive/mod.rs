//! Receiving a request to `/webhook/{source}`: what is done next, until it is answered.
//!
//! The driver (`src/receive/driver.js`) does the input and output, [`Receiver`] decides, synchronously. A request is opened; it
//! is answered at once, or its body is read; it is judged; then it is answered, or the rate limiter is asked, or a message is
//! sent (and its body stored before); then it is settled. Accepted, refused and refused at the door are the same steps.
//!
//! Promises: the signature is verified over the raw bytes before anything is parsed; a delivery is answered 200 only after its
//! message was sent; a request that is genuine is kept whatever policy says of its address; rate limit and quarantine
//! count only what cannot be verified, by source and address; every POST is accounted with labels of which there are
//! few; a request that vanishes gives back what it held. Out of scope: what a valid signature and envelope are (`genesys_webhook`).

pub mod answer;
pub mod body_budget;
pub mod delivery;
pub mod networks;
pub mod quarantine;
pub mod rejection;
pub mod route;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::messages::id::delivery_id;
use crate::messages::keys::payload_key;
use crate::messages::{self, BodyRef, DeadLetter, Stage};
use answer::Answer;
use body_budget::{BodyBudget, BodyPermit};
use delivery::{RequestHead, SourcePolicy};
use genesys_webhook::doctor;
use genesys_webhook::encoding::{Tag, hex};
use genesys_webhook::headers::owned;
use genesys_webhook::refusal::Refusal;
use genesys_webhook::signature::{PreparedCheck, VerifyError};
use quarantine::Quarantine;
use rejection::{Failure, Rejection};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};

/// The name under which requests are counted that name no source of the configuration. No source can have it.
pub const UNKNOWN_SOURCE: &str = "(unknown)";

/// From this size on a body is stored in the bucket, in bytes. A message holds 127,800 and the kept headers need room.
pub const STORED_FROM_BYTES: usize = 100_000;

/// After this time a request that was not settled counts as vanished, in milliseconds. Reading ends after
/// [`READ_DEADLINE_MS`]; storing and sending take seconds.
pub const LEASE_MS: u64 = 60_000;

/// How long a sender may take for its body, in milliseconds. Genesys gives a delivery up after 10 s.
pub const READ_DEADLINE_MS: u64 = 10_000;

/// How many requests to unknown sources are logged, per minute and isolate.
const UNKNOWN_LOGGED_PER_MINUTE: u32 = 10;

const MINUTE_MS: u64 = 60_000;

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Answers; `settled` where the request is counted.
    Answer {
        /// What is answered.
        answer: Answer,
        /// What is counted.
        settled: Option<Settled>,
    },
    /// Reads the body, then calls [`Receiver::arrived`] (or [`Receiver::overflowed`], or [`Receiver::failed`]).
    Read {
        /// The request's number in further calls.
        id: u32,
        /// The most bytes that are read.
        limit_bytes: u64,
    },
    /// Asks the rate limiter, then calls [`Receiver::rate_limited`].
    AskRateLimit {
        /// The request's number in further calls.
        id: u32,
        /// Name of the limiter's binding.
        binding: String,
        /// Whose requests are counted: source and address.
        key: String,
    },
    /// Stores the body where it is to be stored, sends the message, then calls [`Receiver::sent`] (or [`Receiver::failed`]).
    Send(Outgoing),
}

/// A message to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The request's number in further calls.
    pub id: u32,
    /// Where it is sent.
    pub queue: Queue,
    /// Header line of the message.
    pub header: String,
    /// What becomes of the body.
    pub body: BodyPlace,
    /// What is answered once the message was sent.
    pub answer: Answer,
}

/// A queue of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Accepted deliveries.
    Deliveries,
    /// Dead letters.
    DeadLetters,
}

/// Where a body goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPlace {
    /// Behind the header, in the message.
    Message,
    /// Into the bucket, under this key.
    Bucket(String),
    /// Nowhere: it was not read.
    Nowhere,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable.
    Accepted {
        /// Events of its envelope.
        event_count: u64,
        /// Label of the secret that verified it.
        secret_label: String,
    },
    /// Not accepted.
    Refused {
        /// Stable name of the reason.
        code: &'static str,
        /// Whether it is a dead letter now.
        is_kept: bool,
    },
    /// Ours to repair.
    Unavailable {
        /// Stable name of the cause.
        cause: &'static str,
    },
}

/// What is counted of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled {
    /// Place of its source in the configuration; `None` where it named none.
    pub source: Option<usize>,
    /// What it came to.
    pub outcome: Outcome,
    /// Size of its body, where it was read.
    pub size_bytes: u64,
    /// From its arrival to its end, in milliseconds.
    pub latency_ms: u64,
    /// Whether it is to be logged.
    pub is_logged: bool,
}

/// What was computed of a body outside of this crate, where it is large.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digests<'d> {
    /// One tag for each secret of [`Receiver::hash_plan`], in its order; none where they are to be computed here.
    pub tags: &'d [Tag],
    /// SHA-256 of the body; computed here where it is missing and needed.
    pub sha256: Option<[u8; 32]>,
}

/// Whether a body grew within what there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Read on.
    Fits,
    /// It passed the source's limit.
    TooLarge,
    /// The isolate holds as much as it may.
    NoRoom,
}

/// A request on its way.
#[derive(Debug)]
struct Reception {
    source: usize,
    /// As [`RequestHead`] reads it.
    head: String,
    delivery_id: String,
    received_at_ms: u64,
    permit: BodyPermit,
    /// Size of its body, once it was read.
    size_bytes: u64,
    /// What is known of the size of a body that is not read.
    omitted_bytes: u64,
    limit_bytes: u64,
    /// Why it cannot be verified, while the rate limiter is asked.
    refused: Option<Refusal>,
    /// What it comes to once its message was sent.
    outcome: Option<Outcome>,
}

/// The requests that an isolate is receiving.
#[derive(Debug, Default)]
pub struct Receiver {
    receptions: Receptions,
    budget: BodyBudget,
    /// By source.
    quarantines: BTreeMap<String, Quarantine>,
    unknown: UnknownLog,
}

/// Receptions by number. Numbers grow with time, so the oldest are in front.
#[derive(Debug, Default)]
struct Receptions {
    /// `None`: settled.
    list: VecDeque<Option<Reception>>,
    /// Number of the first.
    first_id: u32,
}

impl Receptions {
    fn push(&mut self, reception: Reception) -> u32 {
        let behind = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push_back(Some(reception));
        self.first_id.wrapping_add(behind)
    }

    fn place(&self, id: u32) -> Option<usize> {
        usize::try_from(id.wrapping_sub(self.first_id)).ok()
    }

    fn get(&self, id: u32) -> Option<&Reception> {
        self.list.get(self.place(id)?)?.as_ref()
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut Reception> {
        let place = self.place(id)?;
        self.list.get_mut(place)?.as_mut()
    }

    fn remove(&mut self, id: u32) -> Option<Reception> {
        let place = self.place(id)?;
        let removed = self.list.get_mut(place)?.take();
        while self.list.front().is_some_and(Option::is_none) {
            self.list.pop_front();
            self.first_id = self.first_id.wrapping_add(1);
        }
        removed
    }

    /// The oldest, where it began at `until_ms` or before.
    fn remove_oldest(&mut self, until_ms: u64) -> Option<Reception> {
        let oldest = self.list.front()?.as_ref()?;
        if oldest.received_at_ms <= until_ms { self.remove(self.first_id) } else { None }
    }
}

#[derive(Debug, Default)]
struct UnknownLog {
    since_ms: u64,
    logged: u32,
}

impl UnknownLog {
    fn admit(&mut self, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.since_ms) >= MINUTE_MS {
            *self = Self { since_ms: now_ms, logged: 0 };
        }
        self.logged = self.logged.saturating_add(1);
        self.logged <= UNKNOWN_LOGGED_PER_MINUTE
    }
}

impl Next {
    fn answer(answer: Answer) -> Self {
        Self::Answer { answer, settled: None }
    }
}

impl Receiver {
    /// Opens a request.
    ///
    /// `policy`: its source and the source's place in the configuration; `head`: as [`RequestHead`] reads it;
    /// `declared_bytes`: its `Content-Length`; `entropy`: for its identifier; `now_ms`: milliseconds since the epoch.
    pub fn open(
        &mut self,
        policy: Option<(usize, SourcePolicy<'_>)>,
        head: String,
        declared_bytes: Option<u64>,
        entropy: [u8; 10],
        now_ms: u64,
    ) -> Next {
        let is_post = RequestHead::first_line(&head).0 == "POST";
        let Some((at, policy)) = policy else {
            let answer = Rejection::UnknownSource.answer();
            let settled = is_post.then(|| Settled {
                source: None,
                outcome: Outcome::Refused { code: Rejection::UnknownSource.code(), is_kept: false },
                size_bytes: 0,
                latency_ms: 0,
                is_logged: self.unknown.admit(now_ms),
            });
            return Next::Answer { answer, settled };
        };
        if !is_post {
            return Next::answer(without_a_delivery(&RequestHead::read(&head), policy));
        }
        self.forget_vanished(now_ms);
        let limit_bytes = policy.source.max_body_bytes;
        let reception = Reception {
            source: at,
            head,
            delivery_id: delivery_id(now_ms, entropy),
            received_at_ms: now_ms,
            permit: BodyPermit::default(),
            size_bytes: 0,
            omitted_bytes: 0,
            limit_bytes,
            refused: None,
            outcome: None,
        };
        let id = self.receptions.push(reception);
        match declared_bytes {
            Some(declared_bytes) if declared_bytes > limit_bytes => self.overflowed(id, policy, declared_bytes),
            _ => Next::Read { id, limit_bytes },
        }
    }

    /// Which secrets a large body is to be hashed with, and what is signed around it. Nothing where its headers are refused
    /// whatever its body is.
    pub fn hash_plan<'g>(&self, id: u32, policy: SourcePolicy<'g>) -> Option<PreparedCheck<'g>> {
        let reception = self.receptions.get(id)?;
        let head = RequestHead::read(&reception.head);
        policy.verifier.prepare(head.headers.as_slice(), reception.received_at_ms).ok()
    }

    /// Counts `bytes` of a body that are held.
    pub fn grow(&mut self, id: u32, bytes: u64) -> Growth {
        let Some(reception) = self.receptions.get_mut(id) else { return Growth::NoRoom };
        if bytes > reception.limit_bytes {
            Growth::TooLarge
        } else if self.budget.hold(&mut reception.permit, bytes) {
            Growth::Fits
        } else {
            Growth::NoRoom
        }
    }

    /// Judges a request whose body is there.
    pub fn arrived(&mut self, id: u32, policy: SourcePolicy<'_>, body: &[u8], digests: Digests<'_>) -> Next {
        let size_bytes = body.len() as u64;
        if self.receptions.get(id).is_none() {
            return interrupted();
        }
        match self.grow(id, size_bytes) {
            Growth::Fits => {}
            Growth::TooLarge => return self.overflowed(id, policy, size_bytes),
            Growth::NoRoom => return self.unavailable(id, Failure::NoRoom.cause()),
        }
        if let Some(reception) = self.receptions.get_mut(id) {
            reception.size_bytes = size_bytes;
        }
        self.with_head(id, |receiver, head| receiver.judge(id, policy, head, body, digests))
    }

    /// Lends the head of a request to what decides on it.
    fn with_head(&mut self, id: u32, decide: impl FnOnce(&mut Self, &RequestHead<'_>) -> Next) -> Next {
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        let text = core::mem::take(&mut reception.head);
        let next = decide(self, &RequestHead::read(&text));
        if let Some(reception) = self.receptions.get_mut(id) {
            reception.head = text;
        }
        next
    }

    fn judge(
        &mut self,
        id: u32,
        policy: SourcePolicy<'_>,
        head: &RequestHead<'_>,
        body: &[u8],
        digests: Digests<'_>,
    ) -> Next {
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        let received_at_ms = reception.received_at_ms;
        let verified = verify(policy, head, body, digests.tags, received_at_ms);
        let label = match verified {
            Ok(label) => label,
            Err(VerifyError::Refused(refusal)) => {
                return self.unverified(id, policy, head, refusal, Some(body), digests);
            }
            Err(error @ VerifyError::NoActiveSecret) => return self.unavailable(id, error.code()),
        };
        let networks = &policy.source.allow_networks;
        let made = if networks.is_empty() || networks::allows(networks, head.address()) {
            let delivery_id = reception.delivery_id.clone();
            policy.delivery(delivery_id, label, &head.headers, body, received_at_ms).map_err(Rejection::Refused)
        } else {
            Err(Rejection::AddressNotAllowed)
        };
        match made {
            Ok(mut delivery) => {
                let answer = Answer::accepted(&delivery.id, delivery.event_count);
                let outcome = Outcome::Accepted { event_count: delivery.event_count, secret_label: label.to_owned() };
                reception.outcome = Some(outcome);
                let mut header = messages::delivery_header(&delivery);
                let mut place = BodyPlace::Message;
                if let Some(key) = reception.bucket_key(policy, &header, body) {
                    delivery.body = stored(&key, body, digests);
                    header = messages::delivery_header(&delivery);
                    place = BodyPlace::Bucket(key);
                }
                Next::Send(Outgoing { id, queue: Queue::Deliveries, header, body: place, answer })
            }
            Err(rejection) => {
                let letter = reception.letter(policy, head, &rejection, Some(label.to_owned()));
                reception.keep(id, policy, &rejection, letter, Some(body), digests)
            }
        }
    }

    /// The body is larger than its source's limit, by `size_bytes` of it that are known.
    pub fn overflowed(&mut self, id: u32, policy: SourcePolicy<'_>, size_bytes: u64) -> Next {
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        // Nothing of it is held any longer.
        self.budget.release(core::mem::take(&mut reception.permit));
        reception.omitted_bytes = size_bytes;
        let refusal = Refusal::BodyTooLarge { limit_bytes: reception.limit_bytes };
        self.with_head(id, |receiver, head| receiver.unverified(id, policy, head, refusal, None, Digests::default()))
    }

    /// What cannot be verified counts against the rate limit of its source and address, where there is one.
    fn unverified(
        &mut self,
        id: u32,
        policy: SourcePolicy<'_>,
        head: &RequestHead<'_>,
        refusal: Refusal,
        body: Option<&[u8]>,
        digests: Digests<'_>,
    ) -> Next {
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        if let Some(binding) = &policy.source.rate_limit {
            reception.refused = Some(refusal);
            let key = format!("{}|{}", policy.source.name, head.address());
            return Next::AskRateLimit { id, binding: binding.clone(), key };
        }
        self.quarantine(id, policy, head, refusal, body, digests)
    }

    /// The rate limiter has answered. `body`: `None` where it was not read.
    ///
    /// `is_within`: a limiter that fails is taken for one that lets pass, because it would protect nobody otherwise.
    pub fn rate_limited(
        &mut self,
        id: u32,
        policy: SourcePolicy<'_>,
        body: Option<&[u8]>,
        digests: Digests<'_>,
        is_within: bool,
    ) -> Next {
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        let Some(refusal) = reception.refused.take() else { return interrupted() };
        if !is_within {
            return self.refuse(id, &Rejection::RateLimited);
        }
        self.with_head(id, |receiver, head| receiver.quarantine(id, policy, head, refusal, body, digests))
    }

    /// Keeps what cannot be verified, within the budget of its source and address.
    fn quarantine(
        &mut self,
        id: u32,
        policy: SourcePolicy<'_>,
        head: &RequestHead<'_>,
        refusal: Refusal,
        body: Option<&[u8]>,
        digests: Digests<'_>,
    ) -> Next {
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        let received_at_ms = reception.received_at_ms;
        // What says why is dropped first: networks are policy, a signature is proof.
        let networks = &policy.source.allow_networks;
        if !networks.is_empty() && !networks::allows(networks, head.address()) {
            return self.refuse(id, &Rejection::AddressNotAllowed);
        }
        let source = policy.source;
        let quarantine = self
            .quarantines
            .entry(source.name.clone())
            .or_insert_with(|| Quarantine::new(source.quarantine, received_at_ms));
        let kept_bytes = body.map_or(0, <[u8]>::len) as u64;
        if !quarantine.admit(head.address(), kept_bytes, received_at_ms) {
            return self.refuse(id, &Rejection::Refused(refusal));
        }
        // Bounded work, and only within the quarantine's budget.
        let diagnosis =
            body.map(|body| doctor::diagnose(policy.verifier, head.headers.as_slice(), body, received_at_ms));
        let rejection = Rejection::Refused(refusal);
        let letter = DeadLetter { diagnosis, ..reception.letter(policy, head, &rejection, None) };
        reception.keep(id, policy, &rejection, letter, body, digests)
    }

    /// The message was sent: what is counted. `None` where the request is unknown, and its sender is to repeat.
    pub fn sent(&mut self, id: u32, now_ms: u64) -> Option<Settled> {
        let outcome = self.receptions.get_mut(id)?.outcome.take()?;
        self.settle(id, outcome, now_ms)
    }

    /// Something failed that is not the sender's fault, or the body did not arrive: what is answered and counted.
    pub fn failed(&mut self, id: u32, failure: Failure, now_ms: u64) -> (Answer, Option<Settled>) {
        let cause = failure.cause();
        (Answer::unavailable(cause), self.settle(id, Outcome::Unavailable { cause }, now_ms))
    }

    /// The identifier of a request that was given to its delivery, and its head, for the log.
    pub fn identity(&self, id: u32) -> Option<(&str, RequestHead<'_>)> {
        let reception = self.receptions.get(id)?;
        Some((&reception.delivery_id, RequestHead::read(&reception.head)))
    }

    /// Place of the request's source in the configuration.
    pub fn source(&self, id: u32) -> Option<usize> {
        self.receptions.get(id).map(|reception| reception.source)
    }

    /// Bytes of bodies that are held now.
    pub fn held_bytes(&self) -> u64 {
        self.budget.bytes()
    }

    fn refuse(&mut self, id: u32, rejection: &Rejection) -> Next {
        let outcome = Outcome::Refused { code: rejection.code(), is_kept: false };
        self.end(id, rejection.answer(), outcome)
    }

    fn unavailable(&mut self, id: u32, cause: &'static str) -> Next {
        self.end(id, Answer::unavailable(cause), Outcome::Unavailable { cause })
    }

    /// Ends a request without input or output, so without time.
    fn end(&mut self, id: u32, answer: Answer, outcome: Outcome) -> Next {
        let now_ms = self.receptions.get(id).map_or(0, |reception| reception.received_at_ms);
        Next::Answer { answer, settled: self.settle(id, outcome, now_ms) }
    }

    fn settle(&mut self, id: u32, outcome: Outcome, now_ms: u64) -> Option<Settled> {
        let reception = self.receptions.remove(id)?;
        self.budget.release(reception.permit);
        Some(Settled {
            source: Some(reception.source),
            outcome,
            size_bytes: reception.size_bytes,
            latency_ms: now_ms.saturating_sub(reception.received_at_ms),
            is_logged: false,
        })
    }

    /// Ends the requests that vanished without a word. Numbers are given in the order of time.
    fn forget_vanished(&mut self, now_ms: u64) {
        while let Some(vanished) = self.receptions.remove_oldest(now_ms.saturating_sub(LEASE_MS)) {
            self.budget.release(vanished.permit);
        }
    }
}

impl Reception {
    /// Under which key a body is stored; `None` where it fits into its message.
    fn bucket_key(&self, policy: SourcePolicy<'_>, header: &str, body: &[u8]) -> Option<String> {
        let is_stored = body.len() >= STORED_FROM_BYTES || !messages::fits(header, body.len());
        is_stored.then(|| payload_key(&policy.source.name, &self.delivery_id, self.received_at_ms))
    }

    fn letter(
        &self,
        policy: SourcePolicy<'_>,
        head: &RequestHead<'_>,
        rejection: &Rejection,
        secret_label: Option<String>,
    ) -> DeadLetter {
        let body = BodyRef::Omitted { size_bytes: self.omitted_bytes };
        let id = self.delivery_id.clone();
        DeadLetter {
            source: policy.source.name.clone(),
            detail: rejection.detail(),
            verified: secret_label.is_some(),
            secret_label,
            duplicate_window_s: Some(policy.source.duplicate_window_s),
            headers: owned(policy.kept_headers(&head.headers)),
            ..DeadLetter::of(id, Stage::Receive, rejection.code(), body, self.received_at_ms)
        }
    }

    /// Sends a letter with its body; `None` where it was not read.
    fn keep(
        &mut self,
        id: u32,
        policy: SourcePolicy<'_>,
        rejection: &Rejection,
        mut letter: DeadLetter,
        body: Option<&[u8]>,
        digests: Digests<'_>,
    ) -> Next {
        let mut place = BodyPlace::Nowhere;
        if let Some(body) = body {
            place = BodyPlace::Message;
            letter.body = BodyRef::Inline { size_bytes: body.len() as u64 };
            if let Some(key) = self.bucket_key(policy, &messages::dead_letter_header(&letter), body) {
                letter.body = stored(&key, body, digests);
                place = BodyPlace::Bucket(key);
            }
        }
        self.outcome = Some(Outcome::Refused { code: rejection.code(), is_kept: true });
        let header = messages::dead_letter_header(&letter);
        Next::Send(Outgoing { id, queue: Queue::DeadLetters, header, body: place, answer: rejection.answer() })
    }
}

fn stored(key: &str, body: &[u8], digests: Digests<'_>) -> BodyRef {
    let sha256 = digests.sha256.unwrap_or_else(|| Sha256::digest(body).into());
    BodyRef::Stored { key: key.to_owned(), size_bytes: body.len() as u64, sha256: hex(&sha256) }
}

/// The label of the secret that verified a request.
fn verify<'g>(
    policy: SourcePolicy<'g>,
    head: &RequestHead<'_>,
    body: &[u8],
    tags: &[Tag],
    now_ms: u64,
) -> Result<&'g str, VerifyError> {
    let prepared = policy.verifier.prepare(head.headers.as_slice(), now_ms)?;
    let verified = if tags.len() == prepared.secrets().len() {
        prepared.check(tags)
    } else {
        prepared.check(&prepared.tags(body))
    };
    Ok(verified?.label)
}

/// The request is no longer known here: its sender repeats.
fn interrupted() -> Next {
    Next::answer(Answer::unavailable(Failure::Interrupted.cause()))
}

/// What is answered to a method other than POST.
fn without_a_delivery(request: &RequestHead<'_>, policy: SourcePolicy<'_>) -> Answer {
    let origin = request.header("webhook-request-origin");
    let origins = &policy.source.webhook_origins;
    match request.method {
        "GET" | "HEAD" => Answer::empty(204),
        // The handshake of CloudEvents' HTTP webhooks, section 4.
        "OPTIONS"
            if origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin)) && !origin.is_empty() =>
        {
            Answer::empty(200)
                .with("allow", "GET, HEAD, OPTIONS, POST")
                .with("webhook-allowed-origin", origin)
                .with("webhook-allowed-rate", "*")
        }
        _ => Answer::error(405, "Method not allowed", "method_not_allowed", None).with("allow", "GET, HEAD, POST"),
    }
}
