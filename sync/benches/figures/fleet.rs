//! A day of a fleet: many circles of three devices, two relays that share nothing but one PostgreSQL.
//!
//! Each circle puts three entries, and after each its two other devices ask for what is new: three puts and six lists a
//! user and day, as in the design's arithmetic. Everything comes as fast as it can, so the rates are what the fleet's
//! relays can take, on this machine, with the clients on it, too.

use std::thread;
use std::time::{Duration, Instant};

use doppelkey_sync::{Mailbox, Name};

use super::postgres::Postgres;
use super::relay::{client, entry, quantile, serve};
use super::row;

const CIRCLES: u32 = 960;
const CLIENTS: u32 = 24;
const ENTRIES_A_DAY: u32 = 3;

pub(crate) fn fleet() {
    let Some(postgres) = Postgres::start(true) else {
        return println!("PostgreSQL is not installed: not measured");
    };
    let relays = [serve(&postgres.url), serve(&postgres.url)];
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let relays = relays.clone();
            thread::spawn(move || {
                let circles = (0..CIRCLES).filter(|circle| circle % CLIENTS == number);
                circles.map(|circle| day(circle, &relays)).fold(Times::default(), Times::and)
            })
        })
        .collect();
    let all =
        clients.into_iter().map(|client| client.join().expect("it runs")).fold(Times::default(), Times::and);
    let time = start.elapsed().as_secs_f64();
    for (what, mut times) in [("puts", all.puts), ("lists", all.lists)] {
        let rate = times.len() as f64 / time;
        let quantiles =
            format!("p50 {:.1?}, p99 {:.1?}", quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        row(
            &format!("fleet: {CIRCLES} circles, 2 relays on PostgreSQL, {what}"),
            format!("{rate:.0} /s"),
            quantiles,
        );
        if what == "puts" {
            // Ten times the mean: everybody gets up at the same time.
            let users = rate * 86_400.0 / f64::from(ENTRIES_A_DAY) / 10.0;
            row(
                "fleet: users with three entries a day, peak 10 × mean",
                format!("{:.1} M", users / 1e6),
                String::new(),
            );
        }
    }
    row(
        "fleet: database a circle",
        format!("{:.0} B", stored(&postgres.url) / f64::from(CIRCLES)),
        String::new(),
    );
}

#[derive(Default)]
struct Times {
    puts: Vec<Duration>,
    lists: Vec<Duration>,
}

impl Times {
    fn and(mut self, other: Times) -> Times {
        self.puts.extend(other.puts);
        self.lists.extend(other.lists);
        self
    }
}

/// One circle's day. Its devices know different relays.
fn day(circle: u32, relays: &[String; 2]) -> Times {
    let mut times = Times::default();
    let mut devices = [0, 1, 1].map(|relay: usize| client(&relays[(circle as usize + relay) % 2], circle));
    let timed = |times: &mut Vec<Duration>, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        times.push(start.elapsed());
    };
    for number in 0..ENTRIES_A_DAY {
        let bytes = entry(circle, number);
        let [writer, readers @ ..] = &mut devices;
        timed(&mut times.puts, &mut || writer.put(Name::of(&bytes), &bytes).expect("a put"));
        for reader in readers {
            timed(&mut times.lists, &mut || {
                let listing = reader.list(u64::from(number)).expect("a list");
                assert_eq!(listing.head, u64::from(number) + 1, "what one relay took the other one shows");
            });
        }
    }
    times
}

/// Bytes of the tables and their indices.
fn stored(url: &str) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let pool = sqlx::any::AnyPoolOptions::new().connect(url).await.expect("the database is there");
        let sum = "SELECT CAST(SUM(pg_total_relation_size(c)) AS BIGINT) \
                   FROM unnest(ARRAY['circles', 'entries', 'tokens']::regclass[]) AS c";
        let bytes: i64 = sqlx::query_scalar(sum).fetch_one(&pool).await.expect("it counts");
        bytes as f64
    })
}
