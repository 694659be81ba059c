//! What the program says while it works: on standard error, without a clock and without colours.

use std::io::Write as _;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct StandardError;

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Other people's crates only when something is wrong.
        metadata.target().starts_with("doppelkey") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let kind = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        let _ = writeln!(std::io::stderr(), "{kind}{}", record.args());
    }

    fn flush(&self) {}
}

/// Starts logging; with `verbose`, of the small things too.
pub(super) fn start(verbose: bool) {
    if log::set_logger(&StandardError).is_ok() {
        log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Info });
    }
}
