//! Streams without news: their signs of life, and a connection that breaks unseen.

use std::net::TcpStream;

use super::*;

/// A relay whose streams are silent for so long only.
fn restless(longest: Duration) -> String {
    serve_as("memory", move |database| Relay::new(database, Quota::default()).longest_silence(longest))
}

#[test]
fn a_stream_gives_signs_of_life_between_the_news() {
    let base = restless(Duration::from_millis(50));
    let (send, receive) = mpsc::channel();
    let watcher = client(&base);
    thread::spawn(move || watcher.watch(&mut Silence::default(), |heard| send.send(heard).is_ok()));
    let next = || receive.recv_timeout(Duration::from_secs(20)).unwrap();
    let mut first = [next(), next()];
    first.sort_by_key(|heard| matches!(heard, Heard::Sign));
    assert_eq!(first, [Heard::Head(0), Heard::Sign], "how many there are, and when to expect a sign");
    assert_eq!([next(), next()], [Heard::Sign, Heard::Sign]);
    client(&base).put(Name::of(b"first"), b"first").unwrap();
    let heard: Vec<Heard> =
        std::iter::repeat_with(next).take_while(|heard| *heard != Heard::Head(1)).collect();
    assert!(heard.iter().all(|heard| *heard == Heard::Sign), "{heard:?}");
}

/// Passes everything on, until it is told to swallow what comes through the connections there are: they stay open, and
/// neither end learns anything. Later ones are served.
struct BlackHole {
    base: String,
    connections: Arc<AtomicU64>,
    /// So many of them are swallowed.
    swallowed: Arc<AtomicU64>,
}

impl BlackHole {
    fn swallow(&self) {
        self.swallowed.store(self.connections.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn black_hole(to: &str) -> BlackHole {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let hole = BlackHole { base, connections: Arc::default(), swallowed: Arc::default() };
    let (to, connections, swallowed) = (to.to_string(), hole.connections.clone(), hole.swallowed.clone());
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let number = connections.fetch_add(1, Ordering::Relaxed) + 1;
            let far = TcpStream::connect(to.trim_start_matches("http://")).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                let swallowed = swallowed.clone();
                thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(read @ 1..) = from.read(&mut bytes) {
                        let passes = swallowed.load(Ordering::Relaxed) < number;
                        if passes && to.write_all(&bytes[..read]).is_err() {
                            return;
                        }
                    }
                    // An end is swallowed, too.
                    while swallowed.load(Ordering::Relaxed) >= number {
                        thread::sleep(Duration::from_secs(1));
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    hole
}

#[test]
fn a_connection_that_breaks_unseen_is_noticed_by_its_silence() {
    let base = restless(Duration::from_millis(100));
    let hole = black_hole(&base);
    let (send, receive) = mpsc::channel();
    let watcher = client(&hole.base);
    let waiting = thread::spawn(move || {
        // The signs come each 100 ms. What is spared is for a machine that has much else to do.
        let mut silence = Silence::new(Duration::from_millis(200), Duration::from_secs(4));
        let ended = watcher.watch(&mut silence, |heard| send.send(heard).is_ok());
        let again = watcher.watch(&mut silence, |heard| matches!(heard, Heard::Sign));
        (ended, again)
    });
    let next = || receive.recv_timeout(Duration::from_secs(20));
    while next().unwrap() != Heard::Head(0) {}
    hole.swallow();
    client(&base).put(Name::of(b"first"), b"first").unwrap();
    while let Ok(heard) = next() {
        assert_eq!(heard, Heard::Sign, "what was on the way at the time may arrive");
    }
    let (ended, again) = waiting.join().unwrap();
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "nobody ended it: it was given up");
    again.expect("a new connection is served: the news are heard, and end it");
}
