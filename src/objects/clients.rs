//! The clients of the Durable Objects, one a class: its binding, the name of its objects, its calls and what they answer.
//!
//! Promise: no other file calls an object, so a caller cannot mistake an object, a call or an answer. What each call does stands
//! with its type in `gateway_core`, on which the object's dispatcher matches. Out of scope: repeating a call.

use crate::platform::objects::{CallError, ObjectRef};
use gateway_core::audit::{AUDIT_OBJECT, AuditCall, Draft, EntryFilter, Lines, LogTotals, Marks};
use gateway_core::dead_letters::replay::{Job, JobAction, JobOrder, LetterPosition, Replayed};
use gateway_core::dead_letters::retention::LastRetention;
use gateway_core::dead_letters::{
    Expired, LetterFilter, LetterTotals, LettersCall, LettersPut, Outlived, STORE_OBJECT, StoredDeadLetter, Summary,
};
use gateway_core::deliver::circuit_breaker::{
    AttemptTally, Circuit, CircuitCall, EndedAttempt, Gate, Reported, Settings,
};
use gateway_core::deliver::ledger::{
    ClaimItem, Claimed, DeliveryRow, LedgerCall, LedgerTotals, LostRow, SettleItem, Settled, State,
};
use gateway_core::lifecycle::{Answered, LIFECYCLE_OBJECT, LifecycleCall};
use gateway_core::messages::DeadLetter;
use gateway_core::metrics::counters::{CountersCall, Flush, Totals};
use gateway_core::monitor::calls::{Health, MONITOR_OBJECT, MonitorCall, Observation};
use worker::Env;

/// Defines clients: `Name(env, …) = object { method(arguments) -> answer = call; … }`.
macro_rules! clients {
    ($($(#[$doc:meta])* $client:ident($env:ident $(, $key:ident)?) = $object:expr => {
        $($method:ident($($argument:ident: $type:ty),*) -> $answer:ty = $call:expr;)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $client<'a>(ObjectRef<'a>);

        impl<'a> $client<'a> {
            pub(crate) const fn new($env: &'a Env $(, $key: &'a str)?) -> Self {
                Self($object)
            }

            $(pub(crate) async fn $method(self $(, $argument: $type)*) -> Result<$answer, CallError> {
                self.0.call(&$call).await
            })*
        }
    )*};
}

clients! {
    /// Sums of what isolates have counted; one of several shards.
    CountersClient(env, shard) = ObjectRef::new(env, "COUNTERS", shard) => {
        add(flush: Flush) -> () = CountersCall::Add(flush);
        read() -> Totals = CountersCall::Read;
    }

    /// How deliveries stand; one of several shards.
    LedgerClient(env, shard) = ObjectRef::new(env, "DELIVERY_LEDGER", shard) => {
        claim(items: Vec<ClaimItem>) -> Vec<Claimed> = LedgerCall::Claim { items };
        settle(items: Vec<SettleItem>) -> Settled = LedgerCall::Settle { items };
        give_up(items: Vec<ClaimItem>, known: bool) -> Vec<State> = LedgerCall::GiveUp { items, known };
        lost(before_ms: u64, suspected_before_ms: u64, limit: u32) -> Vec<LostRow> =
            LedgerCall::Lost { before_ms, suspected_before_ms, limit };
        list(source: Option<String>, state: Option<State>, before: Option<(u64, String)>, limit: u32) -> Vec<DeliveryRow> =
            LedgerCall::List { source, state, before, limit };
        get(id: &str) -> Option<DeliveryRow> = LedgerCall::Get { id: id.into() };
        expire(before_ms: u64, limit: u32) -> u64 = LedgerCall::Expire { before_ms, limit };
        totals() -> LedgerTotals = LedgerCall::Totals;
    }

    /// Dead letters and the jobs that replay them; one object.
    DeadLetterClient(env) = ObjectRef::new(env, "DEAD_LETTER_STORE", STORE_OBJECT) => {
        put(letters: Vec<StoredDeadLetter>) -> LettersPut = LettersCall::Put { letters };
        list(filter: LetterFilter, before: Option<LetterPosition>, limit: u32) -> Vec<Summary> =
            LettersCall::List { filter, before, limit };
        get(id: &str) -> Option<StoredDeadLetter> = LettersCall::Get { id: id.into() };
        delete(id: &str) -> Option<(DeadLetter, Option<String>)> = LettersCall::Delete { id: id.into() };
        expire(before_ms: u64, received_before_ms: u64, limit: u32) -> Expired =
            LettersCall::Expire { before_ms, received_before_ms, limit };
        totals() -> LetterTotals = LettersCall::Totals;
        replay(id: &str, actor: &str) -> Option<Replayed> = LettersCall::Replay { id: id.into(), actor: actor.into() };
        replay_many(order: JobOrder) -> Job = LettersCall::ReplayMany { order };
        jobs() -> Vec<Job> = LettersCall::Jobs;
        job(id: &str, action: JobAction) -> Option<Job> = LettersCall::Job { id: id.into(), action };
        outlived(letters: Vec<Outlived>) -> u64 = LettersCall::Outlived { letters };
        wake() -> u64 = LettersCall::Wake;
    }

    /// The audit trail; one object.
    AuditLogClient(env) = ObjectRef::new(env, "AUDIT_LOG", AUDIT_OBJECT) => {
        append(drafts: &[Draft], batch: Option<&str>) -> u64 =
            AuditCall::Append { drafts: drafts.to_vec(), batch: batch.map(Into::into) };
        lines(from_seq: u64, limit: u32) -> Option<Lines> = AuditCall::Lines { from_seq, limit };
        export() -> u64 = AuditCall::Export;
        expire(before_ms: u64) -> u64 = AuditCall::Expire { before_ms };
        marks() -> Marks = AuditCall::Marks;
        totals() -> LogTotals = AuditCall::Totals;
    }

    /// The vendor's API; one object, whose calls all answer the same.
    LifecycleClient(env) = ObjectRef::new(env, "LIFECYCLE", LIFECYCLE_OBJECT) => {
        call(call: &LifecycleCall) -> Answered = call;
    }

    /// The circuit of one source's destination; an object a source. A batch waits for it, for two seconds at most.
    CircuitClient(env, name) = ObjectRef::new(env, "DESTINATIONS", name).answering_within(2_000) => {
        ask(lease_ms: u64, calls: Vec<EndedAttempt>, settings: Settings) -> Gate =
            CircuitCall::Ask { lease_ms, calls, settings };
        report(probe: Option<u64>, tally: AttemptTally, settings: Settings) -> Reported =
            CircuitCall::Report { probe, tally, settings };
        close() -> bool = CircuitCall::Close;
        pause(is_paused: bool) -> bool = CircuitCall::Pause(is_paused);
        probe() -> bool = CircuitCall::Probe;
        read() -> Circuit = CircuitCall::Read;
    }

    /// The health monitor; one object.
    MonitorClient(env) = ObjectRef::new(env, "MONITOR", MONITOR_OBJECT) => {
        evaluate(observation: Observation) -> Health = MonitorCall::Evaluate(observation);
        read() -> Health = MonitorCall::Read;
        retained(run: LastRetention) -> Health = MonitorCall::Retained(run);
    }
}

/// What is passed on as the JSON that it is.
impl AuditLogClient<'_> {
    pub(crate) async fn list_json(
        self,
        filter: EntryFilter,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<String, CallError> {
        self.0.call_for_text(&AuditCall::List { filter, before_seq, limit }).await
    }

    pub(crate) async fn verify_json(self, from_seq: u64, limit: u32) -> Result<String, CallError> {
        self.0.call_for_text(&AuditCall::Verify { from_seq, limit }).await
    }
}

impl CircuitClient<'_> {
    /// The error of a circuit that is not asked any more.
    pub(crate) const fn late(self) -> CallError {
        self.0.late()
    }
}
