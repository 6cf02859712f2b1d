//! Lines for systemd's journal: each begins with its priority, so that `journalctl -p warning` finds those that ask for
//! somebody (sd-daemon(3)). Used where stderr is the journal and the log is text; the message itself is not touched.

use std::ffi::OsString;
use std::fmt;
use std::io;

use rustix::fs::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Begins the line of an error.
pub(super) const ERROR: &str = "<3>";

/// Whether stderr leads to the journal: systemd names device and inode of the stream (systemd.exec(5),
/// `JOURNAL_STREAM`), which stderr is no longer where it was redirected.
pub(super) fn is_stderr() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| stream == OsString::from(format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// A format of lines, each after its priority.
pub(super) struct Prioritised<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writer.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// syslog(3)'s number of a level, as the journal reads it.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => ERROR,
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}
