//! `doppelkey demo`: a passkey is made and used, through a real USB/IP socket and real HTTP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use clap::Args;
use doppelkey_relying_party as relying_party;
use rand_core::UnwrapErr;
use serde_json::Value;

use super::attach::attach_command;
use super::run::clock;
use super::signals::Signals;
use super::visitor::{Connections, VisitError, Visitor};
use super::{Failure, print};
use crate::client::{Client, ephemeral_device, without_sensor};
use crate::device::Clock;
use crate::text::{from_base64url, hex};
use crate::usbip;
use crate::usbip::client::UsbIpConnection;
use crate::user_interface::Auto;

/// See it work: sign up and in with a passkey, through a USB/IP socket and HTTP, nothing to install
///
/// Starts a relying party, an authenticator behind USB/IP and a client, all in this process and in memory, and tells
/// each step with its time. Then it stays up, so that you can go on by hand.
#[derive(Args)]
pub(super) struct Arguments {
    /// End after the sign-in: with 0, or with 1 if anything failed
    #[arg(long)]
    once: bool,
    /// Where the relying party listens [default: 127.0.0.1:8080, or any free port]
    #[arg(long, value_name = "ADDR")]
    relying_party: Option<SocketAddr>,
    /// Where the authenticator is offered over USB/IP [default: 127.0.0.1:3240, or any free port]
    #[arg(long, value_name = "ADDR")]
    usbip: Option<SocketAddr>,
}

const RELYING_PARTY_PORT: u16 = 8080;
const USBIP_PORT: u16 = 3240;
/// Who signs up.
const EMAIL: &str = "mona@example.com";

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let signals = Signals::new()?;
        let mut story = Story::new(clock());
        print("A passkey is made and used. Everything is real; nothing is kept.\n\n");

        let party = RelyingParty::start(self.relying_party)?;
        story.step("Relying party", &format!("answers at {}", party.origin));

        let server = self.plug_in(&story.clock)?;
        let busid = server.busids().into_iter().next().unwrap_or_default();
        story.step("Authenticator", &format!("is plugged in: USB/IP {}, bus id {busid}", server.address()));

        let mut client = attach(&server, &busid, &story.clock)?;
        story.step("Client", "has enumerated it as Linux does, and opened a CTAPHID channel");

        let connections = Connections::new().map_err(|error| failed(error.into()))?;
        let mut connection = connections.to(&party.origin);
        let mut visitor = Visitor::new(&mut connection, &party.origin);
        sign_up(&mut story, &mut visitor, &mut client, &party.origin).map_err(failed)?;
        sign_in(&mut story, &mut visitor, &mut client, &party.origin).map_err(failed)?;
        story.end();
        if self.once {
            return Ok(());
        }
        // The client unplugs, so that others can plug in.
        drop(client);
        print(&what_next(&party.origin, server.address()));
        signals.wait();
        Ok(())
    }

    fn plug_in(&self, clock: &Clock) -> Result<usbip::Server, Failure> {
        refuse_remote(self.usbip, "doppelkey run --usbip ADDR --allow-remote")?;
        let server = bind(self.usbip, USBIP_PORT, usbip::Server::bind)
            .map_err(|(at, error)| Failure::listen("USB/IP", at, "--usbip", &error))?;
        server.plug(ephemeral_device(without_sensor(), Box::new(Auto), clock.clone()))?;
        Ok(server)
    }
}

/// Everybody who reaches the demo may use it: its user agrees to everything.
fn refuse_remote(asked: Option<SocketAddr>, instead: &str) -> Result<(), Failure> {
    match asked.filter(|address| !address.ip().is_loopback()) {
        None => Ok(()),
        Some(address) => Err(Failure::new(
            format_args!("{address} can be reached by other machines; the demo is for this one"),
            format_args!("for one that others can reach: {instead}"),
        )),
    }
}

/// Binds where it is asked to; else at the usual port, or at any free one if that is taken.
fn bind<T>(
    asked: Option<SocketAddr>,
    usual_port: u16,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<T, (SocketAddr, io::Error)> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, usual_port));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match asked {
        Some(address) => bind(address).map_err(|error| (address, error)),
        None => bind(usual).or_else(|_| bind(any)).map_err(|error| (any, error)),
    }
}

/// A relying party in memory, on a runtime of its own. Gone when dropped.
struct RelyingParty {
    origin: String,
    _runtime: tokio::runtime::Runtime,
}

impl RelyingParty {
    fn start(asked: Option<SocketAddr>) -> Result<Self, Failure> {
        refuse_remote(asked, "doppelkey relying-party --listen ADDR --allow-remote")?;
        let listener = bind(asked, RELYING_PARTY_PORT, TcpListener::bind)
            .map_err(|(at, error)| Failure::listen("the relying party", at, "--relying-party", &error))?;
        let cannot = |error: io::Error| {
            Failure::new(
                format_args!("cannot start the relying party: {error}"),
                "check the limits on open files and threads",
            )
        };
        let address = listener.local_addr().map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(cannot)?;
        let config = relying_party::Config::localhost(address.port());
        let origin = config.own_origin().to_owned();
        let router = runtime
            .block_on(relying_party::app(config))
            .map_err(|error| Failure::new(&error, error.hint()))?;
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(cannot)?
        };
        runtime.spawn(relying_party::serve(listener, router, std::future::pending()));
        Ok(RelyingParty { origin, _runtime: runtime })
    }
}

fn attach(server: &usbip::Server, busid: &str, clock: &Clock) -> Result<Client, Failure> {
    let connection = UsbIpConnection::attach(server.address(), busid)
        .map_err(|error| failed(VisitError::Client(error.into())))?;
    Client::new(connection, clock.clone(), UnwrapErr(getrandom::SysRng)).map_err(|error| failed(error.into()))
}

fn sign_up(
    story: &mut Story,
    visitor: &mut Visitor<'_>,
    client: &mut Client,
    origin: &str,
) -> Result<(), VisitError> {
    story.chapter("Sign up");
    let options = visitor.begin_sign_up(EMAIL)?;
    story.step("Relying party", &format!("takes {EMAIL} and asks for a passkey"));
    let response = client.create(origin, &options)?;
    story
        .step("Authenticator", &format!("asks the user, who agrees, and makes passkey {}", short(&response)));
    visitor.finish_sign_up(&response)?;
    story.step("Relying party", "verifies it, step by step of WebAuthn §7.1, and opens the account");
    visitor.sign_out()?;
    story.step("Visitor", "signs out");
    Ok(())
}

fn sign_in(
    story: &mut Story,
    visitor: &mut Visitor<'_>,
    client: &mut Client,
    origin: &str,
) -> Result<(), VisitError> {
    story.chapter("Sign in");
    let options = visitor.begin_sign_in()?;
    story.step("Relying party", "asks for any passkey of its own");
    let response = client.get(origin, &options)?;
    story.step("Authenticator", &format!("asks the user, who agrees, and signs with {}", short(&response)));
    visitor.finish_sign_in(&response)?;
    story.step("Relying party", "verifies the signature, step by step of §7.2");
    let page = visitor.page("/account")?;
    if !page.contains(EMAIL) {
        let message = format!("the account page does not name {EMAIL}");
        return Err(VisitError::Refused { path: "/account".into(), status: 200, message });
    }
    story.step("Visitor", &format!("sees the account page of {EMAIL}"));
    Ok(())
}

/// The beginning of a credential id, as people tell ids apart.
fn short(response: &Value) -> String {
    let id = response["id"].as_str().and_then(from_base64url).unwrap_or_default();
    hex(&id[..id.len().min(4)]) + "…"
}

fn failed(error: VisitError) -> Failure {
    Failure::new(
        format_args!("the demo did not get to its end: {error}"),
        "this should not happen on any machine; please report it with what is printed above",
    )
}

/// Tells what happens, one line a step, with the time since the step before.
struct Story {
    clock: Clock,
    begun: Duration,
    last: Duration,
}

impl Story {
    fn new(clock: Clock) -> Self {
        let now = clock();
        Story { clock, begun: now, last: now }
    }

    fn chapter(&mut self, name: &str) {
        print(&format!("\n{name}\n"));
        self.last = (self.clock)();
    }

    fn step(&mut self, who: &str, what: &str) {
        let now = (self.clock)();
        print(&format!("  {:>10}  {who:<14} {what}\n", milliseconds(now - self.last)));
        self.last = (self.clock)();
    }

    fn end(&self) {
        let all = milliseconds((self.clock)() - self.begun);
        print(&format!("\nSigned up and in with a passkey, in {}.\n", all.trim_start()));
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn what_next(origin: &str, usbip: SocketAddr) -> String {
    format!(
        "
What next? This stays up until Ctrl-C.

  Open {origin} in a browser, and sign up with a passkey of your own
  Open {origin}/playground to try every option, and see each step of the verification
  Let Chromium or Firefox use this authenticator, in another terminal:
    $ doppelkey bridge --usbip {usbip}
  Plug it into this Linux, for every program:
    $ sudo {}
",
        attach_command(usbip)
    )
}
