//! What a sign-in would cost that did nothing but what none can do without, and what share of the floor is left then: two
//! requests by axum; the one signature verification, which is the floor; a query and a commit by SQLite, of the rows that
//! a sign-in leaves behind. No policy, no limits, no WebAuthn, no session to look for, and visitors that sign nothing.
//!
//! `cargo bench -p doppelkey-relying-party --bench bare_sign_in`. Linux only: `/proc` tells what threads take.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, mem};

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use axum::routing::post;
use axum::{Json, Router};
use doppelkey_relying_party::verify;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const AT_A_TIME: u32 = 64;
const SIGN_INS_OF_EACH: u32 = 100;
const USERS: u32 = 512;

/// The name of the threads whose time is measured.
const MEASURED: &str = "measured";

fn main() {
    let floor = floor();
    println!("a signature, the floor        {:>6.1} µs", micros(floor));
    for (what, signature, database) in [
        ("two requests", false, false),
        ("… and a signature", true, false),
        ("… and a query and a commit", true, true),
    ] {
        let cost = cost_of_a_sign_in(signature, database);
        let share = if signature { 100.0 * micros(floor) / micros(cost) } else { f64::INFINITY };
        let share = if share.is_finite() { format!("{share:.0} % of the floor") } else { String::new() };
        println!("{what:<29} {:>6.1} µs  {share}", micros(cost));
    }
}

/// One signature verification.
fn floor() -> Duration {
    const COUNT: u32 = 4000;
    let verify = verify::floor();
    let work = move || (0..COUNT).for_each(|_| assert!(black_box(verify())));
    let thread = std::thread::Builder::new().name(MEASURED.into()).spawn(move || {
        let before = time_on_processors();
        work();
        time_on_processors() - before
    });
    thread.expect("a thread").join().expect("the signature is right") / COUNT
}

/// The service's share of a sign-in, after as many that are not counted.
fn cost_of_a_sign_in(signature: bool, database: bool) -> Duration {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let service = Arc::new(Service {
        verify: signature.then(|| Box::new(verify::floor()) as Box<_>),
        database: database.then(|| Mutex::new(open(&folder.path().join("bare.db")).expect("a database"))),
        waiting: Mutex::default(),
    });
    let routes = Router::new().route("/options", post(options)).route("/finish", post(finish));
    let runtime = runtime(MEASURED);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    runtime.spawn(async move { axum::serve(listener, routes.with_state(service)).await });
    let visitors = self::runtime("visitors");
    visitors.block_on(visit(address));
    let before = time_on_processors();
    visitors.block_on(visit(address));
    (time_on_processors() - before) / (AT_A_TIME * SIGN_INS_OF_EACH)
}

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().thread_name(name).enable_all().build().expect("threads")
}

struct Service {
    verify: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    database: Option<Mutex<Connection>>,
    waiting: Mutex<Waiting>,
}

/// What waits for the next commit, and whether somebody sees to it.
#[derive(Default)]
struct Waiting {
    sign_ins: Vec<(u32, oneshot::Sender<()>)>,
    is_seen_to: bool,
}

async fn options(State(_): State<Arc<Service>>, Json(_): Json<Value>) -> (HeaderMap, String) {
    let options = json!({ "publicKey": {
        "challenge": "c".repeat(120), "rpId": "localhost", "timeout": 300_000, "allowCredentials": [],
        "userVerification": "preferred",
    } });
    (headers(), options.to_string())
}

async fn finish(State(service): State<Arc<Service>>, Json(answer): Json<Value>) -> (HeaderMap, String) {
    let user = answer["user"].as_u64().and_then(|user| u32::try_from(user).ok()).expect("ours are numbers");
    if let Some(database) = &service.database {
        let key = "SELECT public_key FROM credentials WHERE id = ?1";
        let database = lock(database);
        let mut query = database.prepare_cached(key).expect("SQL");
        query.query_row([user], |row| row.get::<_, Vec<u8>>(0)).expect("everybody has one");
    }
    if let Some(verify) = &service.verify {
        assert!(black_box(verify()));
    }
    if service.database.is_some() {
        let (reply, done) = oneshot::channel();
        let is_seen_to = {
            let mut waiting = lock(&service.waiting);
            waiting.sign_ins.push((user, reply));
            mem::replace(&mut waiting.is_seen_to, true)
        };
        if !is_seen_to {
            tokio::spawn(commit_what_waits(Arc::clone(&service)));
        }
        done.await.expect("a commit");
    }
    (headers(), json!({ "next": "/account" }).to_string())
}

/// As many headers as every answer of the relying party has.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        SET_COOKIE,
        format!("session={}; Path=/", "s".repeat(52)).parse().expect("a header's characters"),
    );
    for name in ["content-security-policy", "permissions-policy", "referrer-policy", "x-content-type-options"]
    {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("default-src 'none'"));
    }
    for name in ["x-frame-options", "cross-origin-opener-policy", "cache-control"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("same-origin"));
    }
    headers
}

/// As the relying party does it: two milliseconds of sign-ins are one commit.
async fn commit_what_waits(service: Arc<Service>) {
    loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let group = {
            let mut waiting = lock(&service.waiting);
            waiting.is_seen_to = !waiting.sign_ins.is_empty();
            mem::take(&mut waiting.sign_ins)
        };
        let Some(database) = service.database.as_ref().filter(|_| !group.is_empty()) else { return };
        commit(&lock(database), &group).expect("room on the disk");
        for (_, reply) in group {
            let _ = reply.send(());
        }
    }
}

fn commit(database: &Connection, group: &[(u32, oneshot::Sender<()>)]) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| database.prepare_cached(sql)?.execute(values);
    run("BEGIN IMMEDIATE", &[])?;
    for (user, _) in group {
        run("UPDATE credentials SET last_used_at = 1 WHERE id = ?1", &[user])?;
        run("INSERT INTO sessions VALUES (randomblob(32), ?1, ?2)", &[user, &"s".repeat(100)])?;
        run("INSERT INTO spent_challenges VALUES (NULL, randomblob(24))", &[])?;
        run("INSERT INTO events VALUES (NULL, ?1)", &[&"e".repeat(1580)])?;
    }
    run("COMMIT", &[]).map(drop)
}

fn open(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 8000; \
         PRAGMA cache_size = -16000; PRAGMA mmap_size = 268435456; \
         CREATE TABLE credentials (id INTEGER PRIMARY KEY, public_key BLOB, last_used_at INTEGER); \
         CREATE TABLE sessions (digest BLOB PRIMARY KEY, user INTEGER, data TEXT) WITHOUT ROWID; \
         CREATE TABLE spent_challenges (number INTEGER PRIMARY KEY, id BLOB); \
         CREATE TABLE events (number INTEGER PRIMARY KEY, data TEXT); BEGIN;",
    )?;
    for user in 0..USERS {
        database.execute("INSERT INTO credentials VALUES (?1, randomblob(77), 0)", [user])?;
    }
    database.execute_batch("COMMIT")?;
    Ok(database)
}

/// Everybody signs in so often, each by a connection of their own.
async fn visit(address: SocketAddr) {
    let mut visitors = JoinSet::new();
    for visitor in 0..AT_A_TIME {
        visitors.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("the service is there");
            for number in 0..SIGN_INS_OF_EACH {
                let user = (visitor * 8 + number) % USERS;
                ask(&mut stream, "/options", "{}").await;
                let assertion = json!({ "user": user, "response": {
                    "clientDataJSON": "c".repeat(330), "authenticatorData": "a".repeat(50),
                    "signature": "s".repeat(96), "userHandle": "u".repeat(86),
                } });
                ask(&mut stream, "/finish", &assertion.to_string()).await;
            }
        });
    }
    visitors.join_all().await;
}

async fn ask(stream: &mut TcpStream, path: &str, body: &str) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\nuser-agent: bench\r\n\
         content-type: application/json\r\ncontent-length: {}\r\ncookie: session={}\r\n\r\n{body}",
        body.len(),
        "s".repeat(52)
    );
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let (mut answer, mut length) = ([0; 4096], 0);
    loop {
        length += stream.read(&mut answer[length..]).await.expect("it answers");
        // Both answers are JSON, and nothing in them ends like it.
        if answer[..length].ends_with(b"}") {
            return assert!(answer.starts_with(b"HTTP/1.1 200"));
        }
    }
}

/// What the measured threads have used so far.
fn time_on_processors() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("Linux").flatten().map(|thread| thread.path());
    let is_measured = |thread: &std::path::PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == MEASURED)
    };
    let nanos = threads.filter(is_measured).filter_map(|thread| {
        let times = fs::read_to_string(thread.join("schedstat")).ok()?;
        times.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
