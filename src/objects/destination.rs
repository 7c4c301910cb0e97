//! `DESTINATIONS`: the circuit of one source's destination.
//!
//! Promises: what `gateway_core::deliver::circuit_breaker` decides is stored within the event that asked for it, so that one probe at a time
//! is let through and each change is told to one caller. Out of scope: log and audit (whoever is told).

use super::{SchemaStep, Tables, json};
use crate::platform::clock;
use crate::platform::sql::{rows, run, text, unreadable};
use gateway_core::deliver::circuit_breaker::{Circuit, CircuitCall};
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

const SCHEMA: [SchemaStep; 1] = ["CREATE TABLE circuit (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);"];

/// A circuit's object.
#[durable_object(fetch)]
pub struct Destination {
    tables: Tables,
}

impl DurableObject for Destination {
    fn new(state: State, _env: Env) -> Self {
        Self { tables: Tables::set_up(&state, &SCHEMA) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let answer = async |call, sql: &SqlStorage| -> Result<String> {
            let before = read(sql)?;
            let mut circuit = before.clone();
            let now_ms = clock::now_ms();
            let answer = match call {
                CircuitCall::Ask { lease_ms } => json(&circuit.ask(lease_ms, now_ms))?,
                CircuitCall::Report { probe, tally, settings } => {
                    let change = circuit.report(probe, &tally, &settings, now_ms);
                    json(&circuit.reported(change))?
                }
                CircuitCall::Close => json(&circuit.close())?,
                CircuitCall::Read => json(&circuit)?,
            };
            if circuit != before {
                let state = json(&circuit)?;
                run(
                    sql,
                    "INSERT INTO circuit (id, state) VALUES (1, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
                    vec![text(&state)],
                )?;
            }
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
