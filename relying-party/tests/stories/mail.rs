//! Mail through a server that is down at first: what waits for it outlives the relying party.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doppelkey_relying_party::{Config, Key, Mail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{ADMIN, Authenticator, World, postgres, silent_socket};

const EMAIL: &str = "ada@example.org";

/// The texts that a mail server has got.
type Mailbox = Arc<Mutex<Vec<String>>>;

/// A mail server that says yes to everything: as much of RFC 5321 as a client needs.
async fn serve(listener: TcpListener, mailbox: Mailbox) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(receive(stream, Arc::clone(&mailbox), true));
    }
}

/// The same, but the line breaks after the first mail, before the yes to it.
async fn serve_and_break_once(listener: TcpListener, mailbox: Mailbox) {
    if let Ok((stream, _)) = listener.accept().await {
        let _ = receive(stream, Arc::clone(&mailbox), false).await;
    }
    serve(listener, mailbox).await;
}

async fn receive(stream: TcpStream, mailbox: Mailbox, says_yes: bool) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut text: Option<String> = None;
    writer.write_all(b"220 localhost\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer: &[u8] = match &mut text {
            Some(received) if line == "." => {
                mailbox.lock().expect("nobody panics with it").push(std::mem::take(received));
                text = None;
                if !says_yes {
                    return Ok(());
                }
                b"250 ok\r\n"
            }
            Some(received) => {
                received.push_str(&line);
                received.push('\n');
                continue;
            }
            None if line == "DATA" => {
                text = Some(String::new());
                b"354 go on\r\n"
            }
            None => b"250 localhost\r\n",
        };
        writer.write_all(answer).await?;
    }
    Ok(())
}

/// A mail server that takes no mail: who is connected now, and when each connection was opened, in seconds of the clock.
#[derive(Default)]
struct Refusing {
    connections: Mutex<Vec<i64>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Refusing {
    /// Says `greeting`, if anything, and refuses for now whatever it is asked to do.
    async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        world: Arc<World>,
        greeting: Option<&'static [u8]>,
    ) {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Arc::clone(&self);
            server.connections.lock().expect("nobody panics with it").push(world.now_s());
            tokio::spawn(async move {
                let open = server.open.fetch_add(1, Ordering::SeqCst) + 1;
                server.most_open.fetch_max(open, Ordering::SeqCst);
                let _ = refuse(stream, greeting).await;
                server.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    /// Lets time pass, second by second for timers and clock alike, until the mail is given up; gives the seconds between
    /// its tries.
    async fn pauses_until_it_is_given_up(&self, world: &World) -> Vec<i64> {
        for _ in 0..3 * 3600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.pass_seconds(1);
            if world.now_s() % 60 == 0 && world.codes().await.contains(&"fn".into()) {
                let tries = self.connections.lock().expect("nobody panics with it").clone();
                return tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
            }
        }
        panic!("it is never given up");
    }
}

async fn refuse(stream: TcpStream, greeting: Option<&[u8]>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(greeting.unwrap_or_default()).await?;
    while let Some(line) = lines.next_line().await? {
        let answer: &[u8] = if line.starts_with("EHLO") { b"250 localhost\r\n" } else { b"451 later\r\n" };
        writer.write_all(answer).await?;
    }
    Ok(())
}

/// A relying party whose mail goes to a server that takes none, with one mail for it.
async fn world_with_mail_for(greeting: Option<&'static [u8]>) -> (Arc<World>, Arc<Refusing>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("smtp://{}", listener.local_addr().expect("an address"));
    let (world, server) = (Arc::new(World::with_mail("memory", &url).await), Arc::<Refusing>::default());
    tokio::spawn(Arc::clone(&server).serve(listener, Arc::clone(&world), greeting));
    world.browser().sign_up(EMAIL, &mut Authenticator::platform()).await;
    assert_eq!(world.browser().form("/recover", &[("email", EMAIL)]).await.location(), "/recover/code");
    (world, server)
}

#[tokio::test(start_paused = true)]
async fn a_mail_is_tried_as_often_and_as_long_as_is_said() {
    let (world, server) = world_with_mail_for(Some(b"220 localhost\r\n")).await;
    let pauses = server.pauses_until_it_is_given_up(&world).await;
    assert_eq!(pauses.len(), 4, "{pauses:?}");
    // The postman looks every second.
    for (pause, said) in pauses.iter().zip([2, 15, 60, 300]) {
        assert!((said..=said + 2).contains(pause), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_says_nothing_is_told_and_holds_one_connection_a_mail() {
    let (world, server) = world_with_mail_for(None).await;
    let pauses = server.pauses_until_it_is_given_up(&world).await;
    assert_eq!((pauses.len(), server.most_open.load(Ordering::SeqCst)), (4, 1), "{pauses:?}");
    // RFC 5321 §4.5.3.2.6: a server may take ten minutes to say yes, and would have the mail twice.
    assert!(pauses.iter().all(|pause| *pause >= 600), "{pauses:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.open.load(Ordering::SeqCst), 0, "it holds no connection any more");
    let (_, event) = world.events().await.into_iter().find(|(code, _)| code == "fn").expect("it is told");
    assert_eq!(event["details"]["error"]["message"], "the mail server accepts connections and says nothing");
}

/// Waits until so many mails have come.
async fn wait_for(mailbox: &Mailbox, count: usize) -> Vec<String> {
    for _ in 0..400 {
        let received = mailbox.lock().expect("nobody panics with it").clone();
        if received.len() >= count {
            return received;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no mail came");
}

#[tokio::test]
async fn mail_that_waits_outlives_the_relying_party_and_goes_out_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let socket = silent_socket();
    let url = format!("smtp://{}", socket.local_addr().expect("an address"));
    let first = World::with_mail(&database, &url).await;
    let mut browser = first.browser();
    assert_eq!(browser.form("/signup", &[("email", EMAIL)]).await.location(), "/signup/passkey");
    let password = [("password", "correct horse battery")];
    assert_eq!(browser.form("/signup/password", &password).await.location(), "/account");
    let mut visitor = first.browser();
    assert_eq!(visitor.form("/recover", &[("email", EMAIL)]).await.location(), "/recover/code");
    assert!(!first.codes().await.contains(&"fn".into()), "it is not given up");
    drop((first, browser));

    let mailbox = Mailbox::default();
    let listener = socket.listen(1024).expect("the port is this socket's");
    tokio::spawn(serve(listener, Arc::clone(&mailbox)));
    // Two processes at once, later: one of them sends it.
    let worlds = [World::with_mail(&database, &url).await, World::with_mail(&database, &url).await];
    for world in &worlds {
        world.pass_minutes(3);
    }
    let received = wait_for(&mailbox, 1).await;
    let code = received[0]
        .split("Your code for Doppelkey is ")
        .nth(1)
        .and_then(|rest| rest.get(..6))
        .expect("a code");
    let mut visitor = worlds[1].adopt(&visitor);
    assert_eq!(visitor.form("/recover/code", &[("code", code)]).await.location(), "/recover/new");
    // Everything that waits is gone: nothing comes twice.
    for world in &worlds {
        world.pass_minutes(60);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(mailbox.lock().expect("nobody panics with it").len(), 1);
}

#[tokio::test]
async fn mail_that_a_lost_key_has_sealed_is_told_as_lost_by_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let socket = silent_socket();
    let address = socket.local_addr().expect("an address");
    let mail = || Mail::Smtp { url: format!("smtp://{address}"), from: "login@example.org".into() };
    let start = async |key: [u8; 32], replace_lost_key: bool| {
        let (admin_token, key) = (ADMIN.into(), Some(Key::new(key)));
        let config =
            Config { database: database.clone(), mail: mail(), admin_token, ..Config::localhost(8080) };
        World::started(Config { key, replace_lost_key, ..config }).await.expect("it starts")
    };
    let before = start([1; 32], false).await;
    before.browser().sign_up_with_password(EMAIL, "correct horse battery").await;
    for _ in 0..2 {
        assert_eq!(before.browser().form("/recover", &[("email", EMAIL)]).await.location(), "/recover/code");
    }
    drop(before);
    let replaced = start([2; 32], true).await;
    let lost: Vec<_> = replaced.events().await.into_iter().filter(|(code, _)| code == "fn").collect();
    let words = lost.iter().map(|(_, event)| event["details"]["error"]["message"].as_str().expect("why"));
    assert_eq!(words.collect::<Vec<_>>(), ["it was sealed under the key that is lost"; 2]);
    // What comes now waits under the new key, and arrives once there is a server.
    assert_eq!(replaced.browser().form("/recover", &[("email", EMAIL)]).await.location(), "/recover/code");
    let mailbox = Mailbox::default();
    let listener = socket.listen(1024).expect("the port is this socket's");
    tokio::spawn(serve(listener, Arc::clone(&mailbox)));
    // A try that failed meanwhile puts it off once more.
    while mailbox.lock().expect("nobody panics with it").is_empty() {
        replaced.pass_minutes(1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let failures = replaced.codes().await.iter().filter(|code| *code == "fn").count();
    assert_eq!(failures, 2, "nothing is told twice");
}

#[tokio::test]
async fn a_mail_that_comes_twice_can_be_told_by_its_message_id() {
    let mailbox = Mailbox::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("smtp://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve_and_break_once(listener, Arc::clone(&mailbox)));
    let world = World::with_mail("memory", &url).await;
    world.browser().sign_up_with_password(EMAIL, "correct horse battery").await;
    assert_eq!(world.browser().form("/recover", &[("email", EMAIL)]).await.location(), "/recover/code");
    wait_for(&mailbox, 1).await;
    // Nobody knows whether the server has it, so it comes once more.
    let received = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.pass_minutes(1);
        let received = mailbox.lock().expect("nobody panics with it").clone();
        if received.len() > 1 {
            break received;
        }
    };
    assert_eq!(received[0], received[1], "to the octet");
    let name = received[0].lines().find_map(|line| line.strip_prefix("Message-ID: ")).expect("a name");
    assert!(name.ends_with("@example.org>"), "{name}");
    // Another mail has another name.
    world.browser().form("/recover", &[("email", EMAIL)]).await;
    let third = wait_for(&mailbox, 3).await.pop().expect("a mail");
    assert!(!third.contains(name), "{third}");
}
