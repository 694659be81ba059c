//! `doppelkey relay`: a mailbox for sync circles.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use doppelkey_sync::relay::{Database, Keeper, LONGEST_SILENCE, Quota, Relay, RelayError};
use serde_json::json;
use tokio::net::TcpListener;

use super::key_file::{Purpose, new_key};
use super::signals::terminated;
use super::sync::wall_clock;
use super::{Failure, make_files_private, print};

/// Run a relay: a mailbox through which devices sync, and that can read nothing
///
/// Runs until SIGINT, SIGTERM or SIGHUP. It sees no site, no user and no device's name: only sealed entries, their padded
/// sizes and times. Put it behind a proxy that speaks TLS. For a fleet, run any number of them on one PostgreSQL:
///
///   doppelkey relay --db postgres://relay@db.example.org/relay
///
/// Devices find it with `doppelkey sync init --mailbox https://relay.example.org`.
///
/// It also keeps recovery keys behind PINs (`doppelkey sync recovery pin`) and counts guesses at them. What it keeps for
/// that is sealed under a key in a file of its own: keep that apart from the database and from its backups. Relays on
/// one database need the same file.
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
    /// The most circles in all: anybody who reaches the relay may open one
    #[arg(long, value_name = "N", default_value_t = Quota::default().circles)]
    quota_circles: u64,
    /// The key that seals what is in escrow; made if it is not there [default: beside an SQLite database; none, and so
    /// no escrow, with PostgreSQL]
    #[arg(long, value_name = "FILE")]
    escrow_key: Option<PathBuf>,
    /// How long the second guess at a PIN has to wait, in seconds; the third twice as long, and so on
    #[arg(long, value_name = "S", default_value_t = 30)]
    escrow_wait_s: u32,
    /// The longest that a connection may be silent, in seconds. Devices begin at 45 s and lengthen it while the
    /// connection holds; longer costs an idle device less. Behind a proxy with a read timeout (nginx: 60 s), stay below
    /// it
    #[arg(long, value_name = "S", default_value_t = LONGEST_SILENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    keep_alive_s: u64,
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

    /// What this relay keeps escrows with, if it does.
    fn keeper(&self) -> Result<Option<Keeper>, Failure> {
        let beside = self.db.strip_prefix("sqlite:").map(|path| PathBuf::from(format!("{path}.escrow-key")));
        let key = match self.escrow_key.clone().or(beside) {
            Some(path) => ESCROW_KEY.read_or_make(&path)?,
            // Both are forgotten together.
            None if self.db == "memory" => new_key(),
            None => {
                log::info!("this relay keeps no escrows: it has no --escrow-key");
                return Ok(None);
            }
        };
        let first_wait = Duration::from_secs(self.escrow_wait_s.into());
        Ok(Some(Keeper::new(*key, first_wait, wall_clock())))
    }

    async fn serve(self) -> Result<(), Failure> {
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(|error| Failure::listen("the relay", self.listen, "--listen", &error))?;
        let address = listener.local_addr().unwrap_or(self.listen);
        let database = Database::open(&self.db).await.map_err(|error| {
            let hint = match &error {
                RelayError::Url(_) => "name one with --db sqlite:PATH or --db postgres://user@host/database",
                failed => failed.hint(),
            };
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Failure::new(format_args!("cannot open the relay's database: {why}"), hint)
        })?;
        let quota = Quota {
            entries: self.quota_entries,
            bytes: self.quota_bytes,
            circles: self.quota_circles,
            ..Quota::default()
        };
        let relay = Relay::keeping(database, quota, self.keeper()?);
        let relay = relay.longest_silence(Duration::from_secs(self.keep_alive_s));
        let terminated = terminated()?;
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
            () = terminated => Ok(()),
        }
    }
}

/// The key of `--escrow-key`.
const ESCROW_KEY: Purpose =
    Purpose { flag: "--escrow-key", what_for: "for escrows", lost: "what is in escrow is lost" };
