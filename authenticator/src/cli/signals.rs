//! The signals that end a server: SIGINT, SIGTERM and SIGHUP. Whoever says that it is ready has them caught.
//!
//! They are caught once the vaults are open: a passphrase is asked for until then, and whoever wants to end the program
//! at that question has nothing to finish.

use std::io;

use super::Failure;

/// SIGINT, SIGTERM and SIGHUP (Ctrl-C elsewhere), caught from the moment this is made.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    caught: Caught,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| failed(&error))?;
        let caught = {
            let _guard = runtime.enter();
            Caught::new()?
        };
        Ok(Signals { runtime, caught })
    }

    /// Returns once one has come.
    pub(super) fn wait(self) {
        let _ = self.wait_or(std::future::pending::<()>());
    }

    /// Returns once one has come, or with what came before.
    pub(super) fn wait_or<T>(self, other: impl Future<Output = T>) -> Option<T> {
        let Signals { runtime, caught } = self;
        runtime.block_on(async {
            tokio::select! {
                () = caught.first() => None,
                other = other => Some(other),
            }
        })
    }
}

/// Done at the first of these signals; they are caught from the call on, not only once it is waited for. For what has a
/// runtime already.
pub(super) fn terminated() -> Result<impl Future<Output = ()>, Failure> {
    Ok(Caught::new()?.first())
}

/// The signals, caught.
struct Caught {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// A terminal that is closed. `None` where `nohup` keeps it from mattering.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Caught {
    /// From within a runtime.
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let catch = |kind| signal(kind).map_err(|error| failed(&error));
        Ok(Caught {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: (!hangup_is_ignored()).then(|| catch(SignalKind::hangup())).transpose()?,
        })
    }

    /// Done once one has come.
    async fn first(self) {
        let Caught { mut terminate, mut interrupt, mut hangup } = self;
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hung_up => {}
        }
    }
}

#[cfg(not(unix))]
impl Caught {
    fn new() -> Result<Self, Failure> {
        Ok(Caught {})
    }

    /// Done once one has come. Without the handler, Ctrl-C ends the process all the same.
    async fn first(self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::new(
        format_args!("cannot wait for signals: {error}"),
        "check the limits on open files and threads",
    )
}

/// Whether whoever started this process wants it to outlive the terminal (`nohup`): to catch the signal would undo that.
/// Where that cannot be known, it is left alone.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A bit for each signal; SIGHUP is the first.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & 1 == 1)
}
