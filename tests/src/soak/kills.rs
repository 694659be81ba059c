//! SIGKILL at random moments, while the programs answer: what was answered is there when they come back.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use doppelkey::client::Client;
use doppelkey_sync::relay::{RelayClient, RelayUrl};
use doppelkey_sync::{CircleId, Mailbox as _, Name, Seeded};
use serde_json::Value;

use super::Trace;
use super::home::{Home, create};
use super::site::Site;
use super::steps::memory_folder;

/// What was done to a program.
#[derive(Debug)]
pub struct Kills {
    /// How often it was killed.
    pub kills: u64,
    /// How many answers were looked for afterwards, and found.
    pub answers: u64,
    /// What it held whenever it was ready again.
    pub trace: Trace,
}

impl Kills {
    fn of(what: &str, kills: u64) -> Self {
        Kills { kills: 0, answers: 0, trace: Trace::new(format!("{what}, ready again, over {kills} kills")) }
    }

    /// One more. Looks at the program before, about a hundred times in all.
    fn one_more(&mut self, child: &Child, of: u64) {
        if self.kills.is_multiple_of(of.div_ceil(100)) {
            self.trace.sample_of(child.id(), self.kills);
        }
        self.kills += 1;
    }
}

/// Kills `doppelkey run` while passkeys are made. Every other vault takes part in a sync circle, whose journal is
/// written then, too.
///
/// # Panics
/// If a passkey whose creation was answered is gone, or the program does not come back.
pub fn vault_kills(kills: u64, seed: u64) -> Kills {
    let mut rng = Seeded::new(seed);
    let mut told = Kills::of("an authenticator", kills);
    while told.kills < kills {
        let folder = memory_folder();
        let home = Home::at(folder.path());
        if rng.chance(0.5) {
            home.init();
        }
        let mut answered = Vec::new();
        for _ in 0..ROUNDS.min(kills - told.kills) {
            if rng.chance(0.2) {
                kill_while_it_starts(&home.arguments(), &mut rng);
                told.kills += 1;
                continue;
            }
            let (child, ready) = start(&home.arguments());
            check_passkeys(&ready, &answered, seed);
            told.one_more(&child, kills);
            killed_at(child, Moment::within(60, &mut rng), |tell| make_passkeys(&home, &mut answered, tell));
        }
        told.answers += answered.len() as u64;
        let (mut child, ready) = start(&home.arguments());
        check_passkeys(&ready, &answered, seed);
        end(&mut child);
    }
    told
}

/// Kills `doppelkey relying-party` on SQLite while users sign up.
///
/// # Panics
/// If a user who was signed up cannot log in any more.
pub fn relying_party_kills(kills: u64, seed: u64) -> Kills {
    let mut rng = Seeded::new(seed);
    let mut told = Kills::of("a relying party", kills);
    let folder = memory_folder();
    let policy = folder.path().join("policy.toml");
    let limits = "[limits]\nsignups_per_ip_minute = 100000\nchallenges_per_ip_minute = 100000\n";
    std::fs::write(&policy, limits).expect("there is room");
    let mut client = Client::ephemeral();
    let mut database = 0;
    while told.kills < kills {
        database += 1;
        let db = format!("sqlite:{}", folder.path().join(format!("{database}.db")).display());
        let arguments = ["relying-party", "--listen", "127.0.0.1:0", "--db", &db, "--policy"];
        let arguments = [&arguments[..], &[policy.to_str().expect("it is UTF-8")]].concat();
        let (mut users, mut unchecked) = (0, Vec::<String>::new());
        for _ in 0..ROUNDS.min(kills - told.kills) {
            if rng.chance(0.1) {
                kill_while_it_starts(&arguments, &mut rng);
                told.kills += 1;
                continue;
            }
            let (child, ready) = start(&arguments);
            let url = ready["url"].as_str().expect("the ready line has the URL").to_owned();
            told.answers += unchecked.len() as u64;
            for email in unchecked.drain(..) {
                let logged_in = Site::new(&url).log_in(&mut client, &email);
                assert!(logged_in, "seed {seed}: {email} had signed up, and cannot log in");
            }
            told.one_more(&child, kills);
            killed_at(child, Moment::within(60, &mut rng), |tell| {
                loop {
                    users += 1;
                    let email = format!("user-{database}-{users}@example.org");
                    if !Site::new(&url).sign_up(&mut client, &email) {
                        break;
                    }
                    unchecked.push(email);
                    tell();
                }
            });
        }
    }
    told
}

/// Kills `doppelkey relay` on SQLite while a device puts entries.
///
/// # Panics
/// If an entry whose put was answered is gone or is another one.
pub fn relay_kills(kills: u64, seed: u64) -> Kills {
    let mut rng = Seeded::new(seed);
    let mut told = Kills::of("a relay", kills);
    let folder = memory_folder();
    let mut database = 0;
    while told.kills < kills {
        database += 1;
        let db = format!("sqlite:{}", folder.path().join(format!("{database}.db")).display());
        let arguments = ["relay", "--listen", "127.0.0.1:0", "--db", &db];
        let mut answered: Vec<(Name, Vec<u8>)> = Vec::new();
        for _ in 0..ROUNDS.min(kills - told.kills) {
            let (child, ready) = start(&arguments);
            let url = ready["url"].as_str().expect("the ready line has the URL");
            let mut mailbox = RelayClient::new(RelayUrl::new(url, "a token of the test"), CircleId([7; 16]));
            mailbox.open().expect("it answers");
            // Those of the last round; the ones before were looked at before.
            for (name, bytes) in answered.iter().rev().take(20) {
                let found = mailbox.get(*name).expect("it answers");
                assert_eq!(found.as_ref(), Some(bytes), "seed {seed}: an entry that was taken is not there");
            }
            told.one_more(&child, kills);
            killed_at(child, Moment::within(40, &mut rng), |tell| {
                loop {
                    let bytes: Vec<u8> = (0..200).map(|_| rng_byte(&mut rng)).collect();
                    let name = Name::of(&bytes);
                    if mailbox.put(name, &bytes).is_err() {
                        break;
                    }
                    answered.push((name, bytes));
                    tell();
                }
            });
        }
        told.answers += answered.len() as u64;
    }
    told
}

fn rng_byte(rng: &mut Seeded) -> u8 {
    rng.below(256) as u8
}

/// Makes passkeys until nobody answers, and tells of each answer.
fn make_passkeys(home: &Home, answered: &mut Vec<String>, tell: &dyn Fn()) {
    let Ok(mut client) = home.client() else { return };
    while let Ok(id) = create(&mut client, answered.len()) {
        answered.push(id.as_str().expect("an ID is text").to_owned());
        tell();
    }
}

fn check_passkeys(ready: &Value, answered: &[String], seed: u64) {
    let text = |name: &str| ready[name].as_str().expect("it is in the ready line");
    let mut response = ureq::get(format!("{}/v1/devices/1/credentials", text("control")))
        .header("authorization", format!("Bearer {}", text("token")))
        .call()
        .expect("the control port answers");
    let there = response.body_mut().read_to_string().expect("it is text");
    for id in answered {
        assert!(there.contains(&format!("{id:?}")), "seed {seed}: passkey {id} was made, and is gone");
    }
}

/// Starts `doppelkey` with these arguments, and waits until it is ready.
fn start(arguments: &[impl AsRef<str>]) -> (Child, Value) {
    let mut child = spawn(arguments);
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("its output is text");
    let ready = serde_json::from_str(&line);
    (child, ready.unwrap_or_else(|_| panic!("after a kill it does not start: {line}")))
}

fn spawn(arguments: &[impl AsRef<str>]) -> Child {
    let mut command = Command::new(crate::doppelkey());
    command.args(arguments.iter().map(AsRef::as_ref)).arg("--json").stdout(Stdio::piped());
    command.stderr(Stdio::null()).spawn().expect("doppelkey runs")
}

fn kill_while_it_starts(arguments: &[impl AsRef<str>], rng: &mut Seeded) {
    let mut child = spawn(arguments);
    std::thread::sleep(Duration::from_millis(rng.below(40)));
    end(&mut child);
}

fn end(child: &mut Child) {
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

/// When a program is killed.
struct Moment {
    /// After its first answer, and not after it was ready.
    is_after_an_answer: bool,
    milliseconds: u64,
}

impl Moment {
    /// Some moment within so many milliseconds: mostly of the first answer, or a slow machine would see no answers.
    fn within(milliseconds: u64, rng: &mut Seeded) -> Self {
        Moment { is_after_an_answer: rng.chance(0.75), milliseconds: rng.below(milliseconds) }
    }
}

/// Does something that tells of every answer and ends when the program does, and kills the program at this moment.
fn killed_at(mut child: Child, moment: Moment, work: impl FnOnce(&dyn Fn())) {
    let (answers, answered) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if moment.is_after_an_answer {
                // No answer within that time, or none ever: it is killed all the same.
                let _ = answered.recv_timeout(Duration::from_secs(30));
            }
            std::thread::sleep(Duration::from_millis(moment.milliseconds));
            end(&mut child);
        });
        work(&|| {
            // Only the first is waited for.
            let _ = answers.send(());
        });
        drop(answers);
    });
}

/// Kills until there is a new vault or database: it should grow, and not for ever.
const ROUNDS: u64 = 50;
