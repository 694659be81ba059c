//! What came of a run.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

/// An invariant that did not hold: its number in `README.md`, and how it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `I3`, say.
    pub invariant: &'static str,
    /// How it showed.
    pub what: String,
}

macro_rules! outcome {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// The counts of a run, or their sum over runs.
        #[derive(Clone, Debug, Default)]
        pub struct Outcome {
            $($(#[$doc])* pub $field: u64,)*
            /// How long each new passkey took to each other device that was up, in milliseconds.
            pub convergence_ms: Vec<u64>,
            /// How long it took until a backup was claimed, in milliseconds.
            pub claim_ms: Vec<u64>,
            /// How long an attack went on until some device told of it, in milliseconds; only of runs in which one did.
            pub detection_ms: Vec<u64>,
            /// How often the server saw an entry of which size.
            pub sizes: BTreeMap<usize, u64>,
            /// What must not be.
            pub violations: Vec<Violation>,
        }

        impl Outcome {
            /// The names of the counts.
            pub const COUNTS: &'static [&'static str] = &[$(stringify!($field)),*];

            /// The counts, in the order of their names.
            pub fn counts(&self) -> Vec<u64> {
                std::vec![$(self.$field),*]
            }

            /// Adds another run's.
            pub fn add(&mut self, other: &Outcome) {
                $(self.$field += other.$field;)*
                self.convergence_ms.extend(&other.convergence_ms);
                self.claim_ms.extend(&other.claim_ms);
                self.detection_ms.extend(&other.detection_ms);
                for (size, count) in &other.sizes {
                    *self.sizes.entry(*size).or_default() += count;
                }
                self.violations.extend(other.violations.iter().cloned());
            }
        }
    };
}

outcome!(
    /// What was taken out of the queue of virtual time.
    events,
    /// Days times devices.
    device_days,
    /// Passkeys made.
    created,
    /// Changes that a device refused because it was off the net.
    blocked,
    /// Sign-ins that were tried.
    signins,
    /// That succeeded.
    signed_in,
    /// That failed because the passkey had not come to the device yet.
    not_yet,
    /// That failed because the device was off the net.
    offline,
    /// That failed although the device had a passkey for the account, or should have had one.
    lockouts,
    /// Of these, such as were told before: the passkey had only been on devices that are lost, and never claimed to be
    /// backed up.
    announced,
    /// Accounts that no live device can sign in to.
    lost,
    /// Of these, accounts whose passkey had been claimed to be backed up.
    lost_with_bs,
    /// Deleted passkeys that a device offers at the end.
    resurrected,
    /// Of these, deletes that a device had said to nobody who could pass it on when it was lost or shut out.
    unheard,
    /// Devices that differ from the first live one at the end.
    diverged,
    /// Backup claims that were not true when they were made.
    lies,
    /// Backup claims that counted a device which was lost already, and nobody had said so.
    unaware,
    /// Passkeys made after a revocation that the revoked device could read.
    exposed,
    /// Of these, passkeys made on a device that knew of the revocation.
    exposed_aware,
    /// Runs with an attack.
    attacks,
    /// Runs with an attack that some device told of.
    seen,
    /// Recovery PINs that somebody guessed.
    pins_guessed,
    /// Escrows that somebody's guesses destroyed.
    escrows_destroyed,
    /// Runs with an alarm and no reason for one.
    false_alarms,
    /// Crashes in the middle of something.
    crashes,
    /// Bytes sent.
    bytes,
);

impl Outcome {
    /// The count of this name, if there is one.
    pub fn count(&self, name: &str) -> Option<u64> {
        let index = Outcome::COUNTS.iter().position(|known| *known == name)?;
        self.counts().get(index).copied()
    }

    /// The counts alone: sums of many runs stay small.
    pub(crate) fn without_lists(self) -> Self {
        Outcome {
            convergence_ms: Vec::new(),
            claim_ms: Vec::new(),
            detection_ms: Vec::new(),
            sizes: BTreeMap::new(),
            violations: Vec::new(),
            ..self
        }
    }

    /// The entropy of an entry's size in bits: nobody learns more than that from the size of one entry, about anything.
    /// `None` if no sizes were seen.
    pub fn size_bits(&self) -> Option<f64> {
        let all: u64 = self.sizes.values().sum();
        let part = |count: &u64| *count as f64 / all as f64;
        (all > 0).then(|| self.sizes.values().map(|count| -part(count) * part(count).log2()).sum())
    }

    /// The value below which this part of the convergence times lies; `None` if there are none.
    pub fn convergence(&self, part: f64) -> Option<u64> {
        quantile(&self.convergence_ms, part)
    }
}

/// The value below which this part of the values lies.
pub(crate) fn quantile(values: &[u64], part: f64) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied()
}
