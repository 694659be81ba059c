//! Statements with certificates, issued by the attestation CA whose key the W3C vectors publish.

use super::*;

/// A statement of any format with `x5c`, in the making.
pub(crate) struct Certified {
    format: &'static str,
    pub(crate) alg: Option<i64>,
    /// The bytes that are signed, from authenticator data and hash.
    pub(crate) message: fn(&[u8], &[u8]) -> Vec<u8>,
    pub(crate) signer: SigningKey,
    /// Version minus one; absent for version 1.
    pub(crate) version: Option<u8>,
    pub(crate) subject: Vec<(&'static str, Vec<u8>)>,
    pub(crate) extensions: Vec<Vec<u8>>,
    certificate_key: SigningKey,
    /// Instead of the key above: a whole SubjectPublicKeyInfo.
    pub(crate) public_key: Option<Vec<u8>>,
    pub(crate) issuer: SigningKey,
    issuer_name: Option<Vec<u8>>,
    /// `x5c`, from the attestation certificate.
    pub(crate) chain: fn(&[u8]) -> Cbor,
    pub(crate) tpm: Tpm,
    pub(crate) android: Android,
    pub(crate) apple: Apple,
}

pub(crate) struct Tpm {
    pub(crate) ver: &'static str,
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) extra_data: fn(&[u8]) -> Vec<u8>,
    pub(crate) name: fn(&[u8]) -> Vec<u8>,
    pub(crate) tail: Vec<u8>,
    pub(crate) key: SigningKey,
    pub(crate) curve: u16,
    pub(crate) symmetric: u16,
    pub(crate) area_tail: Vec<u8>,
}

pub(crate) struct Android {
    pub(crate) challenge: fn(&[u8]) -> Vec<u8>,
    pub(crate) members: Vec<Vec<u8>>,
    /// Put the members in the software list.
    pub(crate) swap: bool,
    pub(crate) absent: bool,
}

pub(crate) struct Apple {
    pub(crate) nonce: fn(&[u8]) -> Vec<u8>,
    pub(crate) absent: bool,
}

impl Certified {
    fn new(format: &'static str, change: impl FnOnce(&mut Self)) -> Self {
        // the attestation key of the vector packed.ES256
        let key = key("ec2804b222552b4b277d1f58f8c4343c0b0b0db5474eb55365c89d66a2bc96be");
        let mut certified = Self {
            format,
            alg: Some(-7),
            message: |data, hash| [data, hash].concat(),
            signer: key.clone(),
            version: Some(2),
            subject: vec![
                ("2.5.4.6", der::printable("AA")),
                ("2.5.4.10", der::utf8("Doppelkey")),
                ("2.5.4.11", der::utf8("Authenticator Attestation")),
                ("2.5.4.3", der::utf8("Doppelkey test vectors")),
            ],
            extensions: vec![basic_constraints(false)],
            certificate_key: key,
            public_key: None,
            issuer: ca_key(),
            issuer_name: None,
            chain: |leaf| Cbor::Array(vec![leaf.to_vec().into()]),
            tpm: Tpm {
                ver: "2.0",
                magic: 0xff54_4347,
                kind: 0x8017,
                extra_data: sha256,
                name: |area| [&[0x00, 0x0b][..], &sha256(area)].concat(),
                tail: vec![],
                key: credential_key(),
                curve: 3,
                symmetric: 0x0010,
                area_tail: vec![],
            },
            android: Android {
                challenge: <[u8]>::to_vec,
                members: vec![
                    der::explicit(1, &der::set(&[der::small(2)])),
                    der::explicit(702, &der::small(0)),
                ],
                swap: false,
                absent: false,
            },
            apple: Apple { nonce: sha256, absent: false },
        };
        change(&mut certified);
        certified
    }

    pub(crate) fn packed(change: impl FnOnce(&mut Self)) -> Self {
        Self::new("packed", change)
    }

    pub(crate) fn fido_u2f(change: impl FnOnce(&mut Self)) -> Self {
        Self::new("fido-u2f", |it| {
            it.alg = None;
            // authenticator data: rpIdHash, flags, counter, AAGUID, length, id of 32 bytes, key
            it.message = |data, hash| {
                let point = credential_key().verifying_key().to_sec1_point(false);
                [&[0], &data[..32], hash, &data[55..87], point.as_bytes()].concat()
            };
            change(it);
        })
    }

    pub(crate) fn tpm(change: impl FnOnce(&mut Self)) -> Self {
        Self::new("tpm", |it| {
            it.subject.clear();
            it.extensions.push(purpose("2.23.133.8.3"));
            it.extensions.push(tpm_name(&[MANUFACTURER, MODEL, VERSION]));
            change(it);
        })
    }

    pub(crate) fn android_key(change: impl FnOnce(&mut Self)) -> Self {
        Self::new("android-key", |it| {
            it.signer_and_subject(credential_key());
            change(it);
        })
    }

    pub(crate) fn apple(change: impl FnOnce(&mut Self)) -> Self {
        Self::new("apple", |it| {
            it.alg = None;
            it.signer_and_subject(credential_key());
            change(it);
        })
    }

    pub(crate) fn signer_and_subject(&mut self, key: SigningKey) {
        self.signer = key.clone();
        self.certificate_key = key;
    }

    /// Issued by a CA between the root and the attestation certificate, or by one that is none.
    pub(crate) fn through_intermediate(&mut self, ca: bool) {
        self.issuer = other_key();
        self.issuer_name = Some(der::name(&intermediate_name()));
        self.chain = if ca {
            |leaf| Cbor::Array(vec![leaf.to_vec().into(), intermediate(true).into()])
        } else {
            |leaf| Cbor::Array(vec![leaf.to_vec().into(), intermediate(false).into()])
        };
    }

    pub(crate) fn registration(self) -> Registration {
        attested(self.format, move |data, hash| self.statement(data, hash))
    }

    pub(crate) fn case(self) -> Value {
        self.registration().case()
    }

    pub(crate) fn statement(&self, data: &[u8], hash: &[u8]) -> Cbor {
        let mut members: Vec<(Cbor, Cbor)> = Vec::new();
        members.extend(self.alg.map(|alg| ("alg".into(), alg.into())));
        let mut signed = (self.message)(data, hash);
        if self.format == "tpm" {
            let area = self.tpm.public_area();
            signed = self.tpm.certify_info(&signed, &area);
            members.push(("ver".into(), self.tpm.ver.into()));
            members.push(("certInfo".into(), signed.clone().into()));
            members.push(("pubArea".into(), area.into()));
        }
        if self.format != "apple" {
            members.push(("sig".into(), sign(&self.signer, &signed).into()));
        }
        members.push(("x5c".into(), (self.chain)(&self.certificate(data, hash))));
        Cbor::Map(members)
    }

    fn certificate(&self, data: &[u8], hash: &[u8]) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if self.format == "android-key" && !self.android.absent {
            extensions.push(self.android.key_description(hash));
        }
        if self.format == "apple" && !self.apple.absent {
            let nonce = (self.apple.nonce)(&[data, hash].concat());
            let content = der::sequence(&[der::explicit(1, &der::octets(&nonce))]);
            extensions.push(der::extension("1.2.840.113635.100.8.2", false, &content));
        }
        let issuer_name = self.issuer_name.clone().unwrap_or_else(root_name);
        let key = self.public_key.clone().unwrap_or_else(|| public_key(&self.certificate_key));
        certificate(self.version, &issuer_name, &self.issuer, &der::name(&self.subject), &key, &extensions)
    }
}

impl Tpm {
    fn public_area(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_sec1_point(false);
        let (x, y) = (&point.as_bytes()[1..33], &point.as_bytes()[33..]);
        let mut area = Vec::new();
        for field in [0x0023, 0x000b, 0x0004, 0x0000, 0x0000, self.symmetric, 0x0010, self.curve, 0x0010] {
            area.extend(field.to_be_bytes());
        }
        [&area[..], &sized(x), &sized(y), &self.area_tail].concat()
    }

    fn certify_info(&self, message: &[u8], area: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 8] = [
            &self.magic.to_be_bytes(),
            &self.kind.to_be_bytes(),
            &sized(&[]),
            &sized(&(self.extra_data)(message)),
            // clock, resetCount and restartCount, safe, firmwareVersion
            &[&[0x11; 16][..], &[1], &[0x22; 8]].concat(),
            &sized(&(self.name)(area)),
            &sized(&[]),
            &self.tail,
        ];
        parts.concat()
    }
}

impl Android {
    fn key_description(&self, hash: &[u8]) -> Vec<u8> {
        let (mut software, mut hardware) = (vec![], self.members.clone());
        if self.swap {
            std::mem::swap(&mut software, &mut hardware);
        }
        let content = der::sequence(&[
            der::small(4),
            der::enumerated(1),
            der::small(4),
            der::enumerated(1),
            der::octets(&(self.challenge)(hash)),
            der::octets(&[]),
            der::sequence(&software),
            der::sequence(&hardware),
        ]);
        der::extension("1.3.6.1.4.1.11129.2.1.17", false, &content)
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

pub(crate) fn basic_constraints(ca: bool) -> Vec<u8> {
    let content = if ca { vec![der::tlv(&[0x01], &[0xff])] } else { vec![] };
    der::extension("2.5.29.19", true, &der::sequence(&content))
}

pub(crate) fn purpose(oid: &str) -> Vec<u8> {
    der::extension("2.5.29.37", false, &der::sequence(&[der::oid(oid)]))
}

/// The subject's alternative name: a directory name with attributes of the TPM.
pub(crate) fn tpm_name(attributes: &[(&str, &str)]) -> Vec<u8> {
    let attributes: Vec<_> = attributes.iter().map(|(kind, value)| (*kind, der::utf8(value))).collect();
    let names = der::sequence(&[der::explicit(4, &der::name(&attributes))]);
    der::extension("2.5.29.17", true, &names)
}

/// The root that the W3C vectors publish.
pub(crate) fn root() -> Vec<u8> {
    published("attestation_ca_cert")
}

pub(crate) fn ca_key() -> SigningKey {
    SigningKey::from_slice(&published("attestation_ca_key")).unwrap()
}

fn published(name: &str) -> Vec<u8> {
    let suite: Value =
        serde_json::from_str(include_str!("../../../../../tests/vectors/webauthn-l3-vectors.json")).unwrap();
    unhex(suite["attestation_root"][name].as_str().unwrap())
}

pub(crate) fn root_name() -> Vec<u8> {
    use ::der::{Decode as _, Encode as _};
    let root = x509_cert::Certificate::from_der(&root()).unwrap();
    root.tbs_certificate().subject().to_der().unwrap()
}

fn intermediate_name() -> [(&'static str, Vec<u8>); 1] {
    [("2.5.4.3", der::utf8("between"))]
}

fn intermediate(ca: bool) -> Vec<u8> {
    let name = der::name(&intermediate_name());
    certificate(Some(2), &root_name(), &ca_key(), &name, &public_key(&other_key()), &[basic_constraints(ca)])
}

pub(crate) fn public_key(key: &SigningKey) -> Vec<u8> {
    let point = key.verifying_key().to_sec1_point(false);
    let algorithm = der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid("1.2.840.10045.3.1.7")]);
    der::sequence(&[algorithm, der::bits(point.as_bytes())])
}

/// Valid from 2024 to 3024, as the certificates of the vectors.
pub(crate) fn certificate(
    version: Option<u8>,
    issuer_name: &[u8],
    issuer: &SigningKey,
    subject: &[u8],
    public_key: &[u8],
    extensions: &[Vec<u8>],
) -> Vec<u8> {
    let algorithm = der::sequence(&[der::oid("1.2.840.10045.4.3.2")]);
    let validity =
        der::sequence(&[der::tlv(&[0x17], b"240101000000Z"), der::tlv(&[0x18], b"30240101000000Z")]);
    let signed = der::sequence(&[
        version.map_or_else(Vec::new, |version| der::explicit(0, &der::small(version))),
        der::small(1),
        algorithm.clone(),
        issuer_name.to_vec(),
        validity,
        subject.to_vec(),
        public_key.to_vec(),
        der::explicit(3, &der::sequence(extensions)),
    ]);
    let signature = der::bits(&sign(issuer, &signed));
    der::sequence(&[signed, algorithm, signature])
}
