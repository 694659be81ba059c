//! A relay on each database: how many entries a second it makes durable, beside what the disk and the database alone do.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use doppelkey_sync::relay::{Database, Quota, Relay, RelayClient, RelayUrl};
use doppelkey_sync::{CircleId, Mailbox, Name};
use sqlx::Executor as _;

use super::postgres::Postgres;
use super::row;

/// What an entry with one credential takes.
pub(crate) const ENTRY: usize = 391;

/// How many clients put at once.
const CLIENTS: [usize; 2] = [4, 32];

pub(crate) fn relay() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = fdatasync(folder.path());
    row(&format!("floor: {ENTRY} bytes and fdatasync, one after the other"), per_second(disk), String::new());
    let url = format!("sqlite:{}", folder.path().join("relay.db").display());
    for clients in CLIENTS {
        measure("SQLite", &url, clients, disk, "fdatasyncs");
    }
    let Some(postgres) = Postgres::start(true) else {
        return println!("PostgreSQL is not installed: not measured");
    };
    for clients in CLIENTS {
        let floor = inserts(&postgres.url, clients);
        let what = format!("floor: PostgreSQL, commits of one row, {clients} clients");
        row(&what, per_second(floor), String::new());
        measure("PostgreSQL", &postgres.url, clients, floor, "commits");
    }
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0} /s")
}

fn fdatasync(folder: &std::path::Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("floor")).expect("a file");
    rate(200, || {
        for _ in 0..200 {
            file.write_all(&[7; ENTRY]).expect("there is room");
            file.sync_data().expect("it is a file");
        }
    })
}

/// How many of `count` things are done a second by `work`.
fn rate(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    count as f64 / start.elapsed().as_secs_f64()
}

/// Rows that are committed one by one, by so many clients at once.
fn inserts(url: &str, clients: usize) -> f64 {
    const EACH: usize = 100;
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let options = sqlx::any::AnyPoolOptions::new().max_connections(clients as u32);
        let pool = options.connect(url).await.expect("the database is there");
        pool.execute("CREATE TABLE IF NOT EXISTS floor (content BYTEA)").await.expect("it makes a table");
        let start = Instant::now();
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for _ in 0..EACH {
                        let insert = sqlx::query("INSERT INTO floor VALUES ($1)").bind(vec![7_u8; ENTRY]);
                        insert.execute(&pool).await.expect("it inserts");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it ends");
        }
        (clients * EACH) as f64 / start.elapsed().as_secs_f64()
    })
}

/// Serves until the process ends; where.
pub(crate) fn serve(url: &str) -> String {
    serve_with(url, |relay| relay)
}

/// As [`serve`], a relay that is made a little different.
pub(crate) fn serve_with(url: &str, make: impl FnOnce(Relay) -> Relay + Send + 'static) -> String {
    let (send, receive) = std::sync::mpsc::channel();
    let url = url.to_string();
    thread::spawn(move || serve_on(&url, make, |base| send.send(base).expect("the benchmark waits")));
    receive.recv().expect("it listens")
}

/// Serves on this thread; `ready` is told where.
pub(crate) fn serve_on(url: &str, make: impl FnOnce(Relay) -> Relay, ready: impl FnOnce(String)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let relay = make(Relay::new(Database::open(url).await.expect("a database"), Quota::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        ready(format!("http://{}", listener.local_addr().expect("an address")));
        axum::serve(listener, relay.router()).await.expect("it serves");
    });
}

/// A client of the circle with this number, which is opened if there is none.
pub(crate) fn client(base: &str, circle: u32) -> RelayClient {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&circle.to_be_bytes());
    let client = RelayClient::new(RelayUrl::new(base, "0123456789abcdef"), CircleId(id));
    client.open().expect("a circle");
    client
}

/// An entry that nobody else puts.
pub(crate) fn entry(circle: u32, number: u32) -> Vec<u8> {
    let mut bytes = vec![1; ENTRY];
    bytes[..4].copy_from_slice(&circle.to_be_bytes());
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The time below which this part of the times lies.
pub(crate) fn quantile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() as f64 * part) as usize).min(times.len() - 1)]
}

fn measure(database: &str, url: &str, clients: usize, floor: f64, of: &str) {
    const ALL: u32 = 1600;
    let base = serve(url);
    let each = ALL / clients as u32;
    let connected: Vec<RelayClient> =
        (0..clients as u32).map(|number| client(&base, clients as u32 * 1000 + number)).collect();
    let start = Instant::now();
    let putting: Vec<_> = (0..)
        .zip(connected)
        .map(|(circle, mut client)| {
            thread::spawn(move || {
                let put = |number| {
                    let bytes = entry(circle, number);
                    let start = Instant::now();
                    client.put(Name::of(&bytes), &bytes).expect("a put");
                    start.elapsed()
                };
                (0..each).map(put).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut times: Vec<Duration> =
        putting.into_iter().flat_map(|client| client.join().expect("it puts")).collect();
    let rate = f64::from(each * clients as u32) / start.elapsed().as_secs_f64();
    let (middle, most) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    row(
        &format!("relay on {database}, durable puts, {clients} clients"),
        per_second(rate),
        format!("{:.2} × {of}; p50 {middle:.1?}, p99 {most:.1?}", rate / floor),
    );
}
