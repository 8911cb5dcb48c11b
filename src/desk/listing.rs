//! Listings come in pages, so that no answer grows without bound.

use serde::Serialize;
use serde_json::Value;

use super::request::Answer;
use super::trouble::Trouble;
use crate::model::time::Timestamp;

/// Rows of one page.
pub(super) const PAGE: usize = 500;

/// A page of rows; `key` of the last one tells where the next begins, when this one is full.
pub(super) fn page<T>(
    rows: Vec<T>,
    key: impl Fn(&T) -> String,
    mut show: impl FnMut(T) -> Result<Value, Trouble>,
) -> Result<Answer, Trouble> {
    let next = (rows.len() >= PAGE).then(|| rows.last().map(key)).flatten();
    let values = rows.into_iter().map(&mut show).collect::<Result<Vec<_>, _>>()?;
    Ok(Answer { next, ..Answer::of(Value::Array(values)) })
}

/// The part of a whole list that comes after `after`, one page long.
pub(super) fn cut<T>(mut all: Vec<T>, key: impl Fn(&T) -> String, after: Option<&str>) -> Vec<T> {
    all.sort_by_key(&key);
    let skip = after.map_or(0, |after| all.partition_point(|row| key(row).as_str() <= after));
    all.drain(..skip);
    all.truncate(PAGE);
    all
}

pub(super) fn value(row: impl Serialize) -> Result<Value, Trouble> {
    Ok(serde_json::to_value(row)?)
}

/// As listings write times: RFC 3339 in UTC.
pub(super) fn time(at: Timestamp) -> Value {
    Value::String(at.to_string())
}

pub(super) fn time_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, time)
}
