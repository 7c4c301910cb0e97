//! The clients of the Durable Objects, one a class: the name of its objects, its calls and what they answer.
//!
//! Promise: no other file calls an object, so a caller cannot mistake an object, a call or an answer. What each call does stands
//! with its type in `gateway_core`, on which the object's dispatcher matches. Out of scope: repeating a call.

use crate::platform::objects::{CallError, Object};
use gateway_core::audit::{AUDIT_OBJECT, Anchor, AuditCall, Draft, EntryFilter, Lines};
use gateway_core::dead_letters::replay::{Job, JobAction, JobOrder, Replayed};
use gateway_core::dead_letters::{
    Expired, LetterFilter, LetterTotals, LettersCall, LettersPut, Outlived, STORE_OBJECT, StoredDeadLetter, Summary,
};
use gateway_core::deliver::circuit_breaker::{Change, Circuit, CircuitCall, Gate, Reported, Settings, Tally};
use gateway_core::deliver::ledger::{
    ClaimItem, Claimed, DeliveryRow, LedgerCall, LedgerTotals, LostRow, SettleItem, Settled, State,
};
use gateway_core::lifecycle::{Answered, LIFECYCLE_OBJECT, LifecycleCall};
use gateway_core::messages::DeadLetter;
use gateway_core::metrics::counters::{CountersCall, Flush, Totals};
use gateway_core::monitor::calls::{Health, MONITOR_OBJECT, MonitorCall, Observation};
use worker::Env;

type Answer<T> = Result<T, CallError>;

/// Sums of what isolates have counted; one of several shards.
#[derive(Clone, Copy)]
pub(crate) struct CountersClient<'a>(Object<'a>);

impl<'a> CountersClient<'a> {
    pub(crate) const fn new(env: &'a Env, shard: &'a str) -> Self {
        Self(Object::new(env, "COUNTERS", shard))
    }

    pub(crate) async fn add(self, flush: Flush) -> Answer<()> {
        self.0.call(&CountersCall::Add(flush)).await
    }

    pub(crate) async fn read(self) -> Answer<Totals> {
        self.0.call(&CountersCall::Read).await
    }
}

/// How deliveries stand; one of several shards.
#[derive(Clone, Copy)]
pub(crate) struct LedgerClient<'a>(Object<'a>);

impl<'a> LedgerClient<'a> {
    pub(crate) const fn new(env: &'a Env, shard: &'a str) -> Self {
        Self(Object::new(env, "DELIVERY_LEDGER", shard))
    }

    pub(crate) async fn claim(self, items: Vec<ClaimItem>) -> Answer<Vec<Claimed>> {
        self.0.call(&LedgerCall::Claim { items }).await
    }

    pub(crate) async fn settle(self, items: Vec<SettleItem>) -> Answer<Settled> {
        self.0.call(&LedgerCall::Settle { items }).await
    }

    pub(crate) async fn give_up(self, items: Vec<ClaimItem>, known: bool) -> Answer<Vec<State>> {
        self.0.call(&LedgerCall::GiveUp { items, known }).await
    }

    pub(crate) async fn lost(self, before_ms: u64, suspected_before_ms: u64, limit: u32) -> Answer<Vec<LostRow>> {
        self.0.call(&LedgerCall::Lost { before_ms, suspected_before_ms, limit }).await
    }

    pub(crate) async fn list(
        self,
        source: Option<String>,
        state: Option<State>,
        before: Option<(u64, String)>,
        limit: u32,
    ) -> Answer<Vec<DeliveryRow>> {
        self.0.call(&LedgerCall::List { source, state, before, limit }).await
    }

    pub(crate) async fn get(self, id: &str) -> Answer<Option<DeliveryRow>> {
        self.0.call(&LedgerCall::Get { id: id.into() }).await
    }

    pub(crate) async fn expire(self, before_ms: u64, limit: u32) -> Answer<u64> {
        self.0.call(&LedgerCall::Expire { before_ms, limit }).await
    }

    pub(crate) async fn totals(self) -> Answer<LedgerTotals> {
        self.0.call(&LedgerCall::Totals).await
    }
}

/// Dead letters and the jobs that replay them; one object.
#[derive(Clone, Copy)]
pub(crate) struct DeadLetterClient<'a>(Object<'a>);

impl<'a> DeadLetterClient<'a> {
    pub(crate) const fn new(env: &'a Env) -> Self {
        Self(Object::new(env, "DEAD_LETTER_STORE", STORE_OBJECT))
    }

    pub(crate) async fn put(self, letters: Vec<StoredDeadLetter>) -> Answer<LettersPut> {
        self.0.call(&LettersCall::Put { letters }).await
    }

    pub(crate) async fn list(
        self,
        filter: LetterFilter,
        before: Option<(u64, String)>,
        limit: u32,
    ) -> Answer<Vec<Summary>> {
        self.0.call(&LettersCall::List { filter, before, limit }).await
    }

    pub(crate) async fn get(self, id: &str) -> Answer<Option<StoredDeadLetter>> {
        self.0.call(&LettersCall::Get { id: id.into() }).await
    }

    pub(crate) async fn delete(self, id: &str) -> Answer<Option<(DeadLetter, Option<String>)>> {
        self.0.call(&LettersCall::Delete { id: id.into() }).await
    }

    pub(crate) async fn expire(self, before_ms: u64, received_before_ms: u64, limit: u32) -> Answer<Expired> {
        self.0.call(&LettersCall::Expire { before_ms, received_before_ms, limit }).await
    }

    pub(crate) async fn totals(self) -> Answer<LetterTotals> {
        self.0.call(&LettersCall::Totals).await
    }

    pub(crate) async fn replay(self, id: &str, actor: &str) -> Answer<Option<Replayed>> {
        self.0.call(&LettersCall::Replay { id: id.into(), actor: actor.into() }).await
    }

    pub(crate) async fn replay_many(self, order: JobOrder) -> Answer<Job> {
        self.0.call(&LettersCall::ReplayMany { order }).await
    }

    pub(crate) async fn jobs(self) -> Answer<Vec<Job>> {
        self.0.call(&LettersCall::Jobs).await
    }

    pub(crate) async fn job(self, id: &str, action: JobAction) -> Answer<Option<Job>> {
        self.0.call(&LettersCall::Job { id: id.into(), action }).await
    }

    pub(crate) async fn outlived(self, letters: Vec<Outlived>) -> Answer<u64> {
        self.0.call(&LettersCall::Outlived { letters }).await
    }

    pub(crate) async fn wake(self) -> Answer<u64> {
        self.0.call(&LettersCall::Wake).await
    }
}

/// The audit trail; one object. Lists and walks are passed on as the JSON that they are.
#[derive(Clone, Copy)]
pub(crate) struct AuditLogClient<'a>(Object<'a>);

impl<'a> AuditLogClient<'a> {
    pub(crate) const fn new(env: &'a Env) -> Self {
        Self(Object::new(env, "AUDIT_LOG", AUDIT_OBJECT))
    }

    pub(crate) async fn append(self, drafts: &[Draft], batch: Option<&str>) -> Answer<u64> {
        self.0.call(&AuditCall::Append { drafts: drafts.to_vec(), batch: batch.map(Into::into) }).await
    }

    pub(crate) async fn list_json(self, filter: EntryFilter, before_seq: Option<u64>, limit: u32) -> Answer<String> {
        self.0.call_for_text(&AuditCall::List { filter, before_seq, limit }).await
    }

    pub(crate) async fn verify_json(self, from_seq: u64, limit: u32) -> Answer<String> {
        self.0.call_for_text(&AuditCall::Verify { from_seq, limit }).await
    }

    pub(crate) async fn lines(self, from_seq: u64, limit: u32) -> Answer<Lines> {
        self.0.call(&AuditCall::Lines { from_seq, limit }).await
    }

    pub(crate) async fn export(self, limit: u32) -> Answer<u64> {
        self.0.call(&AuditCall::Export { limit }).await
    }

    pub(crate) async fn anchored(self, segment: u64) -> Answer<Option<Anchor>> {
        self.0.call(&AuditCall::Anchored { segment }).await
    }

    pub(crate) async fn expire(self, before_ms: u64) -> Answer<u64> {
        self.0.call(&AuditCall::Expire { before_ms }).await
    }
}

/// The vendor's API; one object, whose calls all answer the same.
#[derive(Clone, Copy)]
pub(crate) struct LifecycleClient<'a>(Object<'a>);

impl<'a> LifecycleClient<'a> {
    pub(crate) const fn new(env: &'a Env) -> Self {
        Self(Object::new(env, "LIFECYCLE", LIFECYCLE_OBJECT))
    }

    pub(crate) async fn call(self, call: &LifecycleCall) -> Answer<Answered> {
        self.0.call(call).await
    }
}

/// The circuit of one source's destination; an object a source.
#[derive(Clone, Copy)]
pub(crate) struct CircuitClient<'a>(Object<'a>);

impl<'a> CircuitClient<'a> {
    /// How long a call may take, in milliseconds: a batch waits for it.
    const ANSWER_MS: u64 = 2_000;

    pub(crate) const fn new(env: &'a Env, name: &'a str) -> Self {
        Self(Object::new(env, "DESTINATIONS", name))
    }

    pub(crate) async fn ask(self, lease_ms: u64) -> Answer<Gate> {
        self.0.within(Self::ANSWER_MS, self.0.call(&CircuitCall::Ask { lease_ms })).await
    }

    pub(crate) async fn report(self, probe: Option<u64>, tally: Tally, settings: Settings) -> Answer<Reported> {
        self.0.within(Self::ANSWER_MS, self.0.call(&CircuitCall::Report { probe, tally, settings })).await
    }

    pub(crate) async fn close(self) -> Answer<Option<Change>> {
        self.0.within(Self::ANSWER_MS, self.0.call(&CircuitCall::Close)).await
    }

    pub(crate) async fn read(self) -> Answer<Circuit> {
        self.0.within(Self::ANSWER_MS, self.0.call(&CircuitCall::Read)).await
    }

    /// The error of a circuit that was not asked.
    pub(crate) const fn late(self) -> CallError {
        self.0.late()
    }
}

/// The health monitor; one object.
#[derive(Clone, Copy)]
pub(crate) struct MonitorClient<'a>(Object<'a>);

impl<'a> MonitorClient<'a> {
    pub(crate) const fn new(env: &'a Env) -> Self {
        Self(Object::new(env, "MONITOR", MONITOR_OBJECT))
    }

    pub(crate) async fn evaluate(self, observation: Observation) -> Answer<Health> {
        self.0.call(&MonitorCall::Evaluate(observation)).await
    }

    pub(crate) async fn read(self) -> Answer<Health> {
        self.0.call(&MonitorCall::Read).await
    }
}
