//! X.509 certificates (RFC 5280) of P-256 keys, as attestation formats want them.

use doppelkey_core::PrivateKey;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use sha2::{Digest as _, Sha256};

use super::der::{bits, explicit, integer, octets, oid, printable, sequence, set, tagged, time, utf8, yes};

/// A certificate to be signed.
pub(super) struct Certificate<'a> {
    /// Whom it is for.
    pub(super) subject: Name,
    /// Whose public key: an uncompressed point of P-256.
    pub(super) public_key: &'a [u8],
    /// Until when it is valid, as `YYYYMMDDHHMMSSZ`.
    pub(super) until: &'a str,
    /// Whether it may sign others.
    pub(super) is_ca: bool,
    /// Its own extensions.
    pub(super) extensions: Vec<Vec<u8>>,
}

/// A distinguished name, in DER.
#[derive(Clone)]
pub(super) struct Name(pub(super) Vec<u8>);

impl Name {
    /// A name without parts.
    pub(super) fn empty() -> Self {
        Name(sequence(&[]))
    }

    /// The subject that `packed` asks for (WebAuthn §8.2.1).
    pub(super) fn attestation(common_name: &str, serial_number: Option<&str>) -> Self {
        let part = |identifier: &str, value: Vec<u8>| set(&sequence(&[&oid(identifier), &value]));
        let mut parts = vec![
            part("2.5.4.6", printable("ZZ")),
            part("2.5.4.10", utf8("Doppelkey test persona")),
            part("2.5.4.11", utf8("Authenticator Attestation")),
            part("2.5.4.3", utf8(common_name)),
        ];
        if let Some(number) = serial_number {
            parts.push(part("2.5.4.5", printable(number)));
        }
        Name(sequence(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }
}

impl Certificate<'_> {
    /// The certificate, signed by this key of this issuer. The same in, the same out.
    pub(super) fn signed(&self, issuer: &Name, key: &PrivateKey) -> Vec<u8> {
        let ecdsa_with_sha256 = sequence(&[&oid("1.2.840.10045.4.3.2")]);
        let spki = sequence(&[
            &sequence(&[&oid("1.2.840.10045.2.1"), &oid("1.2.840.10045.3.1.7")]),
            &bits(self.public_key),
        ]);
        let validity = sequence(&[&time("20240101000000Z"), &time(self.until)]);
        let extensions = self.all_extensions();
        let extensions = explicit(3, &sequence(&extensions.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        let version_3 = explicit(0, &integer(&[2]));
        let serial = {
            let mut digest = Sha256::new();
            for part in [&self.subject.0, self.public_key, self.until.as_bytes(), &extensions] {
                digest.update(part);
            }
            let mut serial: [u8; 16] = digest.finalize()[..16].try_into().expect("a digest has 32 bytes");
            serial[0] = serial[0] & 0x7F | 0x40;
            integer(&serial)
        };
        let to_be_signed = sequence(&[
            &version_3,
            &serial,
            &ecdsa_with_sha256,
            &issuer.0,
            &validity,
            &self.subject.0,
            &spki,
            &extensions,
        ]);
        let signature = key.sign(&to_be_signed).expect("a P-256 key signs");
        sequence(&[&to_be_signed, &ecdsa_with_sha256, &bits(&signature)])
    }

    fn all_extensions(&self) -> Vec<Vec<u8>> {
        let constraints = if self.is_ca { sequence(&[&yes()]) } else { sequence(&[]) };
        let mut all = vec![extension("2.5.29.19", true, &constraints)];
        if self.is_ca {
            // keyCertSign and cRLSign.
            all.push(extension("2.5.29.15", true, &tagged(0x03, &[1, 0x06])));
        }
        all.extend(self.extensions.iter().cloned());
        all
    }
}

/// An extension of this identifier and value.
pub(super) fn extension(identifier: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { yes() } else { Vec::new() };
    sequence(&[&oid(identifier), &critical, &octets(value)])
}

/// The extension that binds a certificate to a model: id-fido-gen-ce-aaguid.
pub(super) fn aaguid_extension(aaguid: &[u8; 16]) -> Vec<u8> {
    extension("1.3.6.1.4.1.45724.1.1.4", false, &octets(aaguid))
}

/// The public point of a P-256 key, uncompressed; `None` for other keys.
pub(super) fn public_point(key: &PrivateKey) -> Option<[u8; 65]> {
    if key.algorithm() != doppelkey_core::Algorithm::Es256 {
        return None;
    }
    let public = p256::SecretKey::from_slice(key.as_bytes()).ok()?.public_key();
    public.to_sec1_point(false).as_bytes().try_into().ok()
}
