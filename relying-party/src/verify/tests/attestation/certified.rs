//! Statements with certificates, issued by the attestation CA whose key the W3C vectors publish.

use super::super::workshop::rsa_key;
use super::*;

/// Other bytes made of some.
pub(crate) type Bytes = fn(&[u8]) -> Vec<u8>;

/// A statement of any format with `x5c`, in the making.
pub(crate) struct Certified {
    format: &'static str,
    pub(crate) alg: Option<i64>,
    /// The bytes that are signed, from authenticator data and hash.
    pub(crate) message: fn(&[u8], &[u8]) -> Vec<u8>,
    pub(crate) signer: SigningKey,
    /// Signs instead of the key above.
    pub(crate) sign: Option<Bytes>,
    /// Version minus one; absent for version 1.
    pub(crate) version: Option<u8>,
    pub(crate) subject: Vec<(&'static str, Vec<u8>)>,
    pub(crate) extensions: Vec<Vec<u8>>,
    certificate_key: SigningKey,
    /// Instead of the key above: a whole SubjectPublicKeyInfo.
    pub(crate) public_key: Option<Vec<u8>>,
    pub(crate) issuer: SigningKey,
    issuer_name: Option<Vec<u8>>,
    /// The algorithm of the issuer's signature, as the certificate has it in what is signed.
    pub(crate) signed_algorithm: &'static str,
    /// `x5c`, from the attestation certificate.
    pub(crate) chain: fn(&[u8]) -> Cbor,
    /// What is above the attestation certificate in `x5c`, if anything.
    above: Vec<Vec<u8>>,
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
    pub(crate) name_algorithm: u16,
    pub(crate) curve: u16,
    /// Instead of the coordinates of the key.
    pub(crate) point: Option<[Vec<u8>; 2]>,
    /// Instead of an ECC key: keyBits, exponent and modulus of an RSA key.
    pub(crate) rsa: Option<(u16, u32, Vec<u8>)>,
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
            sign: None,
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
            signed_algorithm: ECDSA_WITH_SHA256,
            chain: |leaf| Cbor::Array(vec![leaf.to_vec().into()]),
            above: vec![],
            tpm: Tpm {
                ver: "2.0",
                magic: 0xff54_4347,
                kind: 0x8017,
                extra_data: sha256,
                name: |area| [&[0x00, 0x0b][..], &sha256(area)].concat(),
                tail: vec![],
                key: credential_key(),
                name_algorithm: 0x000b,
                curve: 3,
                point: None,
                rsa: None,
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

    /// Issued by a certificate between the root and this one: with these extensions.
    pub(crate) fn through(&mut self, extensions: &[Vec<u8>]) {
        self.issued_by("between", &other_key());
        self.above = vec![below_the_root("between", &other_key(), extensions)];
    }

    /// Issued by a CA below a CA below the root: the upper one has these extensions.
    pub(crate) fn through_two(&mut self, extensions: &[Vec<u8>]) {
        let upper = key("0101010101010101010101010101010101010101010101010101010101010101");
        self.issued_by("between", &other_key());
        self.above = vec![
            certificate(
                Some(2),
                &common_name("upper"),
                &upper,
                &common_name("between"),
                &public_key(&other_key()),
                &[basic_constraints(true)],
            ),
            below_the_root("upper", &upper, extensions),
        ];
    }

    fn issued_by(&mut self, name: &str, key: &SigningKey) {
        (self.issuer, self.issuer_name) = (key.clone(), Some(common_name(name)));
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
            let signature = self.sign.map_or_else(|| sign(&self.signer, &signed), |sign| sign(&signed));
            members.push(("sig".into(), signature.into()));
        }
        let mut chain = (self.chain)(&self.certificate(data, hash));
        if let Cbor::Array(chain) = &mut chain {
            chain.extend(self.above.iter().cloned().map(Cbor::from));
        }
        members.push(("x5c".into(), chain));
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
        let contents = Contents {
            version: self.version,
            algorithm: self.signed_algorithm,
            issuer_name: &issuer_name,
            until: UNTIL_3024,
            subject: &der::name(&self.subject),
            public_key: &key,
            extensions: &extensions,
        };
        contents.signed(&self.issuer)
    }
}

impl Tpm {
    fn public_area(&self) -> Vec<u8> {
        let fields = |fields: &[u16]| -> Vec<u8> { fields.iter().flat_map(|it| it.to_be_bytes()).collect() };
        let kind = if self.rsa.is_some() { 0x0001 } else { 0x0023 };
        // nameAlg, objectAttributes, no authPolicy, symmetric, scheme
        let head = fields(&[kind, self.name_algorithm, 0x0004, 0x0000, 0x0000, self.symmetric, 0x0010]);
        if let Some((bits, exponent, modulus)) = &self.rsa {
            let parameters = [&bits.to_be_bytes()[..], &exponent.to_be_bytes()].concat();
            return [head, parameters, sized(modulus), self.area_tail.clone()].concat();
        }
        let point = self.key.verifying_key().to_sec1_point(false);
        let own = || [point.as_bytes()[1..33].to_vec(), point.as_bytes()[33..].to_vec()];
        let [x, y] = self.point.clone().unwrap_or_else(own);
        [head, fields(&[self.curve, 0x0010]), sized(&x), sized(&y), self.area_tail.clone()].concat()
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

/// Of a CA below which so many CAs may follow.
pub(crate) fn ca_above(path_length: u8) -> Vec<u8> {
    let content = [der::tlv(&[0x01], &[0xff]), der::small(path_length)];
    der::extension("2.5.29.19", true, &der::sequence(&content))
}

/// The first bit, 0x80, is digitalSignature; 0x08 keyAgreement, 0x04 keyCertSign, 0x02 cRLSign.
pub(crate) fn key_usage(bits: u8) -> Vec<u8> {
    der::extension("2.5.29.15", true, &der::tlv(&[0x03], &[bits.trailing_zeros() as u8, bits]))
}

/// One policy, that Windows names in certificates of TPMs' keys: critical, as there.
pub(crate) fn policies() -> Vec<u8> {
    let policy = der::sequence(&[der::oid("1.3.6.1.4.1.311.21.31")]);
    der::extension("2.5.29.32", true, &der::sequence(&[policy]))
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

/// The same root, valid until another time.
pub(crate) fn root_until(until: (u8, &'static [u8])) -> Vec<u8> {
    let (name, key) = (root_name(), public_key(&ca_key()));
    let extensions = [basic_constraints(true)];
    let contents = Contents {
        version: Some(2),
        algorithm: ECDSA_WITH_SHA256,
        issuer_name: &name,
        until,
        subject: &name,
        public_key: &key,
        extensions: &extensions,
    };
    contents.signed(&ca_key())
}

fn common_name(name: &str) -> Vec<u8> {
    der::name(&[("2.5.4.3", der::utf8(name))])
}

fn below_the_root(name: &str, key: &SigningKey, extensions: &[Vec<u8>]) -> Vec<u8> {
    certificate(Some(2), &root_name(), &ca_key(), &common_name(name), &public_key(key), extensions)
}

pub(crate) fn public_key(key: &SigningKey) -> Vec<u8> {
    let point = key.verifying_key().to_sec1_point(false);
    let algorithm = der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid("1.2.840.10045.3.1.7")]);
    der::sequence(&[algorithm, der::bits(point.as_bytes())])
}

/// The public key of a certificate with an RSA key.
pub(crate) fn rsa_public_key() -> Vec<u8> {
    use rsa::traits::PublicKeyParts as _;
    // Neither starts with a zero; a modulus of 2048 bits is taken for negative without one more.
    let (modulus, exponent) = (rsa_key().n_bytes(), rsa_key().e_bytes());
    let modulus = der::tlv(&[0x02], &[&[0], &modulus[..]].concat());
    let key = der::sequence(&[modulus, der::tlv(&[0x02], &exponent)]);
    let algorithm = der::sequence(&[der::oid("1.2.840.113549.1.1.1"), der::tlv(&[0x05], &[])]);
    der::sequence(&[algorithm, der::bits(&key)])
}

/// That key's signature by RSASSA-PKCS1-v1_5 with SHA-1.
pub(crate) fn rsa_with_sha1(message: &[u8]) -> Vec<u8> {
    use rsa::signature::{SignatureEncoding as _, Signer as _};
    rsa::pkcs1v15::SigningKey::<sha1::Sha1>::new(rsa_key()).sign(message).to_vec()
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
    let contents = Contents {
        version,
        algorithm: ECDSA_WITH_SHA256,
        issuer_name,
        until: UNTIL_3024,
        subject,
        public_key,
        extensions,
    };
    contents.signed(issuer)
}

/// What is signed of a certificate.
struct Contents<'a> {
    version: Option<u8>,
    algorithm: &'a str,
    issuer_name: &'a [u8],
    /// The tag of a time, and its text.
    until: (u8, &'static [u8]),
    subject: &'a [u8],
    public_key: &'a [u8],
    extensions: &'a [Vec<u8>],
}

impl Contents<'_> {
    /// By ECDSA with SHA-256, whatever the contents say of it.
    fn signed(&self, issuer: &SigningKey) -> Vec<u8> {
        let (tag, until) = self.until;
        let validity = der::sequence(&[der::tlv(&[0x17], b"240101000000Z"), der::tlv(&[tag], until)]);
        let signed = der::sequence(&[
            self.version.map_or_else(Vec::new, |version| der::explicit(0, &der::small(version))),
            der::small(1),
            der::sequence(&[der::oid(self.algorithm)]),
            self.issuer_name.to_vec(),
            validity,
            self.subject.to_vec(),
            self.public_key.to_vec(),
            der::explicit(3, &der::sequence(self.extensions)),
        ]);
        let signature = der::bits(&sign(issuer, &signed));
        der::sequence(&[signed, der::sequence(&[der::oid(ECDSA_WITH_SHA256)]), signature])
    }
}

const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
pub(crate) const UNTIL_2025: (u8, &[u8]) = (0x17, b"250101000000Z");
pub(crate) const UNTIL_3024: (u8, &[u8]) = (0x18, b"30240101000000Z");
pub(crate) const MANUFACTURER: (&str, &str) = ("2.23.133.2.1", "id:FFFFF1D0");
pub(crate) const MODEL: (&str, &str) = ("2.23.133.2.2", "Doppelkey test TPM");
pub(crate) const VERSION: (&str, &str) = ("2.23.133.2.3", "id:00000001");
