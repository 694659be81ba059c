//! A relay, a relying party, and devices that are programs of their own.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use doppelkey::client::Client;
use doppelkey::usbip::client::UsbIpConnection;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use serde_json::{Value, json};

/// BS in authenticator data's flags (WebAuthn §6.1).
pub(crate) const BS: u8 = 0x10;
pub(crate) const BE: u8 = 0x08;

/// Long enough for a loaded machine; whatever is waited for comes in a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever listens at a relay's address and answers every request in one of these ways.
pub(crate) struct Liar {
    pub(crate) way: Arc<AtomicUsize>,
}

pub(crate) const NONSENSE: usize = 0;
pub(crate) const ENDLESS: usize = 1;
pub(crate) const EMPTY: usize = 2;
pub(crate) const DRIPS: usize = 3;

impl Liar {
    pub(crate) fn start(address: &str) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        let way = Arc::new(AtomicUsize::new(NONSENSE));
        let current = way.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let way = current.load(Ordering::Relaxed);
                // Whoever hangs up is no failure.
                std::thread::spawn(move || drop(Liar::answer(&stream, way)));
            }
        });
        Liar { way }
    }

    pub(crate) fn answer(mut stream: &std::net::TcpStream, way: usize) -> std::io::Result<()> {
        use std::io::{Read as _, Write as _};
        let mut request = [0; 4096];
        let _ = stream.read(&mut request)?;
        let mut answer = |length: u64, body: &[u8]| {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
            stream.write_all(body)
        };
        match way {
            NONSENSE => answer(5, b"hello"),
            EMPTY => answer(8, &[0; 8]),
            ENDLESS => {
                answer(1 << 40, &[0; 8])?;
                loop {
                    stream.write_all(&[0; 1 << 16])?;
                }
            }
            _ => {
                answer(1000, b"")?;
                loop {
                    sleep(Duration::from_millis(500));
                    stream.write_all(b"x")?;
                }
            }
        }
    }
}

/// Before a relay: carries requests to it, and loses the answers to some.
pub(crate) struct Forgetful {
    pub(crate) url: String,
    /// How many more answers come through before one is lost.
    pub(crate) until: Arc<AtomicUsize>,
}

impl Forgetful {
    pub(crate) fn before(relay: &Server) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (base, until) = (relay.url.clone(), Arc::new(AtomicUsize::new(usize::MAX)));
        let left = until.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (base, left) = (base.clone(), left.clone());
                // Whoever hangs up is no failure.
                std::thread::spawn(move || drop(Forgetful::carry(&stream.unwrap(), &base, &left)));
            }
        });
        Forgetful { url, until }
    }

    fn carry(mut stream: &std::net::TcpStream, base: &str, left: &AtomicUsize) -> std::io::Result<()> {
        use std::io::Read as _;
        let mut there = std::net::TcpStream::connect(base.trim_start_matches("http://"))?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            there.write_all(line.as_bytes())?;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        there.write_all(&[&b"Connection: close\r\n\r\n"[..], &body].concat())?;
        let mut answer = Vec::new();
        there.read_to_end(&mut answer)?;
        // The relay has done it by now.
        let is_lost =
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        if is_lost {
            left.store(usize::MAX, Ordering::Relaxed);
            return stream.shutdown(std::net::Shutdown::Both);
        }
        stream.write_all(&answer)
    }
}

/// An address of this machine that nobody else listens at, with any port: what was let go there is free until it is
/// taken again.
pub(crate) fn own_address() -> String {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    if cfg!(not(target_os = "linux")) {
        // Elsewhere this machine has no other.
        return "127.0.0.1:0".to_owned();
    }
    // On Linux all of 127.0.0.0/8 is this machine. The tests of two processes do not meet: a process has 64.
    let number = std::process::id().wrapping_mul(64).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
    let [_, high, middle, low] = number.to_be_bytes();
    // 127.0.0.1 is everybody's.
    format!("127.{}.{middle}.{low}:0", high | 0x80)
}

/// A relay, a relying party, and a folder for vaults.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) relay: Server,
    pub(crate) party: Server,
}

/// A child of this test with what its ready line said. Ended when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) ready: Value,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Server::of(&mut doppelkey(arguments))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{command:?} says {line:?}"));
        let url = ready["url"].as_str().unwrap_or_default().to_owned();
        Server { child, ready, url }
    }
}

impl Server {
    pub(crate) fn end(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        }
        let status = self.child.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "it ends with {status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn relay(address: &str, database: &str) -> Server {
    let waits = ["--escrow-wait-s", "0"];
    Server::start(&[&["relay", "--listen", address, "--db", database, "--json"][..], &waits].concat())
}

pub(crate) fn doppelkey(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
    command.args(arguments).stdin(Stdio::null());
    command
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("relay.db").display());
        World {
            relay: relay(&own_address(), &database),
            party: Server::start(&[
                "relying-party",
                "--listen",
                "127.0.0.1:0",
                "--db",
                "memory",
                "--dev",
                "--json",
            ]),
            folder,
        }
    }

    /// Where the relay listens, and its database.
    pub(crate) fn relay_address(&self) -> (String, String) {
        let address = self.relay.url.strip_prefix("http://").unwrap().to_owned();
        (address, format!("sqlite:{}", self.folder.path().join("relay.db").display()))
    }

    /// Ends the relay and starts it again, on the same database and address.
    pub(crate) fn restart_relay(&mut self) {
        let (address, database) = self.relay_address();
        self.relay.end();
        self.relay = relay(&address, &database);
    }

    /// `doppelkey sync recovery pin …` with this PIN: what it says, or its errors.
    pub(crate) fn with_pin(&self, vault: &Path, arguments: &[&str], pin: &str) -> Result<String, String> {
        let arguments = [&["sync", "recovery", "pin"], arguments].concat();
        let output = self.command(vault, &arguments).env("DOPPELKEY_RECOVERY_PIN", pin).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(errors) } else { Err(errors) }
    }

    /// `doppelkey sync recovery restore …` with this key: what it says, or its errors.
    pub(crate) fn restore(&self, vault: &Path, key: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command(vault, &[&["sync", "recovery", "restore"], arguments].concat());
        let output = command.env("DOPPELKEY_RECOVERY_KEY", key.trim()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(errors) } else { Err(errors) }
    }

    pub(crate) fn guesses_left(&self, vault: &Path) -> u64 {
        let status = self.json(vault, &["sync", "recovery", "pin", "status", "--json"]);
        status["left"].as_u64().unwrap()
    }

    pub(crate) fn vault(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a folder may be that is a mailbox, and what the mailbox is called.
    pub(crate) fn mailbox(&self, name: &str) -> (PathBuf, String) {
        let folder = self.folder.path().join(name);
        let mailbox = format!("folder:{}", folder.display());
        (folder, mailbox)
    }

    pub(crate) fn command(&self, vault: &Path, arguments: &[&str]) -> Command {
        let mut command = doppelkey(arguments);
        let custody = format!("file:{}.key", vault.display());
        command.arg("--vault").arg(vault).args(["--custody", &custody]);
        command
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn ok(&self, vault: &Path, arguments: &[&str]) -> String {
        let output = self.command(vault, arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, vault: &Path, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(vault, arguments)).unwrap()
    }

    /// Begins a circle at the relay.
    pub(crate) fn found(&self, device: &Path) {
        self.ok(device, &["sync", "init", "--mailbox", &self.relay.url, "--name", "a"]);
    }

    pub(crate) fn join(&self, by: &Path, newcomer: &Path) {
        let (mut invite, invitation) = self.invite(by);
        self.accept(newcomer, &invitation);
        assert!(invite.wait().unwrap().success());
    }

    /// `doppelkey sync invite`, which waits for the newcomer, and the invitation that it shows.
    pub(crate) fn invite(&self, by: &Path) -> (Child, String) {
        let mut invite = self.command(by, &["sync", "invite", "--yes", "--no-qr"]);
        let mut invite = invite.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut text = String::new();
        BufReader::new(invite.stdout.take().unwrap()).read_line(&mut text).unwrap();
        (invite, text)
    }

    /// `doppelkey sync join` with this invitation.
    pub(crate) fn accept(&self, newcomer: &Path, invitation: &str) {
        let name = newcomer.file_name().unwrap().to_str().unwrap();
        // Not as an argument, which every user of the machine would see.
        let mut join = self.command(newcomer, &["sync", "join", "--name", name]);
        let mut join = join.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        join.stdin.take().unwrap().write_all(invitation.as_bytes()).unwrap();
        assert!(join.wait().unwrap().success());
    }

    pub(crate) fn run(&self, vault: &Path) -> Server {
        self.run_with(vault, &[])
    }

    pub(crate) fn run_with(&self, vault: &Path, more: &[&str]) -> Server {
        let mut command = doppelkey(&[]);
        Server::of(command.args(self.run_arguments(vault)).args(more))
    }

    pub(crate) fn run_arguments(&self, vault: &Path) -> Vec<String> {
        let custody = format!("file:{}.key", vault.display());
        let vault = vault.display().to_string();
        let arguments = [
            "run",
            "--vault",
            &vault,
            "--custody",
            &custody,
            "--user",
            "auto",
            "--sensor",
            "on",
            "--usbip",
            "127.0.0.1:0",
            "--control",
            "off",
            "--json",
        ];
        arguments.map(str::to_owned).to_vec()
    }

    /// Runs, and gathers what it says to the user.
    pub(crate) fn run_and_hear(&self, vault: &Path) -> (Server, Arc<Mutex<String>>) {
        let mut command = doppelkey(&[]);
        let mut child = command
            .args(self.run_arguments(vault))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (gathered, errors) = (said.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                gathered.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Server { child, ready: serde_json::from_str(&line).unwrap(), url: String::new() }, said)
    }

    pub(crate) fn run_for(&self, vault: &Path, time: Duration) -> Server {
        let server = self.run(vault);
        sleep(time);
        server
    }

    /// Signs up with a passkey of this device; the flags it came with.
    pub(crate) fn sign_up(&self, email: &str, device: &Server) -> u8 {
        let mut visitor = Visitor::new(&self.party.url);
        visitor.form("/signup", &[("email", email)]);
        let options = visitor.json("/signup/passkey/options", &json!({})).unwrap();
        let response = client(device).create(self.party.url.as_str(), &options).unwrap();
        visitor.json("/signup/passkey", &response).unwrap();
        visitor.assert_shows(flags(&response))
    }

    /// Signs in with whatever passkey this device has; the flags it came with.
    pub(crate) fn sign_in(&self, device: &Server) -> Result<u8, String> {
        let mut visitor = Visitor::new(&self.party.url);
        let options = visitor.json("/login/passkey/options", &json!({}))?;
        let response =
            client(device).get(self.party.url.as_str(), &options).map_err(|error| error.to_string())?;
        visitor.json("/login/passkey", &response)?;
        Ok(visitor.assert_shows(flags(&response)))
    }

    #[expect(clippy::disallowed_methods, reason = "a deadline, so that a failure does not hang")]
    pub(crate) fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
            sleep(Duration::from_millis(200));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the client is composed here")]
pub(crate) fn client(device: &Server) -> Client {
    let address = device.ready["usbip"].as_str().unwrap().parse().unwrap();
    let busid = device.ready["busids"][0].as_str().unwrap();
    let connection = UsbIpConnection::attach(address, busid).unwrap();
    let start = Instant::now();
    Client::new(connection, Arc::new(move || start.elapsed()), UnwrapErr(SysRng)).unwrap()
}

/// The flags of a response's authenticator data (WebAuthn §6.1).
pub(crate) fn flags(response: &Value) -> u8 {
    let data = response["response"]["authenticatorData"].as_str().unwrap();
    BASE64_URL_SAFE_NO_PAD.decode(data).unwrap()[32]
}

/// A browser, as far as the relying party can tell.
pub(crate) struct Visitor {
    pub(crate) agent: ureq::Agent,
    pub(crate) base: String,
    pub(crate) origin: String,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Visitor {
    pub(crate) fn new(origin: &str) -> Self {
        let config = ureq::Agent::config_builder().max_redirects(0).http_status_as_error(false);
        Visitor {
            agent: config.build().into(),
            base: origin.replacen("://localhost:", "://127.0.0.1:", 1),
            origin: origin.to_owned(),
            cookies: BTreeMap::new(),
        }
    }

    pub(crate) fn form(&mut self, path: &str, fields: &[(&str, &str)]) {
        let request = self.request(path);
        let response = request.send_form(fields.iter().copied()).unwrap();
        self.keep_cookies(&response);
    }

    pub(crate) fn json(&mut self, path: &str, body: &Value) -> Result<Value, String> {
        let request = self.request(path);
        let mut response = request.content_type("application/json").send(body.to_string()).unwrap();
        self.keep_cookies(&response);
        let text = response.body_mut().read_to_string().unwrap();
        if !response.status().is_success() {
            return Err(text);
        }
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// The account page says of the one passkey there what the assertion said; the flags again.
    pub(crate) fn assert_shows(&mut self, flags: u8) -> u8 {
        let (_, host) = self.origin.split_once("://").unwrap();
        let request = self.agent.get(format!("{}/account", self.base));
        let request = request.header("Host", host).header("Cookie", self.cookie());
        let page = request.call().unwrap().body_mut().read_to_string().unwrap();
        let (says, other) =
            if flags & BS == 0 { ("Not backed up", "Synced") } else { ("Synced", "Not backed up") };
        assert!(page.contains(says) && !page.contains(other), "the page does not say {says:?}: {page}");
        flags
    }

    pub(crate) fn cookie(&self) -> String {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        cookies.join("; ")
    }

    pub(crate) fn request(&self, path: &str) -> ureq::RequestBuilder<ureq::typestate::WithBody> {
        let (_, host) = self.origin.split_once("://").unwrap();
        self.agent
            .post(format!("{}{path}", self.base))
            .header("Origin", &self.origin)
            .header("Sec-Fetch-Site", "same-origin")
            .header("Host", host)
            .header("Cookie", self.cookie())
    }

    pub(crate) fn keep_cookies<B>(&mut self, response: &ureq::http::Response<B>) {
        for cookie in response.headers().get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap_or_default();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}
