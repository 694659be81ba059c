//! What a device that does nothing sends and is sent in a day: it waits for news of a relay, and asks once a day.
//!
//! Bytes are counted on the way, by a proxy on loopback, without TLS and without what TCP and IP put around them. A day
//! is added up from its parts: an opened stream, signs of life, a question to which nothing is new.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use doppelkey_sync::Mailbox as _;
use doppelkey_sync::relay::{FIRST_SIGN, Heard, LONGEST_SILENCE, Silence};

use super::relay::{client, serve_with};
use super::row;

/// How often a device asks although it hears signs of life (`replicate/service.rs` of the program).
const ASKS_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// The end of a chunk that holds an empty comment is the least that HTTP can say: `3`, `:`, and what is between them.
const LEAST: u64 = 8;

pub(crate) fn idle() {
    const OFTEN: Duration = Duration::from_millis(100);
    let relay = serve_with("memory", |relay| relay.longest_silence(OFTEN));
    client(&relay, 0);
    let (address, counted) = proxy(relay.trim_start_matches("http://"));
    let mut device = client(&address, 0);
    let after = |work: &mut dyn FnMut()| {
        let before = counted.load(Ordering::Relaxed);
        work();
        // What is on the way yet.
        thread::sleep(OFTEN / 4);
        counted.load(Ordering::Relaxed) - before
    };
    device.list(0).expect("a list");
    let question = after(&mut || drop(device.list(0).expect("a list")));
    let waiting = device.clone();
    let opened = after(&mut || {
        let waiting = waiting.clone();
        let (send, receive) = std::sync::mpsc::channel();
        let heard = move |heard| heard == Heard::Sign || send.send(()).is_ok();
        thread::spawn(move || waiting.watch(&mut Silence::default(), heard));
        receive.recv().expect("it is told how many there are");
    });
    const SIGNS: u32 = 20;
    let signs = after(&mut || thread::sleep(OFTEN * SIGNS));
    let sign = signs as f64 / f64::from(SIGNS);
    let parts =
        format!("{opened} B to open, {sign:.1} B a sign of life (floor {LEAST} B), {question} B a question");
    row("idle device: parts", String::new(), parts);
    let day = |what: &str, longest: Duration| {
        let signs = signs_a_day(longest);
        let waits = opened as f64 + sign * f64::from(signs);
        let asks = question as f64 * 86_400.0 / ASKS_EVERY.as_secs_f64();
        row(
            &format!("idle device: a day, {what}"),
            format!("{:.1} kB", (waits + asks) / 1000.0),
            format!("{signs} signs: {:.1} kB wait, {:.1} kB ask", waits / 1000.0, asks / 1000.0),
        );
    };
    day("nothing in the way", LONGEST_SILENCE);
    day("a proxy that bears a minute", FIRST_SIGN);
}

/// How many signs a stream gives in a day: each silence is twice as long as the one before, up to the longest.
fn signs_a_day(longest: Duration) -> u32 {
    let (mut at, mut gap, mut signs) = (Duration::ZERO, FIRST_SIGN, 0);
    while at < Duration::from_secs(86_400) {
        at += gap;
        gap = (2 * gap).min(longest);
        signs += 1;
    }
    signs
}

/// Passes everything on, and counts it.
fn proxy(to: &str) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (counted, to) = (Arc::new(AtomicU64::new(0)), to.to_string());
    let count = counted.clone();
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let there = TcpStream::connect(&to).expect("it listens");
            let (back, forth) = (from.try_clone(), there.try_clone());
            let (one, other) = (count.clone(), count.clone());
            thread::spawn(move || pass(from, there, &one));
            thread::spawn(move || pass(forth.expect("a socket"), back.expect("a socket"), &other));
        }
    });
    (address, counted)
}

fn pass(mut from: impl Read, mut to: impl Write, counted: &AtomicU64) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        counted.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
