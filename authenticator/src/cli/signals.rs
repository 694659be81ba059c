//! The signals that end a server: SIGINT and SIGTERM. Whoever says that it is ready has them caught.

use super::Failure;

/// SIGINT and SIGTERM (Ctrl-C elsewhere), caught from the moment this is made.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
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
            drop(guard);
            Ok(Signals { runtime, terminate, interrupt })
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
        let Signals { runtime, mut terminate, mut interrupt } = self;
        #[cfg(not(unix))]
        let Signals { runtime } = self;
        let signal = async {
            #[cfg(unix)]
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
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
