//! SQL of a Durable Object.
//!
//! Promises: rows are read to their end at once and without the calls that abort the instance (`SqlCursor::one`);
//! numbers beyond 2^53 never get in. All statements between two awaits are one transaction of the runtime.

use super::js_error;
use wasm_bindgen::prelude::*;
use worker::{Error, Result, SqlStorage, SqlStorageValue, Storage};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(extends = js_sys::Object)]
    type SyncStorage;
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &SyncStorage,
        work: &mut dyn FnMut() -> std::result::Result<JsValue, JsValue>,
    ) -> std::result::Result<JsValue, JsValue>;
}

/// Does `work` as a whole or not at all: statements that ran before one that failed would otherwise stay, because an object
/// answers a failure and does not throw it.
pub(crate) fn transaction<T>(storage: &Storage, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (mut work, mut done) = (Some(work), None);
    as_a_whole(storage, &mut || {
        done = work.take().map(|work| work()).transpose()?;
        Ok(())
    })?;
    done.ok_or_else(|| Error::RustError("the transaction did not run".into()))
}

/// The part that is the same for all types, compiled once.
fn as_a_whole(storage: &Storage, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let raw: &SyncStorage = storage.as_raw().unchecked_ref();
    let mut failed = None;
    let ran = raw.transaction_sync(&mut || {
        work().map(|()| JsValue::UNDEFINED).map_err(|error| {
            let thrown = JsValue::from_str(&error.to_string());
            failed = Some(error);
            thrown
        })
    });
    match (failed, ran) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(Error::RustError(js_error(&error))),
        (None, Ok(_)) => Ok(()),
    }
}

/// One row.
pub(crate) struct Row(Vec<SqlStorageValue>);

impl Row {
    /// The text of a column; `None` where it is NULL.
    pub(crate) fn text(&self, column: usize) -> Option<String> {
        match self.0.get(column) {
            Some(SqlStorageValue::String(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// The whole number of a column, 0 where it is negative; `None` where it is NULL.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // integers up to 2^53 come as floats
    pub(crate) fn number(&self, column: usize) -> Option<u64> {
        match self.0.get(column) {
            Some(SqlStorageValue::Integer(number)) => Some(u64::try_from(*number).unwrap_or(0)),
            Some(SqlStorageValue::Float(number)) => Some(number.max(0.0) as u64),
            _ => None,
        }
    }
}

impl Row {
    /// The bytes of a column; `None` where it is NULL.
    pub(crate) fn blob(&self, column: usize) -> Option<Vec<u8>> {
        match self.0.get(column) {
            Some(SqlStorageValue::Blob(bytes)) => Some(bytes.clone()),
            _ => None,
        }
    }
}

/// Bytes as a parameter.
pub(crate) const fn blob(bytes: Vec<u8>) -> SqlStorageValue {
    SqlStorageValue::Blob(bytes)
}

/// A number as a parameter.
pub(crate) fn number(number: u64) -> SqlStorageValue {
    // 2^53 - 1: what JavaScript's numbers hold exactly; times and sizes stay far below it.
    SqlStorageValue::Integer(i64::try_from(number.min(9_007_199_254_740_991)).unwrap_or(0))
}

/// A text as a parameter.
pub(crate) fn text(text: &str) -> SqlStorageValue {
    SqlStorageValue::String(text.into())
}

/// An optional text as a parameter.
pub(crate) fn optional(value: Option<&str>) -> SqlStorageValue {
    value.map_or(SqlStorageValue::Null, text)
}

/// Runs a statement and reads all of its rows.
pub(crate) fn rows(sql: &SqlStorage, statement: &str, parameters: Vec<SqlStorageValue>) -> Result<Vec<Row>> {
    sql.exec(statement, parameters)?.raw().map(|row| row.map(Row)).collect()
}

/// Runs a statement for its effect.
pub(crate) fn run(sql: &SqlStorage, statement: &str, parameters: Vec<SqlStorageValue>) -> Result<()> {
    rows(sql, statement, parameters).map(|_| ())
}

/// The error of a row that is not as this version writes it.
pub(crate) fn unreadable(what: &str) -> Error {
    Error::RustError(format!("unreadable row: {what}"))
}
