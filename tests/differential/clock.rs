//! The moments of a run, all told from its start.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// A day in seconds.
pub const DAY: u64 = 24 * 60 * 60;

/// The start of the run, in seconds since 1970.
pub fn now() -> u64 {
    static NOW: LazyLock<u64> = LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    *NOW
}

/// So many days from the start, past or to come.
pub fn days(days: i64) -> u64 {
    now().checked_add_signed(days * 24 * 60 * 60).unwrap()
}

fn parts(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap()
}

/// `2026-11-21T15:56:33Z`
pub fn rfc3339(seconds: u64) -> String {
    let at = parts(seconds);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

/// `20261121155633Z`
pub fn generalized(seconds: u64) -> String {
    rfc3339(seconds).replace(['-', ':', 'T'], "")
}
