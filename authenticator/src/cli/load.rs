//! `doppelkey load`: many users at a relying party.

mod report;

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use clap::Args;
use rand_core::UnwrapErr;

use super::run::clock;
use super::visitor::{VisitError, Visitor};
use super::{Failure, print};
use crate::client::{Client, Origin, ephemeral_device, without_sensor};
use crate::device::Clock;
use crate::usbip;
use crate::usbip::client::UsbIpConnection;
use crate::user_interface::Auto;
use report::Report;

/// Let many users sign up and in at a relying party, and see how long it takes them
///
/// Each user signs up with a passkey, signs out and signs in again. Only a relying party of this project's kind, on
/// this machine, is put under load.
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

/// What one user did, and how long it took; or why not.
enum Event {
    SignedUp(Duration),
    SignedIn(Duration),
    Done,
    Failed(VisitError),
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let origin = self.relying_party.trim_end_matches('/').to_owned();
        refuse_remote(&origin)?;
        let clock = clock();
        let clients = self.clients(&clock)?;
        let begun = clock();
        let mut report = Report::new(&origin, self.users);
        let failure = self.visit(&origin, clients, &clock, &mut report);
        report.took = clock() - begun;
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
    fn clients(&self, clock: &Clock) -> Result<Vec<Client>, Failure> {
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
            return Ok(vec![client]);
        }
        let client = |_| {
            let device = ephemeral_device(without_sensor(), Box::new(Auto), clock.clone());
            Client::new(device.connect(), clock.clone(), rng()).map_err(|error| unreachable(&error))
        };
        (0..self.at_a_time.min(self.users)).map(client).collect()
    }

    /// Lets the users visit, and shows how far they are. Ends at the first failure, which it returns.
    fn visit(
        &self,
        origin: &str,
        clients: Vec<Client>,
        clock: &Clock,
        report: &mut Report,
    ) -> Option<VisitError> {
        let next = AtomicU32::new(0);
        let run = random_name();
        let (events, received) = mpsc::channel();
        thread::scope(|scope| {
            for mut client in clients {
                let (events, next, run) = (events.clone(), &next, &run);
                scope.spawn(move || {
                    let agent = Visitor::agent();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.users {
                            return;
                        }
                        let email = format!("user-{number}.{run}@example.com");
                        let mut visitor = Visitor::new(&agent, origin);
                        let visited = self.one(&mut visitor, &mut client, &email, clock, &events);
                        let event = visited.map_or_else(Event::Failed, |()| Event::Done);
                        // Who no longer listens has seen a failure: there is nothing more to do.
                        if events.send(event).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(events);
            let mut bar = Progress::new(self.users, clock);
            loop {
                match received.recv_timeout(PROGRESS_INTERVAL) {
                    Ok(Event::SignedUp(time)) => report.sign_ups.push(time),
                    Ok(Event::SignedIn(time)) => report.sign_ins.push(time),
                    Ok(Event::Done) => report.done += 1,
                    Ok(Event::Failed(error)) => {
                        next.store(self.users, Ordering::Relaxed);
                        bar.end();
                        return Some(error);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        bar.end();
                        return None;
                    }
                }
                bar.show(report.done);
            }
        })
    }

    fn one(
        &self,
        visitor: &mut Visitor,
        client: &mut Client,
        email: &str,
        clock: &Clock,
        events: &Sender<Event>,
    ) -> Result<(), VisitError> {
        let begun = clock();
        visitor.sign_up(client, email)?;
        let _ = events.send(Event::SignedUp(clock() - begun));
        for _ in 0..self.sign_ins {
            visitor.sign_out()?;
            let begun = clock();
            visitor.sign_in(client)?;
            let _ = events.send(Event::SignedIn(clock() - begun));
        }
        Ok(())
    }
}

/// Load is for one's own: this machine's relying parties.
fn refuse_remote(origin: &str) -> Result<(), Failure> {
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
    Ok(())
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
    users: u32,
    clock: &'a Clock,
    begun: Duration,
    shown: Option<Duration>,
    is_watched: bool,
}

impl<'a> Progress<'a> {
    fn new(users: u32, clock: &'a Clock) -> Self {
        Progress { users, clock, begun: clock(), shown: None, is_watched: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, done: u32) {
        let now = (self.clock)();
        if !self.is_watched || self.shown.is_some_and(|shown| now - shown < PROGRESS_INTERVAL) {
            return;
        }
        self.shown = Some(now);
        let filled = (40 * u64::from(done) / u64::from(self.users)) as usize;
        let rate = f64::from(done) / (now - self.begun).as_secs_f64().max(0.001);
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(40 - filled));
        let _ = write!(std::io::stderr(), "\r[{bar}] {done} of {} users, {rate:.0} a second ", self.users);
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r{:80}\r", "");
        }
    }
}
