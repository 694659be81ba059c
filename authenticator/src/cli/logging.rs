//! What the program says while it works: on standard error, without a clock and without colours.
//!
//! A message is one line, whatever a page, a site, a phone or another device put into it: what would steer the terminal
//! is shown as �, here, so that no message can forget it.

use std::io::Write as _;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::user_interface::{HINT, visible};

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
            _ if record.target() == HINT => "hint: ",
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        // At once, so that the lines of two threads do not mix.
        let line = format!("{kind}{}\n", visible(&record.args().to_string()));
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Starts logging; with `verbose`, of the small things too.
pub(super) fn start(verbose: bool) {
    if log::set_logger(&StandardError).is_ok() {
        log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Info });
    }
}
