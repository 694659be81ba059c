//! One device of the group: openmls's state, what it has, and what it wants.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;
use std::{format, vec};

use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

use super::{InFlight, SUITE, Wanted};
use crate::simulator::engine::{Account, Credential as Passkey};
use crate::simulator::scenario::DAY;

/// What a passkey takes in an application message, as in the product.
const CORE: usize = 170;

/// A change, as it travels inside an application message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create { passkey: Passkey, account: Account, at_ms: u64 },
    Rename { passkey: Passkey, value: u8, at_ms: u64 },
    Delete { passkey: Passkey },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) account: Account,
    pub(super) created_ms: u64,
    pub(super) named_ms: u64,
    pub(super) value: u8,
}

pub(super) struct Device {
    pub(super) provider: OpenMlsRustCrypto,
    pub(super) signer: SignatureKeyPair,
    pub(super) group: Option<MlsGroup>,
    pub(super) rows: BTreeMap<Passkey, Row>,
    pub(super) deleted: BTreeSet<Passkey>,
    pub(super) waiting: Vec<Change>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) listed: usize,
    pub(super) tags: u64,
    pub(super) polled_ms: u64,
    pub(super) renewed_ms: u64,
    /// When it says something again after the server refused what it said.
    pub(super) hold_until_ms: u64,
}

impl Device {
    pub(super) fn new(number: usize) -> Self {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm()).expect("the system has randomness");
        Device {
            provider: OpenMlsRustCrypto::default(),
            signer,
            group: None,
            rows: BTreeMap::new(),
            deleted: BTreeSet::new(),
            waiting: Vec::new(),
            wanted: Vec::new(),
            in_flight: None,
            listed: 0,
            tags: 0,
            polled_ms: 0,
            hold_until_ms: 0,
            // Not all in the same minute.
            renewed_ms: number as u64 * DAY,
        }
    }

    pub(super) fn credential(&self, number: usize) -> CredentialWithKey {
        let name = BasicCredential::new(format!("device {number}").into_bytes());
        CredentialWithKey { credential: name.into(), signature_key: self.signer.to_public_vec().into() }
    }

    pub(super) fn key_package(&self, number: usize) -> KeyPackage {
        let builder = KeyPackage::builder();
        let made = builder.build(SUITE, &self.provider, &self.signer, self.credential(number));
        made.expect("the suite and the storage are there").key_package().clone()
    }

    pub(super) fn join(&mut self, welcome: &[u8]) -> Option<()> {
        let message = MlsMessageIn::tls_deserialize_exact(welcome).ok()?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else { return None };
        let staged = StagedWelcome::new_from_welcome(&self.provider, &join_config(), welcome, None).ok()?;
        self.group = Some(staged.into_group(&self.provider).ok()?);
        Some(())
    }

    pub(super) fn is_member(&self) -> bool {
        self.group.as_ref().is_some_and(MlsGroup::is_active)
    }

    /// Whether a passkey is new here.
    pub(super) fn apply(&mut self, change: Change) -> Option<Passkey> {
        match change {
            Change::Create { passkey, account, at_ms } => {
                if self.deleted.contains(&passkey) || self.rows.contains_key(&passkey) {
                    return None;
                }
                self.rows.insert(passkey, Row { account, created_ms: at_ms, named_ms: at_ms, value: 0 });
                Some(passkey)
            }
            Change::Rename { passkey, value, at_ms } => {
                let row = self.rows.get_mut(&passkey)?;
                if (at_ms, value) > (row.named_ms, row.value) {
                    (row.named_ms, row.value) = (at_ms, value);
                }
                None
            }
            Change::Delete { passkey } => {
                self.rows.remove(&passkey);
                self.deleted.insert(passkey);
                None
            }
        }
    }

    /// Everything here, as changes.
    pub(super) fn snapshot(&self) -> Vec<Change> {
        let rows = self.rows.iter().flat_map(|(passkey, row)| {
            let (passkey, account) = (*passkey, row.account);
            [
                Change::Create { passkey, account, at_ms: row.created_ms },
                Change::Rename { passkey, value: row.value, at_ms: row.named_ms },
            ]
        });
        rows.chain(self.deleted.iter().map(|passkey| Change::Delete { passkey: *passkey })).collect()
    }
}

fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder().max_past_epochs(5).use_ratchet_tree_extension(true).build()
}

/// Changes as bytes: kind, passkey, account, time, value; a created passkey takes what the product's takes.
pub(super) fn encode(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        let (kind, passkey, account, at_ms, value) = match *change {
            Change::Create { passkey, account, at_ms } => (0, passkey, account, at_ms, 0),
            Change::Rename { passkey, value, at_ms } => (1, passkey, 0, at_ms, value),
            Change::Delete { passkey } => (2, passkey, 0, 0, 0),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&passkey.to_be_bytes());
        bytes.extend_from_slice(&account.to_be_bytes());
        bytes.extend_from_slice(&at_ms.to_be_bytes());
        bytes.push(value);
        bytes.extend(vec![7; if kind == 0 { CORE } else { 0 }]);
    }
    bytes
}

pub(super) fn decode(mut bytes: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<18>() {
        let number =
            |from: usize| u32::from_be_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let (passkey, account) = (number(1), number(5));
        let at_ms = u64::from(number(9)) << 32 | u64::from(number(13));
        bytes = rest;
        changes.push(match head[0] {
            0 => {
                bytes = rest.get(CORE..).unwrap_or_default();
                Change::Create { passkey, account, at_ms }
            }
            1 => Change::Rename { passkey, value: head[17], at_ms },
            _ => Change::Delete { passkey },
        });
    }
    changes
}
