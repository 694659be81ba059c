//! Scenario files: what happens to whom, and what must not follow from it.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString as _};
use std::vec::Vec;

use serde::Deserialize;

use super::outcome::Outcome;

/// Milliseconds of an hour and of a day.
pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const DAY: u64 = 24 * HOUR;

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: String,
    /// What it is about, in a sentence.
    #[serde(default)]
    pub about: String,
    /// How many days are simulated.
    pub days: u32,
    /// How many seeds are run, from 0 on.
    pub seeds: u32,
    /// Which fabrics are compared.
    #[serde(default = "all_fabrics")]
    pub fabrics: Vec<String>,
    /// `ideal` (default) runs checksums in place of cryptography; `p256` runs the product's suite.
    #[serde(default)]
    pub suite: SuiteName,
    /// After how many entries a snapshot takes their place; the product's number unless it is said.
    #[serde(default = "compact_after")]
    pub compact_after: usize,
    /// Whether entries are padded, as the product's are. Without, the server is shown the sizes (and devices send the
    /// bytes) that they would have; on the `ideal` suite only.
    #[serde(default = "yes")]
    pub padding: bool,
    /// Whether there is a confirmed recovery key.
    #[serde(default)]
    pub recovery: bool,
    /// The shares that the recovery key is cut into, if it is not in one piece.
    #[serde(default)]
    pub shares: Option<Shares>,
    /// A recovery PIN, if there is one; then the recovery key is in escrow and nowhere else.
    #[serde(default)]
    pub pin: Option<Pin>,
    /// The devices, by name.
    pub devices: BTreeMap<String, Device>,
    /// How messages travel.
    #[serde(default)]
    pub link: Link,
    /// What the user does, per day.
    #[serde(default)]
    pub load: Load,
    /// What happens once.
    #[serde(default, rename = "event")]
    pub events: Vec<Event>,
    /// What the `oplog` fabric must hold, in each run.
    #[serde(default)]
    pub expect: Expect,
    /// What may happen, but not often: how much of a count there may be a run, in the mean over all runs, by the name that
    /// the count has in CSV and JSON.
    #[serde(default)]
    pub rates: BTreeMap<String, f64>,
    /// The same scenario again and again, with other values of one parameter.
    #[serde(default)]
    pub sweep: Option<Sweep>,
    /// The value this variant of a sweep has.
    #[serde(skip)]
    pub swept: Option<f64>,
}

/// One parameter of a scenario takes several values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Which one.
    pub of: Parameter,
    /// Its values, ascending.
    pub values: Vec<f64>,
}

/// What a sweep can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parameter {
    /// `link.contacts`: how often devices meet, per day.
    Contacts,
    /// `link.loss`: the part of the messages that is lost.
    Loss,
    /// `link.rtt_ms`: there and back.
    RttMs,
    /// `link.crash`: the chance of a crash at each effect.
    Crash,
    /// `up` of every device: the part of the time it is on.
    Up,
    /// `padding`: 0 without, 1 with.
    Padding,
}

impl Parameter {
    /// What it is called in scenario files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Parameter::Contacts => "contacts",
            Parameter::Loss => "loss",
            Parameter::RttMs => "rtt_ms",
            Parameter::Crash => "crash",
            Parameter::Up => "up",
            Parameter::Padding => "padding",
        }
    }
}

fn yes() -> bool {
    true
}

fn compact_after() -> usize {
    crate::COMPACT_AFTER
}

fn all_fabrics() -> Vec<String> {
    super::FABRICS.iter().map(|name| name.to_string()).collect()
}

/// Which suite the replicas use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuiteName {
    /// Checksums: fast, and enough for everything but figures about cryptography.
    #[default]
    Ideal,
    /// The product's.
    P256,
}

/// One device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The part of the time it is switched on and connected.
    pub up: f64,
    /// How far its clock is off, in seconds.
    #[serde(default)]
    pub skew_s: i64,
}

/// A recovery key in shares.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// How many of them give the key back, 2 or more.
    pub needed: u8,
    /// Of how many.
    pub of: u8,
    /// How many are lost by the day on which they are needed; chance says which.
    #[serde(default)]
    pub lost: u8,
}

/// A recovery PIN, and what keeps it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pin {
    /// How many digits it has, 1 to 12.
    pub digits: u8,
    /// How many wrong guesses in a row destroy the escrow.
    pub guesses: u8,
    /// At how many relays it is.
    pub relays: u8,
    /// How many of them a guess takes.
    pub needed: u8,
    /// How long the second guess has to wait; the third twice as long, and so on.
    pub wait_s: u64,
}

impl Default for Pin {
    fn default() -> Self {
        Pin { digits: 6, guesses: 10, relays: 1, needed: 1, wait_s: 30 }
    }
}

/// How messages travel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// There and back, in milliseconds; each way varies by ± 25 %.
    pub rtt_ms: u64,
    /// The part of the messages that is lost.
    pub loss: f64,
    /// The part of the messages that arrives twice.
    pub duplicates: f64,
    /// Whether devices that are up also meet directly.
    pub lan: bool,
    /// How often two devices that are up meet, per day.
    pub contacts: f64,
    /// The chance of a crash at each effect (a write, a message) of a device.
    pub crash: f64,
}

impl Default for Link {
    fn default() -> Self {
        Link { rtt_ms: 80, loss: 0.0, duplicates: 0.0, lan: true, contacts: 24.0, crash: 0.0 }
    }
}

/// What the user does, in times per day, over all devices.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// A passkey for a new account.
    pub create: f64,
    /// A new passkey for an account that has one.
    pub overwrite: f64,
    /// The same account gets a passkey on two devices within a minute.
    pub race: f64,
    /// A name is changed.
    pub rename: f64,
    /// A passkey is deleted, here and at the relying party.
    pub delete: f64,
    /// A sign-in.
    pub signin: f64,
    /// The part of the registrations of which the relying party never hears.
    pub lost_registration: f64,
    /// Whether the user acts on devices that are off the net, too.
    pub offline: bool,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            create: 2.0,
            overwrite: 0.3,
            race: 0.0,
            rename: 0.2,
            delete: 0.15,
            signin: 10.0,
            lost_registration: 0.01,
            offline: true,
        }
    }
}

/// Something that happens once: exactly one of the named things.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Event {
    /// When: `45d`, `12h`, `30m`, `10s`.
    pub at: String,
    /// This device is stolen: it goes on, in the thief's hands.
    pub theft: Option<String>,
    /// When the theft is noticed; then `by` revokes.
    pub noticed_after: Option<String>,
    /// Who acts.
    pub by: Option<String>,
    /// What the relay does from now on: `colludes`, `rolls-back`, `forks`, `withholds`, `resurrects`, `tampers`.
    pub relay: Option<String>,
    /// Somebody who knows the circle's id guesses at the recovery PIN, so many times.
    pub pin_guesses: Option<u64>,
    /// Whether that somebody can write the relays' databases, and sets the counts back each time.
    pub sets_back: bool,
    /// This device is destroyed.
    pub destroy: Option<String>,
    /// All devices are destroyed and a new one is set up with the recovery key.
    pub burn: bool,
    /// This device goes back to what its disk held `back` ago.
    pub restore: Option<String>,
    /// How far back.
    pub back: Option<String>,
    /// These two revoke each other at the same moment.
    pub duel: Option<[String; 2]>,
    /// A new device with this name joins; `by` admits it.
    pub join: Option<String>,
}

/// What must hold for the `oplog` fabric; numbers are the most allowed, over all seeds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Live devices that differ after a quiet day.
    pub diverged: u64,
    /// Deleted passkeys that are offered again, but for those of which nobody who is left could know.
    pub resurrected: u64,
    /// Accounts that are lost although a device had claimed them backed up.
    pub lost_with_bs: u64,
    /// Backup claims that were not true.
    pub lies: u64,
    /// Sign-ins that failed on every device, but for those that BS = 0 had announced.
    pub lockouts: u64,
    /// Alarms without an attack.
    pub false_alarms: u64,
    /// Runs with an attack of which no device told.
    pub unseen: u64,
    /// Recovery PINs that somebody guessed.
    pub pins_guessed: u64,
    /// Passkeys that a device made which knew of a revocation, and that the revoked one can read.
    pub exposed_aware: u64,
}

impl Scenario {
    /// Days times devices of one seed.
    pub fn device_days(&self) -> u64 {
        u64::from(self.days) * self.devices.len() as u64
    }

    /// The scenario for each value of its sweep; itself alone if it has none.
    pub fn variants(self) -> Vec<Scenario> {
        let Some(Sweep { of, values }) = self.sweep.clone() else { return std::vec![self] };
        let variant = |value: f64| {
            let mut variant = Scenario { swept: Some(value), ..self.clone() };
            match of {
                Parameter::Contacts => variant.link.contacts = value,
                Parameter::Loss => variant.link.loss = value,
                Parameter::RttMs => variant.link.rtt_ms = value as u64,
                Parameter::Crash => variant.link.crash = value,
                Parameter::Up => variant.devices.values_mut().for_each(|device| device.up = value),
                Parameter::Padding => variant.padding = value != 0.0,
            }
            variant
        };
        values.into_iter().map(variant).collect()
    }

    /// What a report calls it: its name, and the value if it is one of a sweep.
    pub fn title(&self) -> String {
        match (&self.sweep, self.swept) {
            (Some(sweep), Some(value)) => format!("{}/{}={value}", self.name, sweep.of.name()),
            _ => self.name.clone(),
        }
    }

    /// Reads a scenario; the error says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
        for fabric in &scenario.fabrics {
            super::fabric_exists(fabric)?;
        }
        if let Some(name) = scenario.rates.keys().find(|name| !Outcome::COUNTS.contains(&name.as_str())) {
            return Err(format!("nothing is counted as {name:?}; there are {}", Outcome::COUNTS.join(", ")));
        }
        if scenario.devices.is_empty() || scenario.devices.len() > 16 {
            return Err("a circle has 1 to 16 devices".to_string());
        }
        if scenario.days == 0 || scenario.days > 10_000 || scenario.seeds == 0 {
            return Err("a scenario has 1 to 10,000 days and at least one seed".to_string());
        }
        if let Some(pin) = &scenario.pin {
            let counts = (1..=crate::escrow::GUESSES_MAX).contains(&pin.guesses);
            let shares = (1..=pin.relays).contains(&pin.needed) && pin.relays <= crate::escrow::RELAYS_MAX;
            if !counts || !shares || !(1..=12).contains(&pin.digits) || pin.wait_s > 86_400 {
                return Err(
                    "a PIN has 1 to 12 digits, 1 to 16 guesses, and a wait of a day at most; some of up to \
                            8 relays are needed"
                        .to_string(),
                );
            }
        }
        if let Some(Shares { needed, of, lost }) = scenario.shares
            && (needed < 2 || needed > of || lost > of || !scenario.recovery || scenario.pin.is_some())
        {
            return Err(
                "shares are of a recovery key (recovery = true, and no [pin]); 2 or more of them are needed"
                    .to_string(),
            );
        }
        let unpadded =
            !scenario.padding || scenario.sweep.as_ref().is_some_and(|sweep| sweep.of == Parameter::Padding);
        if unpadded && scenario.suite != SuiteName::Ideal {
            return Err("padding can be left out with suite = \"ideal\" only".to_string());
        }
        if scenario.sweep.as_ref().is_some_and(|sweep| !sweep.values.is_sorted() || sweep.values.is_empty()) {
            return Err("a sweep has values, in ascending order".to_string());
        }
        for event in &scenario.events {
            scenario.check(event)?;
        }
        Ok(scenario)
    }

    fn check(&self, event: &Event) -> Result<(), String> {
        duration_ms(&event.at)?;
        for text in [&event.noticed_after, &event.back].into_iter().flatten() {
            duration_ms(text)?;
        }
        let duel = event.duel.iter().flatten();
        let named =
            [&event.theft, &event.by, &event.destroy, &event.restore].into_iter().flatten().chain(duel);
        let known = |name: &String| {
            self.devices.contains_key(name)
                || self.events.iter().any(|event| event.join.as_ref() == Some(name))
        };
        if let Some(name) = named.into_iter().find(|name| !known(name)) {
            return Err(format!("event at {}: there is no device {name:?}", event.at));
        }
        if event.pin_guesses.is_some() && self.pin.is_none() {
            return Err(format!("event at {}: there is no [pin] to guess at", event.at));
        }
        if let Some(relay) = &event.relay
            && !["colludes", "rolls-back", "forks", "withholds", "resurrects", "tampers"]
                .contains(&relay.as_str())
        {
            return Err(format!("event at {}: a relay does not do {relay:?}", event.at));
        }
        Ok(())
    }
}

/// Reads `45d`, `12h`, `30m` or `10s`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a time like \"45d\", \"12h\", \"30m\" or \"10s\"");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "d" => DAY,
        "h" => HOUR,
        "m" => 60_000,
        "s" => 1000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}
