//! The verifier's parsers one at a time, for `tests/fuzz`: whether each takes these bytes. Feature `fuzzing`.
//!
//! What a whole verification reaches only behind a right challenge and origin, a fuzzer reaches here at once.

use super::attestation::{self, Subject};
use super::authenticator_data::AuthenticatorData;
use super::certificate::{self, Certificate};
use super::client_data::{self, ClientData};
use super::cose::CoseKey;
use super::registration::read_attestation_object;
use super::revocation::RevocationLists;
use super::signature::Hash;

/// Authenticator data (§6.1), and the key in it if there is one.
pub fn authenticator_data(bytes: &[u8]) -> bool {
    let data = AuthenticatorData::parse(bytes);
    if let Ok(AuthenticatorData { attested: Some(attested), .. }) = &data {
        let _ = CoseKey::from_value(&attested.key);
    }
    data.is_ok()
}

/// An attestation object (§6.5.4), and its statement by the procedure of its format.
///
/// Whether all of it is right, for client data that is empty.
pub fn attestation_object(bytes: &[u8]) -> bool {
    let Ok(object) = read_attestation_object(bytes) else { return false };
    let Ok((data, attested)) = object.authenticator_data() else { return false };
    let (Ok(key), Some(format)) =
        (CoseKey::from_value(&attested.key), attestation::Format::named(&object.format))
    else {
        return false;
    };
    let client_data_hash = Hash::Sha256.of(b"");
    let subject = Subject {
        auth_data: &object.auth_data,
        data: &data,
        attested: &attested,
        key: &key,
        client_data_hash: &client_data_hash,
    };
    attestation::verify(format, &object.statement, &subject).is_ok()
}

/// A credential public key; one that is taken also looks at a signature.
pub fn cose_key(bytes: &[u8]) -> bool {
    let key = CoseKey::from_bytes(bytes);
    if let Ok(key) = &key {
        assert!(!key.verify(b"message", &[0; 64]), "nobody signs with zeros");
    }
    key.is_ok()
}

/// A certificate, everything that is ever asked of one, and a chain in which it is every link.
pub fn certificate(der: &[u8]) -> bool {
    let Ok(read) = Certificate::read(der) else { return false };
    let _ = (read.key(), read.key_bits(), read.require_version_3(), read.require_no_ca());
    let _ = (read.subject_is_empty(), read.subject_text(), read.subject("2.5.4.6"));
    let _ = (read.alternative_directory_names(), read.has_purpose("2.23.133.8.3"));
    let _ = read.extension("1.3.6.1.4.1.45724.1.1.4");
    let chain = [der.to_vec(), der.to_vec()];
    let lists = RevocationLists::default();
    let _ = certificate::chains_to(&chain, &chain[..1], &lists, 1_750_000_000);
    let _ = certificate::chains_to(&chain, &[], &lists, 1_750_000_000);
    true
}

/// Client data: one JSON object, no member twice.
pub fn client_data(bytes: &[u8]) -> bool {
    client_data::decode(bytes).is_ok_and(|text| ClientData::parse(text).is_ok())
}
