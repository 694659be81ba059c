//! `doppelkey relay`: a mailbox for sync circles.

use std::net::SocketAddr;

use clap::Args;
use doppelkey_sync::relay::{Database, Quota, Relay};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Failure, make_files_private, print};

/// Run a relay: a mailbox through which devices sync, and that can read nothing
///
/// Runs until SIGINT or SIGTERM. It sees no site, no user and no device's name: only sealed entries, their padded
/// sizes and times. Put it behind a proxy that speaks TLS. For a fleet, run any number of them on one PostgreSQL:
///
///   doppelkey relay --db postgres://relay@db.example.org/relay
///
/// Devices find it with `doppelkey sync init --mailbox https://relay.example.org`.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Where to listen for HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Where entries are kept: memory, sqlite:PATH or postgres://…
    #[arg(long, value_name = "URL", default_value = "sqlite:relay.db")]
    db: String,
    /// The most entries of a circle
    #[arg(long, value_name = "N", default_value_t = Quota::default().entries)]
    quota_entries: u64,
    /// The most bytes of a circle
    #[arg(long, value_name = "N", default_value_t = Quota::default().bytes)]
    quota_bytes: u64,
    /// Listen on an address that other machines can reach
    #[arg(long)]
    allow_remote: bool,
    /// Print one line of JSON once it listens
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        if !self.listen.ip().is_loopback() {
            if !self.allow_remote {
                return Err(Failure::new(
                    format_args!("{} can be reached by other machines", self.listen),
                    "say --allow-remote if that is meant, or put a TLS proxy in front of 127.0.0.1",
                ));
            }
            log::warn!("{} can be reached by other machines, without TLS", self.listen);
        }
        make_files_private();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::new(
                format_args!("cannot start threads: {error}"),
                "is there a limit on processes (ulimit -u)?",
            )
        })?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(|error| Failure::listen("the relay", self.listen, "--listen", &error))?;
        let address = listener.local_addr().unwrap_or(self.listen);
        let database = Database::open(&self.db).await.map_err(|error| {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Failure::new(
                format_args!("cannot open the relay's database: {why}"),
                "name one with --db sqlite:PATH or --db postgres://user@host/database",
            )
        })?;
        let quota = Quota { entries: self.quota_entries, bytes: self.quota_bytes, ..Quota::default() };
        let relay = Relay::new(database, quota);
        if self.json {
            print(&format!("{}\n", json!({ "ready": true, "url": format!("http://{address}") })));
        } else {
            log::info!("relay: http://{address}");
            log::info!("on a device: doppelkey sync init --mailbox http://{address}");
            log::info!("ready; end with Ctrl-C");
        }
        // Who waits for news would keep it from ending: the process ends, and they connect elsewhere.
        tokio::select! {
            served = axum::serve(listener, relay.router()) => served.map_err(|error| {
                Failure::new(format_args!("the listener failed: {error}"), "start it again")
            }),
            () = terminated() => Ok(()),
        }
    }
}

async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        if let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
