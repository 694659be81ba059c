//! The signals that end a server: SIGINT, SIGTERM and SIGHUP. Whoever says that it is ready has them caught.

use super::Failure;

/// SIGINT, SIGTERM and SIGHUP (Ctrl-C elsewhere), caught from the moment this is made.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// A terminal that is closed. `None` where `nohup` keeps it from mattering.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                format_args!("cannot wait for signals: {error}"),
                "check the limits on open files and threads",
            )
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let guard = runtime.enter();
            let terminate = signal(SignalKind::terminate()).map_err(failed)?;
            let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
            let hangup = (!hangup_is_ignored()).then(|| signal(SignalKind::hangup())).transpose();
            let hangup = hangup.map_err(failed)?;
            drop(guard);
            Ok(Signals { runtime, terminate, interrupt, hangup })
        }
        #[cfg(not(unix))]
        Ok(Signals { runtime })
    }

    /// Returns once one has come.
    pub(super) fn wait(self) {
        let _ = self.wait_or(std::future::pending::<()>());
    }

    /// Returns once one has come, or with what came before.
    pub(super) fn wait_or<T>(self, other: impl Future<Output = T>) -> Option<T> {
        #[cfg(unix)]
        let Signals { runtime, mut terminate, mut interrupt, mut hangup } = self;
        #[cfg(not(unix))]
        let Signals { runtime } = self;
        let signal = async {
            #[cfg(unix)]
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            #[cfg(unix)]
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hung_up => {}
            }
            // Without the handler, Ctrl-C ends the process all the same.
            #[cfg(not(unix))]
            let _ = tokio::signal::ctrl_c().await;
        };
        runtime.block_on(async {
            tokio::select! {
                () = signal => None,
                other = other => Some(other),
            }
        })
    }
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

/// Done at SIGINT or SIGTERM; from the call on, not only once it is waited for.
#[cfg(unix)]
pub(super) fn terminated() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        if let (Ok(mut interrupt), Ok(mut terminate)) = signals {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        } else {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// Done at Ctrl-C.
#[cfg(not(unix))]
pub(super) async fn terminated() {
    let _ = tokio::signal::ctrl_c().await;
}
