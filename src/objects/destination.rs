//! `DESTINATIONS`: the circuit of one source's destination.
//!
//! Promises: what `gateway_core::deliver::circuit_breaker` decides is stored within the event that asked for it, so that one probe at a time
//! is let through, each change is told to one caller, and a restart opens, closes and resumes nothing. Calls to a destination that works
//! are only in memory. Out of scope: log and audit (whoever is told).

use super::{SchemaStep, Tables, json};
use crate::platform::clock;
use crate::platform::sql::{rows, run, text, unreadable};
use gateway_core::deliver::circuit_breaker::{Circuit, CircuitCall};
use std::cell::Cell;
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

const SCHEMA: [SchemaStep; 1] = ["CREATE TABLE circuit (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);"];

/// A circuit's object.
#[durable_object(fetch)]
pub struct Destination {
    tables: Tables,
    /// As it stands, once it has been read.
    circuit: Cell<Option<Circuit>>,
}

impl DurableObject for Destination {
    fn new(state: State, _env: Env) -> Self {
        Self { tables: Tables::set_up(&state, &SCHEMA), circuit: Cell::default() }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let answer = async |call, sql: &SqlStorage| -> Result<String> {
            // Nothing below waits, so no two calls have the circuit at once. What fails leaves it to be read again.
            let before = self.circuit.take().map_or_else(|| read(sql), Ok)?;
            let mut circuit = before.clone();
            let now_ms = clock::now_ms();
            let answer = match call {
                CircuitCall::Ask { lease_ms, calls, settings } => {
                    json(&circuit.ask(&calls, &settings, lease_ms, now_ms))?
                }
                CircuitCall::Report { probe, tally, settings } => {
                    let change = circuit.report(probe, &tally, &settings, now_ms);
                    json(&circuit.reported(change, now_ms))?
                }
                CircuitCall::Close => json(&circuit.close())?,
                CircuitCall::Pause(is_paused) => json(&circuit.pause(is_paused, now_ms))?,
                CircuitCall::Probe => json(&circuit.probe(now_ms))?,
                CircuitCall::Read => json(&circuit)?,
            };
            if circuit.is_to_be_stored(&before) {
                let state = json(&circuit)?;
                run(
                    sql,
                    "INSERT INTO circuit (id, state) VALUES (1, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
                    vec![text(&state)],
                )?;
            }
            self.circuit.set(Some(circuit));
            Ok(answer)
        };
        self.tables.serve(request, answer).await
    }
}

fn read(sql: &SqlStorage) -> Result<Circuit> {
    let found = rows(sql, "SELECT state FROM circuit WHERE id = 1", vec![])?;
    let Some(row) = found.first() else { return Ok(Circuit::default()) };
    Ok(serde_json::from_str(&row.text(0).ok_or_else(|| unreadable("circuit"))?)?)
}
