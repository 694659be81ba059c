//! `doppelkey load`: many users at a relying party.

mod report;
mod server;

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use clap::Args;
use doppelkey_core::OptionId;
use doppelkey_relying_party::verify;
use rand_core::UnwrapErr;
use serde_json::Value;

use super::run::clock;
use super::visitor::{Connection, Connections, VisitError, Visitor};
use super::{Failure, print};
use crate::client::{Client, Origin, ephemeral_device, without_sensor};
use crate::device::Clock;
use crate::usbip;
use crate::usbip::client::UsbIpConnection;
use crate::user_interface::Auto;
use report::Report;
use server::Server;

/// Let many users sign up and in at a relying party, and see how long it takes them
///
/// First all users sign up, each with a passkey. Then they sign in, each time in a browser that has never been there.
/// Refuses any relying party but Doppelkey's own on this machine.
///
/// The sign-ins that it handles in a second of its processor time are compared with the floor: how many ES256 signatures
/// one core verifies in a second.
#[derive(Args)]
pub(super) struct Arguments {
    /// The relying party: http://localhost:8080
    #[arg(long, value_name = "URL")]
    relying_party: String,
    /// How many users
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// How often each signs in after signing up
    #[arg(long, value_name = "N", default_value_t = 1)]
    sign_ins: u32,
    /// How many users at a time, each with an authenticator of their own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    at_a_time: u32,
    /// Use the first device of this USB/IP server, one user at a time
    #[arg(long, value_name = "ADDR", conflicts_with = "at_a_time")]
    usbip: Option<SocketAddr>,
    /// Write a page with the figures and a picture of the distribution
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the figures as one line of JSON
    #[arg(long)]
    json: bool,
}

/// How often the progress bar moves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long the floor is measured.
const FLOOR_TIME: Duration = Duration::from_millis(500);

/// What one user did, and how long it took; or why not.
enum Event {
    Done(Duration),
    Failed(VisitError),
}

/// Someone with an authenticator, and the passkeys of the users whose part they play.
struct Player {
    client: Client,
    connection: Connection,
    passkeys: Vec<Value>,
}

impl Player {
    fn new(client: Client, connection: Connection) -> Self {
        Player { client, connection, passkeys: Vec::new() }
    }
}

/// What everybody plays: one visit with this authenticator, and how long the ceremony took.
type Part<'a> = dyn Fn(&mut Player, u32) -> Result<Duration, VisitError> + Sync + 'a;

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let origin = self.relying_party.trim_end_matches('/').to_owned();
        let port = refuse_remote(&origin)?;
        let clock = clock();
        let connections = Connections::new().map_err(|error| explain(&error.into()))?;
        let mut players = self.players(&clock, || connections.to(&origin))?;
        let mut report = Report::new(&origin, self.users);
        report.floor_per_second = floor(&clock);
        let failure = self.load(&origin, Server::listening_on(port), &mut players, &clock, &mut report).err();
        if let Some(path) = &self.report {
            std::fs::write(path, report.html()).map_err(|error| {
                Failure::new(
                    format_args!("cannot write the report to {}: {error}", path.display()),
                    "name a file that you may write with --report FILE",
                )
            })?;
        }
        print(&if self.json { report.json() } else { report.text() });
        match failure {
            Some(error) => Err(explain(&error)),
            None => Ok(()),
        }
    }

    /// The authenticators: one for each user at a time, in this process; or the one behind the socket.
    fn players(&self, clock: &Clock, connect: impl Fn() -> Connection) -> Result<Vec<Player>, Failure> {
        let rng = || UnwrapErr(getrandom::SysRng);
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::new(
                format_args!("the authenticator does not answer: {error}"),
                "start one that approves by itself: doppelkey run --ephemeral --user auto",
            )
        };
        if let Some(address) = self.usbip {
            let devices = usbip::client::devices(address).map_err(|error| unreachable(&error))?;
            let first = devices.into_iter().next().ok_or_else(|| unreachable(&"nothing is plugged in"))?;
            let connection =
                UsbIpConnection::attach(address, &first.busid).map_err(|error| unreachable(&error))?;
            let client =
                Client::new(connection, clock.clone(), rng()).map_err(|error| unreachable(&error))?;
            return Ok(vec![Player::new(client, connect())]);
        }
        // Verified by the option `uv`: the agreement on a key that a token takes costs more than all the rest, and it is the
        // relying party that the load is meant for.
        let mut configuration = without_sensor();
        configuration.options.retain(|option| *option != OptionId::PinUvAuthToken);
        let player = |_| {
            let device = ephemeral_device(configuration.clone(), Box::new(Auto), clock.clone());
            let client = Client::new(device.connect(), clock.clone(), rng());
            client.map(|client| Player::new(client, connect())).map_err(|error| unreachable(&error))
        };
        (0..self.at_a_time.min(self.users)).map(player).collect()
    }

    /// Everybody signs up; then everybody signs in.
    fn load(
        &self,
        origin: &str,
        server: Option<Server>,
        players: &mut [Player],
        clock: &Clock,
        report: &mut Report,
    ) -> Result<(), VisitError> {
        let run = random_name();
        let sign_up = |player: &mut Player, number: u32| {
            let begun = clock();
            let email = format!("user-{number}.{run}@example.com");
            let Player { client, connection, passkeys } = player;
            let response = Visitor::new(connection, origin).sign_up_with_es256(client, &email)?;
            passkeys.push(response["id"].clone());
            Ok(clock() - begun)
        };
        report.sign_ups.measure(clock, |times| self.perform(players, self.users, &sign_up, clock, times))?;
        let sign_in = |player: &mut Player, number: u32| {
            let begun = clock();
            let Player { client, connection, passkeys } = player;
            let passkey = &passkeys[number as usize % passkeys.len()];
            Visitor::new(connection, origin).sign_in_with(client, passkey)?;
            Ok(clock() - begun)
        };
        // Who was too slow to sign anybody up has nobody to sign in.
        let mut players: Vec<&mut Player> =
            players.iter_mut().filter(|player| !player.passkeys.is_empty()).collect();
        let count = self.users.saturating_mul(self.sign_ins);
        let before = server.as_ref().and_then(Server::processor_time);
        let failed =
            report.sign_ins.measure(clock, |times| self.perform(&mut players, count, &sign_in, clock, times));
        let after = server.as_ref().and_then(Server::processor_time);
        report.server_time = before.zip(after).map(|(before, after)| after.saturating_sub(before));
        failed
    }

    /// Lets the players play a part so often, and shows how far they are. Ends at the first failure.
    fn perform<P: std::borrow::BorrowMut<Player> + Send>(
        &self,
        players: &mut [P],
        count: u32,
        part: &Part<'_>,
        clock: &Clock,
        times: &mut Vec<Duration>,
    ) -> Result<(), VisitError> {
        let next = AtomicU32::new(0);
        let is_over = AtomicBool::new(false);
        let (events, received) = mpsc::channel();
        thread::scope(|scope| {
            for player in players {
                let (events, next, is_over) = (events.clone(), &next, &is_over);
                scope.spawn(move || {
                    let player = player.borrow_mut();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let is_over = number >= count || is_over.load(Ordering::Relaxed);
                        if is_over || !tell(part(player, number), &events) {
                            return;
                        }
                    }
                });
            }
            drop(events);
            let mut bar = Progress::new(count, clock);
            let outcome = loop {
                match received.recv_timeout(PROGRESS_INTERVAL) {
                    Ok(Event::Done(time)) => times.push(time),
                    Ok(Event::Failed(error)) => break Err(error),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break Ok(()),
                }
                bar.show(u32::try_from(times.len()).unwrap_or(u32::MAX));
            };
            is_over.store(true, Ordering::Relaxed);
            bar.end();
            outcome
        })
    }
}

/// False if there is nothing more to do: it failed, or who no longer listens has seen a failure.
fn tell(played: Result<Duration, VisitError>, events: &Sender<Event>) -> bool {
    let is_good = played.is_ok();
    events.send(played.map_or_else(Event::Failed, Event::Done)).is_ok() && is_good
}

/// How many ES256 signatures one core verifies in a second, by this thread's processor time: others may be busy, too.
fn floor(clock: &Clock) -> f64 {
    let verify = verify::floor();
    let now = || server::own_processor_time().unwrap_or_else(|| clock());
    let (begun, until) = (now(), clock() + FLOOR_TIME);
    let mut count = 0_u32;
    while clock() < until {
        count += u32::from(verify());
    }
    f64::from(count) / (now() - begun).as_secs_f64().max(0.001)
}

/// Load is for one's own: this machine's relying parties. The port.
fn refuse_remote(origin: &str) -> Result<u16, Failure> {
    let refuse = |what: &str| {
        Failure::new(what, "name a relying party of this machine, such as http://localhost:8080")
    };
    let parsed = Origin::parse(origin).map_err(|error| refuse(&error.to_string()))?;
    let host = parsed.host();
    let is_local = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_local || !origin.starts_with("http://") {
        return Err(refuse(&format!(
            "{origin} is not a relying party of this machine, and others are not put under load"
        )));
    }
    Ok(origin.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80))
}

/// So that a second run's addresses are new ones.
fn random_name() -> String {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("an operating system without randomness made no keys either");
    format!("{:08x}", u32::from_be_bytes(bytes))
}

fn explain(error: &VisitError) -> Failure {
    let hint = match error {
        VisitError::Refused { status: 429, .. } => {
            "the relying party limits sign-ups from one address: start it with a policy that allows more \
             (--policy FILE, [limits] signups_per_ip_minute)"
        }
        VisitError::Refused { .. } => "see the relying party's own log for the step that refused",
        VisitError::Connection(_) => "is it running? doppelkey relying-party --db memory",
        VisitError::Client(_) => "run again with -v for what the authenticator was asked",
    };
    Failure::new(error, hint)
}

/// A bar on standard error, where somebody watches.
struct Progress<'a> {
    count: u32,
    clock: &'a Clock,
    begun: Duration,
    shown: Option<Duration>,
    is_watched: bool,
}

impl<'a> Progress<'a> {
    fn new(count: u32, clock: &'a Clock) -> Self {
        Progress { count, clock, begun: clock(), shown: None, is_watched: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, done: u32) {
        let now = (self.clock)();
        if !self.is_watched || self.shown.is_some_and(|shown| now - shown < PROGRESS_INTERVAL) {
            return;
        }
        self.shown = Some(now);
        let filled = (40 * u64::from(done) / u64::from(self.count.max(1))) as usize;
        let rate = f64::from(done) / (now - self.begun).as_secs_f64().max(0.001);
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(40 - filled));
        let _ = write!(std::io::stderr(), "\r[{bar}] {done} of {}, {rate:.0} a second ", self.count);
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r{:80}\r", "");
        }
    }
}
