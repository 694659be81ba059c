//! A vault with very many credentials.

use std::time::{Duration, Instant};

use doppelkey::client::{Client, system_clock, without_sensor};
use doppelkey::device::{Device, SharedStore};
use doppelkey::user_interface::Auto;
use doppelkey::vault::exchange::rp_id_hash;
use doppelkey::vault::{Custody, Vault};
use doppelkey_core::testing::SeededRng;
use doppelkey_core::{Algorithm, Authenticator, Credential, CredentialStore as _, PrivateKey};
use serde_json::json;

use super::Trace;

/// What a vault of so many credentials costs.
#[derive(Debug)]
pub struct Figures {
    /// To put one, on average: it is durable then.
    pub put: Duration,
    /// To open the vault.
    pub open: Duration,
    /// To sign in with one credential of them all, on average.
    pub sign_in: Duration,
    /// The file, in bytes.
    pub file_bytes: u64,
    /// What this process held while it was filled: an entry of the index for each.
    pub filling: Trace,
    /// What it held while it signed in with one credential after the other.
    pub signing_in: Trace,
}

/// Fills a vault with so many credentials, each of its own relying party, opens it again and signs in.
///
/// # Panics
/// If a credential is missing, or the sign-in fails.
#[expect(clippy::disallowed_methods, reason = "it measures")]
pub fn credentials(count: u32) -> Figures {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (path, key) = (folder.path().join("vault"), folder.path().join("key"));
    let mut vault = Vault::open(&path, Some(Custody::File(key.clone()))).expect("it is made");
    let started = Instant::now();
    let mut filling = Trace::new(format!("{count} credentials put into a vault"));
    for number in 0..count {
        if number % count.div_ceil(100) == 0 {
            filling.sample(u64::from(number));
        }
        vault.put(&credential(number), None).expect("there is room");
    }
    let put = started.elapsed() / count.max(1);
    drop(vault);
    let started = Instant::now();
    let mut vault = Vault::open(&path, Some(Custody::File(key))).expect("it opens");
    let open = started.elapsed();
    assert_eq!(vault.len(), Ok(count), "every credential is there");
    for number in (0..count).step_by(997) {
        let found = vault.get(&id(number)).expect("it reads");
        assert!(found.is_some_and(|found| found.rp_id == rp_id(number).as_str()), "{number} is itself");
    }
    let mut signing_in = Trace::new(format!("sign-ins with a vault of {count} credentials"));
    let sign_in = sign_ins(vault, count, &mut signing_in);
    let file_bytes = std::fs::metadata(&path).expect("it is there").len();
    Figures { put, open, sign_in, file_bytes, filling, signing_in }
}

/// A few thousand, all over the vault; how long one takes on average.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn sign_ins(vault: Vault, count: u32, trace: &mut Trace) -> Duration {
    let clock = system_clock();
    let store = SharedStore::new(vault);
    let device = Device::new(clock.clone(), Box::new(Auto), move || {
        Box::new(Authenticator::new(store.clone(), SeededRng::new(1), without_sensor()))
    });
    let mut client = Client::new(device.connect(), clock, SeededRng::new(2)).expect("it answers");
    let started = Instant::now();
    for number in 0..SIGN_INS {
        if number % (SIGN_INS / 100) == 0 {
            trace.sample(u64::from(number));
        }
        let rp_id = rp_id(number.wrapping_mul(7919) % count);
        let options = json!({"challenge": "AAAA", "rpId": rp_id});
        client.get(format!("https://{rp_id}").as_str(), &options).expect("the passkey is found");
    }
    started.elapsed() / SIGN_INS
}

const SIGN_INS: u32 = 1000;

fn rp_id(number: u32) -> String {
    format!("site-{number}.example.com")
}

fn id(number: u32) -> [u8; 16] {
    let mut id = [0x5A; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    id
}

fn credential(number: u32) -> Credential {
    let rp_id = rp_id(number);
    let key = PrivateKey::from_bytes(Algorithm::Es256, &[7; 32]).expect("a small scalar is a key");
    let mut credential = Credential::new(rp_id_hash(&rp_id), key);
    credential.id = id(number).as_slice().try_into().expect("it is short");
    credential.rp_id = rp_id.as_str().try_into().expect("it is short");
    credential.user.id = number.to_le_bytes().as_slice().try_into().expect("it is short");
    credential.user.name = "alice".try_into().ok();
    credential
}
