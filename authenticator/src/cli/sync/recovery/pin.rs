//! `doppelkey sync recovery pin set | use | status | end`.

use clap::{Args, Subcommand};
use doppelkey_sync::escrow::{Answer, Deposit, EscrowPin, GUESSES_MAX, Guess, Opened, RELAYS_MAX};
use doppelkey_sync::relay::{EscrowError, RelayClient, RelayUrl};
use doppelkey_sync::{CircleId, RecoveryKey};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::{Circle, place};
use super::{admit, bring_back, circle_id, new_member};
use crate::cli::vault_options::{ExistingVault, KeptVault};
use crate::cli::{Failure, confirm, counted, print};
use crate::replicate::{PIN_MEMBER, Place, Request, Secret, distinct, refused};
use crate::text::hex;

/// A recovery key that the circle's relays keep for whoever knows a PIN; they count guesses
///
/// The PIN is asked for at the terminal, or taken from the environment: DOPPELKEY_RECOVERY_PIN. No relay learns it. With
/// several relays, fewer than are needed can do nothing with what they have; with one, its operator can try PINs.
#[derive(Subcommand)]
pub(in crate::cli::sync) enum Pin {
    Set(Set),
    Use(Use),
    Status(Status),
    End(End),
}

impl Pin {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Pin::Set(command) => command.run(),
            Pin::Use(command) => command.run(),
            Pin::Status(command) => command.run(),
            Pin::End(command) => command.run(),
        }
    }
}

/// Set the recovery PIN, or another one in its place
#[derive(Args)]
pub(in crate::cli::sync) struct Set {
    #[command(flatten)]
    vault: ExistingVault,
    /// How many wrong guesses in a row destroy what is in escrow, 16 at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    guesses: u8,
    /// How many of the circle's relays a guess takes [default: more than half of them]
    #[arg(long, value_name = "T")]
    needed: Option<u8>,
}

impl Set {
    fn run(self) -> Result<(), Failure> {
        let mut circle = Circle::of(&self.vault)?;
        let status = circle.ask(&Request::Status)?;
        let id = circle_id(status["circle"].as_str().unwrap_or_default())?;
        let relays = u8::try_from(status["relays"].as_u64().unwrap_or(0)).unwrap_or(u8::MAX);
        let shares = (self.needed.unwrap_or(relays / 2 + 1), relays);
        self.check(shares)?;
        let pin = new_pin()?;
        let mut random = UnwrapErr(SysRng);
        let key = RecoveryKey::generate(&mut random);
        let stretched = EscrowPin::new(id, pin.as_bytes());
        let deposits = Deposit::lock(&key, id, &stretched, shares, self.guesses, &mut random)
            .expect("the numbers were checked");
        let found = admit(&mut circle, &key, PIN_MEMBER)?;
        let hexadecimal = |deposit: &Deposit| Secret::new(hex(&deposit.encode()));
        circle.ask(&Request::Deposit { deposits: deposits.iter().map(hexadecimal).collect() })?;
        // Not before: a PIN that is set half opens nothing.
        circle.ask(&Request::RetirePins { newest: found.device() })?;
        found.say();
        log::info!("the PIN is set; so many wrong guesses in a row destroy what it opens: {}", self.guesses);
        log::info!(
            "a PIN does not count as a backup, because others can use its guesses up; a recovery key does"
        );
        Ok(())
    }

    fn check(&self, (needed, relays): (u8, u8)) -> Result<(), Failure> {
        if relays == 0 {
            return Err(Failure::new(
                "the circle has no relay that could count guesses",
                "make a recovery key on paper: `doppelkey sync recovery create`",
            ));
        }
        if !(1..=relays).contains(&needed) || relays > RELAYS_MAX {
            return Err(Failure::new(
                format_args!("{needed} of {relays} relays cannot be needed"),
                format_args!("the circle has {relays}; up to {RELAYS_MAX} can keep a PIN"),
            ));
        }
        if !(1..=GUESSES_MAX).contains(&self.guesses) {
            return Err(Failure::new(
                format_args!("{} guesses cannot be allowed", self.guesses),
                format_args!("choose 1 to {GUESSES_MAX}"),
            ));
        }
        Ok(())
    }
}

/// Bring everything back on this device with the recovery PIN; a wrong one is counted
#[derive(Args)]
pub(in crate::cli::sync) struct Use {
    #[command(flatten)]
    vault: KeptVault,
    /// A relay of the lost circle; say it for each that the circle had
    #[arg(long, value_name = "https://RELAY", required = true)]
    mailbox: Vec<String>,
    /// The circle [it was printed when the PIN was set]
    #[arg(long, value_name = "ID")]
    circle: String,
    /// What this device is called [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
}

impl Use {
    fn run(self) -> Result<(), Failure> {
        let id = circle_id(&self.circle)?;
        let relays = self.relays(id)?;
        // Before anything is counted.
        let mut opened = new_member(&self.vault)?;
        let pin = ask("Recovery PIN: ")?;
        let guess = Guess::new(id, EscrowPin::new(id, pin.as_bytes()), &mut UnwrapErr(SysRng));
        let (answered, answers) = answers_of(&relays, &guess)?;
        let Some(found) = guess.open(&answers) else { return Err(wrong(&answers)) };
        prove(&answered, &answers, &found);
        // Also those that counted no guess: what was backed up may be at any of them.
        let places = relays.iter().map(|relay| relay.place.clone()).collect();
        bring_back(&mut opened, &found.key, Some(id), places, self.name)
    }

    fn relays(&self, circle: CircleId) -> Result<Vec<Relay>, Failure> {
        let without_token = |text: &String| match place(text)? {
            // Whoever guesses has no token any more.
            Place::Opened(url) => Ok(Place::Relay(url.base().to_owned())),
            relay @ Place::Relay(_) => Ok(relay),
            other => {
                let error = format_args!("{other} counts no guesses");
                Err(Failure::new(error, "name the circle's relays"))
            }
        };
        let places = self.mailbox.iter().map(without_token).collect::<Result<Vec<_>, Failure>>()?;
        let relay = |place: Place| {
            let client = RelayClient::new(RelayUrl::new(&place.to_string(), ""), circle);
            Relay { place, client }
        };
        // One that is named twice would count each guess twice.
        Ok(distinct(&places).into_iter().map(relay).collect())
    }
}

struct Relay {
    place: Place,
    client: RelayClient,
}

/// Asks all relays; those that answered, with their answers. Fails with what the first one said if none did.
fn answers_of<'a>(relays: &'a [Relay], guess: &Guess) -> Result<(Vec<&'a Relay>, Vec<Answer>), Failure> {
    let question = guess.question();
    let (mut answered, mut answers, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for relay in relays {
        match relay.client.guess(&question) {
            Ok(answer) => {
                answered.push(relay);
                answers.push(answer);
            }
            Err(error) => refusals.push(refused(&relay.place, &error)),
        }
    }
    if answers.is_empty()
        && let Some(refusal) = refusals.into_iter().next()
    {
        return Err(refusal.into());
    }
    Ok((answered, answers))
}

fn wrong(answers: &[Answer]) -> Failure {
    let needed = answers.iter().map(Answer::needed).max().unwrap_or(1);
    if answers.len() < usize::from(needed) {
        return Failure::new(
            format_args!("{} answered, and {needed} are needed", counted(answers.len() as u64, "relay")),
            "name all relays of the circle with --mailbox, and see that they run; this guess was counted",
        );
    }
    match answers.iter().map(|answer| answer.left).min() {
        Some(0) | None => Failure::new(
            "the PIN is wrong, and that was the last guess: what was in escrow is destroyed",
            "use the recovery key on paper, or a device of the circle",
        ),
        Some(left) => Failure::new(
            format_args!("the PIN is wrong; guesses left: {left}"),
            "try again in a while, and after the last one nothing brings it back",
        ),
    }
}

/// Tells the relays that the guess was right. Where that fails, the count goes on from where it is.
fn prove(answered: &[&Relay], answers: &[Answer], found: &Opened) {
    for ((relay, answer), proof) in answered.iter().zip(answers).zip(&found.proofs) {
        if answer.left == 0 {
            log::warn!("that was the last guess: set the PIN anew with `doppelkey sync recovery pin set`");
            continue;
        }
        if let Err(error) = relay.client.prove(proof) {
            log::warn!("{}: {error}; it goes on counting", relay.place);
        }
    }
}

/// Say how many guesses are left
#[derive(Args)]
pub(in crate::cli::sync) struct Status {
    #[command(flatten)]
    vault: ExistingVault,
    /// Print one line of JSON a relay
    #[arg(long)]
    json: bool,
}

impl Status {
    fn run(self) -> Result<(), Failure> {
        let relays = Circle::of(&self.vault)?.ask(&Request::Escrow)?;
        let relays = relays.as_array().map_or(&[][..], Vec::as_slice);
        for relay in relays {
            if self.json {
                print(&format!("{relay}\n"));
            } else {
                print(&format!("{}\n", stands(relay)));
            }
        }
        if relays.is_empty() {
            log::info!("the circle has no relay, and so no recovery PIN");
        }
        Ok(())
    }
}

fn stands(relay: &Value) -> String {
    let text = |what: &str| relay[what].as_str().unwrap_or_default();
    if !relay["error"].is_null() {
        return text("error").to_owned();
    }
    match (relay["left"].as_u64(), relay["wait_s"].as_u64()) {
        (Some(0), _) => format!("{}: {}", text("relay"), EscrowError::Destroyed),
        (_, Some(0)) => format!("{}: {} of {} guesses left", text("relay"), relay["left"], relay["allowed"]),
        (_, wait_s) => format!(
            "{}: {} of {} guesses left, the next one in {} s",
            text("relay"),
            relay["left"],
            relay["allowed"],
            wait_s.unwrap_or(0)
        ),
    }
}

/// Destroy what is in escrow: the PIN opens nothing any more
#[derive(Args)]
pub(in crate::cli::sync) struct End {
    #[command(flatten)]
    vault: ExistingVault,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl End {
    fn run(self) -> Result<(), Failure> {
        let mut circle = Circle::of(&self.vault)?;
        confirm("Destroy what the recovery PIN opens?", self.yes)?;
        circle.ask(&Request::EndEscrow)?;
        log::info!("the recovery PIN opens nothing any more");
        Ok(())
    }
}

const VARIABLE: &str = "DOPPELKEY_RECOVERY_PIN";

fn new_pin() -> Result<Zeroizing<String>, Failure> {
    let pin = ask("New recovery PIN: ")?;
    if let Some(why) = weakness(&pin) {
        return Err(Failure::new(why, "choose six or more characters that nobody guesses first"));
    }
    if std::env::var_os(VARIABLE).is_some() || *pin == *ask("The same again: ")? {
        return Ok(pin);
    }
    Err(Failure::new("the two PINs differ", "try again; nothing was changed"))
}

/// Why a PIN would be among the first that anybody tries.
fn weakness(pin: &str) -> Option<&'static str> {
    let characters: Vec<u32> = pin.chars().map(u32::from).collect();
    let steps = |step: i64| characters.windows(2).all(|pair| i64::from(pair[1]) - i64::from(pair[0]) == step);
    match () {
        () if characters.len() < 6 => Some("a recovery PIN has six characters at least"),
        () if steps(0) || steps(1) || steps(-1) => Some("this recovery PIN is a row of characters"),
        () => None,
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if let Ok(pin) = std::env::var(VARIABLE) {
        return Ok(Zeroizing::new(pin));
    }
    let hint = format!("run in a terminal, or set {VARIABLE}");
    let asked = rpassword::prompt_password(prompt).map(Zeroizing::new);
    asked.map_err(|error| Failure::new(format_args!("the PIN cannot be asked for: {error}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_tries_first_is_refused() {
        for weak in ["", "12345", "000000", "123456", "987654", "abcdef"] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        for fair in ["271828", "135790", "correct horse"] {
            assert!(weakness(fair).is_none(), "{fair}");
        }
    }
}
