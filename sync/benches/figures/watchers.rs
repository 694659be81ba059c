//! Ten thousand devices that wait for news at one relay: what each costs it, and how long until all have heard.
//!
//! The relay is a process of its own, so that its memory and its descriptors are. The floor is a bare server of the same
//! kind that knows everyone it has to tell and writes the same bytes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use doppelkey_sync::{Mailbox as _, Name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::postgres::Postgres;
use super::relay::{client, entry, serve_on};
use super::row;

const WATCHERS: usize = 10_000;

/// How many circles they are of: three devices each, but for the last.
const CIRCLES: u32 = 3334;

/// What a server says when there is news, with what HTTP puts around it.
const NEWS: &[u8] = b"B\r\ndata: 123\n\n\r\n";

pub(crate) fn watchers() {
    let limit = descriptors();
    if limit < WATCHERS as u64 + 500 {
        return println!("{WATCHERS} watchers need as many descriptors, of {limit}: not measured");
    }
    bare();
    let postgres = Postgres::start(true);
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!("sqlite:{}", folder.path().join("relay.db").display());
    measure("SQLite", &file);
    match &postgres {
        Some(postgres) => measure("PostgreSQL", &postgres.url),
        None => println!("PostgreSQL is not installed: not measured"),
    }
}

/// A child of this benchmark that serves until it is dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// `what` is a database, or `bare`.
    fn start(what: &str) -> Self {
        let program = std::env::current_exe().expect("it runs");
        let mut process = Command::new(program)
            .args(["serve", what])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be run again");
        let mut address = String::new();
        let out = process.stdout.take().expect("it is a pipe");
        BufReader::new(out).read_line(&mut address).expect("it says where it listens");
        Server { process, address: address.trim().to_string() }
    }

    /// Memory that it has and shares with nobody, in bytes.
    fn memory(&self) -> f64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let rollup = rollup.unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0
    }

    /// Processor time that it has used, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        // User and system time, in hundredths.
        fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
            / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the child does.
pub(crate) fn serve(what: &str) {
    if what != "bare" {
        return serve_on(what, |relay| relay, |base| println!("{base}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("http://{}", listener.local_addr().expect("an address"));
        let (news, _) = tokio::sync::watch::channel(());
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let (news, mut heard) = (news.clone(), news.subscribe());
            tokio::spawn(async move {
                let mut request = [0; 512];
                let read = socket.read(&mut request).await.unwrap_or(0);
                if request[..read].starts_with(b"PUT") {
                    return news.send_replace(());
                }
                let _ = socket.write_all(NEWS).await;
                while heard.changed().await.is_ok() && socket.write_all(NEWS).await.is_ok() {}
            });
        }
    });
}

/// Everyone who waits, and how often they have heard.
struct Crowd {
    runtime: tokio::runtime::Runtime,
    heard: Arc<AtomicUsize>,
    all: Arc<Notify>,
}

impl Crowd {
    /// Connects; done when each has heard once. `circle` is which circle each of them asks for.
    fn connect(address: &str, circle: impl Fn(usize) -> u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
        let crowd = Crowd { runtime, heard: Arc::default(), all: Arc::default() };
        let host = address.trim_start_matches("http://").to_string();
        let slots = Arc::new(tokio::sync::Semaphore::new(64));
        crowd.runtime.block_on(async {
            for number in 0..WATCHERS {
                let request = format!(
                    "GET /c/{:08x}{}/watch HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer 0123456789abcdef\r\n\r\n",
                    circle(number),
                    "07".repeat(12)
                );
                let (heard, all, host) = (crowd.heard.clone(), crowd.all.clone(), host.clone());
                // Not all at once: a listener's queue is shorter than that.
                let slot = slots.clone().acquire_owned().await.expect("nobody closes it");
                tokio::spawn(async move {
                    let mut socket = TcpStream::connect(&host).await.expect("it listens");
                    socket.write_all(request.as_bytes()).await.expect("it reads");
                    let (mut buffer, mut slot) = ([0; 512], Some(slot));
                    loop {
                        let read = socket.read(&mut buffer).await.expect("the stream goes on");
                        assert!(read > 0, "the stream goes on");
                        if buffer[..read].windows(5).any(|bytes| bytes == b"data:") {
                            drop(slot.take());
                            if (heard.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(WATCHERS) {
                                all.notify_one();
                            }
                        }
                    }
                });
            }
            crowd.all.notified().await;
        });
        crowd
    }

    /// How long it takes after `put` until everyone has heard again.
    fn told(&self, put: impl FnOnce() + Send + 'static) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            let putting = tokio::task::spawn_blocking(put);
            self.all.notified().await;
            let took = start.elapsed();
            putting.await.expect("it puts");
            took
        })
    }

    /// Lets time pass.
    fn wait(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }
}

fn bare() {
    let server = Server::start("bare");
    let before = server.memory();
    let crowd = Crowd::connect(&server.address, |_| 0);
    let each = (server.memory() - before) / WATCHERS as f64;
    let host = server.address.trim_start_matches("http://").to_string();
    let took = crowd.told(move || {
        let mut socket = std::net::TcpStream::connect(host).expect("it listens");
        std::io::Write::write_all(&mut socket, b"PUT\r\n\r\n").expect("it reads");
    });
    row(
        &format!("floor: {WATCHERS} connections of a bare server"),
        format!("{each:.0} B each"),
        String::new(),
    );
    row("floor: it writes to all of them", format!("{:.0} ms", took.as_secs_f64() * 1000.0), String::new());
}

fn measure(name: &str, database: &str) {
    // One circle that everybody waits for.
    let server = Server::start(database);
    let mut member = client(&server.address, 0);
    let before = server.memory();
    let start = Instant::now();
    let crowd = Crowd::connect(&server.address, |_| 0);
    let opened = WATCHERS as f64 / start.elapsed().as_secs_f64();
    let each = (server.memory() - before) / WATCHERS as f64;
    row(
        &format!("relay on {name}: {WATCHERS} watchers"),
        format!("{:.1} KiB each", each / 1024.0),
        format!("{opened:.0} opened a second"),
    );
    let took = crowd.told(move || {
        let bytes = entry(0, 0);
        member.put(Name::of(&bytes), &bytes).expect("a put");
    });
    let took = format!("{:.0} ms", took.as_secs_f64() * 1000.0);
    row(&format!("relay on {name}: one put told to all of them"), took, String::new());
    drop((crowd, server));
    // The same number, of circles of three: what waiting alone costs.
    let server = Server::start(database);
    (1..=CIRCLES).for_each(|circle| drop(client(&server.address, circle)));
    let crowd = Crowd::connect(&server.address, |number| number as u32 / 3 + 1);
    let before = server.cpu();
    crowd.wait(Duration::from_secs(10));
    row(
        &format!("relay on {name}: they wait, of {CIRCLES} circles"),
        format!("{:.1} % of a core", 10.0 * (server.cpu() - before)),
        String::new(),
    );
}

/// How many files a process may have open.
fn descriptors() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
