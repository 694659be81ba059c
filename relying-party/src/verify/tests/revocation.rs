//! Lists of revoked certificates: whose count.

use super::super::certificate::Certificate;
use super::super::revocation::RevocationLists;
use super::attestation::certified;
use super::der;
use super::workshop::sign;

/// The list of the published root with the certificate number 1 in it.
pub(crate) fn list() -> Vec<u8> {
    let algorithm = der::sequence(&[der::oid("1.2.840.10045.4.3.2")]);
    let time = || der::tlv(&[0x17], b"260101000000Z");
    let signed = der::sequence(&[
        // version 2
        der::small(1),
        algorithm.clone(),
        certified::root_name(),
        time(),
        der::sequence(&[der::sequence(&[der::small(1), time()])]),
    ]);
    let signature = der::bits(&sign(&certified::ca_key(), &signed));
    der::sequence(&[signed, algorithm, signature])
}

fn issuer(extensions: &[Vec<u8>]) -> Certificate {
    let (name, key) = (certified::root_name(), certified::public_key(&certified::ca_key()));
    let der = certified::certificate(Some(2), &name, &certified::ca_key(), &name, &key, extensions);
    Certificate::read(&der).unwrap()
}

#[test]
fn a_list_counts_only_if_its_issuer_may_sign_lists() {
    let mut lists = RevocationLists::default();
    lists.add(&list()).unwrap();
    let ca = certified::basic_constraints(true);
    let revoked = issuer(std::slice::from_ref(&ca));
    for (usage, counts) in [(0x02, true), (0x06, true), (0x04, false), (0x80, false)] {
        let issuer = issuer(&[ca.clone(), certified::key_usage(usage)]);
        assert_eq!(lists.revoke(&revoked, &issuer), counts, "key usage {usage:#04x}");
    }
    assert!(lists.revoke(&revoked, &issuer(&[ca])), "where the usage is not told, it may");
}
