//! Attestation statements of every format (WebAuthn §8), with certificates of the [`Authority`].

use std::fmt;

use doppelkey_core::{
    Algorithm, Attestation, AttestationRequest, Attester, CertificateFault, Members, PrivateKey, Statement,
};
use sha2::{Digest as _, Sha256};

use super::authority::Authority;
use super::certificate::{Certificate, Name, aaguid_extension, extension, public_point};
use super::der::{enumerated, explicit, integer, octets, sequence, set};
use super::profile::{Format, Profile};
use super::{by, tpm};

/// The attestations of a persona.
pub(super) struct Attesters {
    /// `None` leaves the configuration's own.
    pub(super) attestations: Option<heapless::Vec<Attestation, 4>>,
    /// The root of their certificates.
    pub(super) root: Option<Vec<u8>>,
}

/// The attestations of this persona.
pub(super) fn of(profile: &Profile, aaguid: [u8; 16], name: &str, authority: &Authority) -> Attesters {
    let issuer = Issuer::new(name, aaguid, authority);
    let root = issuer.root();
    let format = profile.attestation.unwrap_or(Format::PackedSelf);
    let has_certificate = !matches!(format, Format::None | Format::PackedSelf);
    let usual = match format {
        Format::None => Attestation::None,
        Format::PackedSelf => Attestation::PackedSelf,
        Format::Packed => by(Packed { issuer: issuer.clone(), serial_number: None }),
        Format::FidoU2f => by(FidoU2f(issuer.clone())),
        Format::Tpm => by(Tpm(issuer.clone())),
        Format::AndroidKey => by(AndroidKey(issuer.clone())),
        Format::Apple => by(Apple(issuer.clone())),
        Format::Compound => by(Compound(Packed { issuer: issuer.clone(), serial_number: None })),
    };
    let mut attestations = heapless::Vec::new();
    let mut add = |attestation| attestations.push(attestation).expect("a persona has at most three");
    add(usual);
    if profile.enterprise == Some(true) {
        add(by(Packed { issuer, serial_number: Some("DK-0000001".into()) }));
    }
    if !matches!(format, Format::None) {
        // What a platform can prefer.
        add(Attestation::None);
    }
    let root = (has_certificate || profile.enterprise == Some(true)).then_some(root);
    Attesters { attestations: Some(attestations), root }
}

/// Who signs a persona's certificates: a root of its own.
#[derive(Clone)]
struct Issuer {
    name: String,
    aaguid: [u8; 16],
    root_key: PrivateKey,
    key: PrivateKey,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Issuer {
    fn new(name: &str, aaguid: [u8; 16], authority: &Authority) -> Self {
        Issuer {
            name: name.into(),
            aaguid,
            root_key: authority.key(&format!("{name} root")),
            key: authority.key(&format!("{name} attestation")),
        }
    }

    fn root_name(&self) -> Name {
        Name::attestation(&format!("Doppelkey {} root", self.name), None)
    }

    /// The root, signed by itself.
    fn root(&self) -> Vec<u8> {
        let public_key = public_point(&self.root_key).expect("the authority's keys are P-256");
        let (subject, extensions) = (self.root_name(), Vec::new());
        let root = Certificate { subject, public_key: &public_key, until: FOREVER, is_ca: true, extensions };
        root.signed(&self.root_name(), &self.root_key)
    }

    /// A certificate for this key under the root.
    fn certify(
        &self,
        subject: Name,
        key: &PrivateKey,
        extensions: Vec<Vec<u8>>,
        fault: CertificateFault,
    ) -> Option<Vec<u8>> {
        let public_key = match fault {
            CertificateFault::Wrong => public_point(&self.root_key)?,
            _ => public_point(key)?,
        };
        let until = if fault == CertificateFault::Expired { "20240102000000Z" } else { FOREVER };
        let leaf = Certificate { subject, public_key: &public_key, until, is_ca: false, extensions };
        Some(leaf.signed(&self.root_name(), &self.root_key))
    }

    /// The AAGUID that a certificate names.
    fn aaguid(&self, fault: CertificateFault) -> [u8; 16] {
        let mut aaguid = self.aaguid;
        aaguid[15] ^= u8::from(fault == CertificateFault::AaguidWrong);
        aaguid
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        Some(self.key.sign(message)?.to_vec())
    }
}

/// What is signed in most formats.
fn signed(request: &AttestationRequest<'_>) -> Vec<u8> {
    [request.authenticator_data, request.client_data_hash].concat()
}

/// `packed` with a certificate (§8.2); with a serial number, for enterprise attestation.
#[derive(Clone, Debug)]
struct Packed {
    issuer: Issuer,
    serial_number: Option<String>,
}

impl Packed {
    fn members(&self, request: &AttestationRequest<'_>) -> Option<Members> {
        let Packed { issuer, serial_number } = self;
        let subject = Name::attestation(&format!("Doppelkey {}", issuer.name), serial_number.as_deref());
        let extensions = vec![aaguid_extension(&issuer.aaguid(request.fault))];
        let certificate = issuer.certify(subject, &issuer.key, extensions, request.fault)?;
        Some(Members {
            alg: Some(Algorithm::Es256.cose()),
            sig: Some(issuer.sign(&signed(request))?),
            x5c: vec![certificate],
            ..Members::default()
        })
    }
}

impl Attester for Packed {
    fn format(&self) -> &str {
        "packed"
    }

    fn is_enterprise(&self) -> bool {
        self.serial_number.is_some()
    }

    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement> {
        self.members(request).map(Statement::Members)
    }
}

/// `fido-u2f` (§8.6).
#[derive(Debug)]
struct FidoU2f(Issuer);

impl Attester for FidoU2f {
    fn format(&self) -> &str {
        "fido-u2f"
    }

    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement> {
        let FidoU2f(issuer) = self;
        let point = public_point(request.key)?;
        let message =
            [&[0][..], request.rp_id_hash, request.client_data_hash, request.credential_id, &point].concat();
        let subject = Name::attestation(&format!("Doppelkey {}", issuer.name), None);
        let certificate = issuer.certify(subject, &issuer.key, Vec::new(), request.fault)?;
        let (sig, x5c) = (Some(issuer.sign(&message)?), vec![certificate]);
        Some(Statement::Members(Members { sig, x5c, ..Members::default() }))
    }
}

/// `tpm` (§8.3).
#[derive(Debug)]
struct Tpm(Issuer);

impl Attester for Tpm {
    fn format(&self) -> &str {
        "tpm"
    }

    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement> {
        let Tpm(issuer) = self;
        let pub_area = tpm::pub_area(&public_point(request.key)?);
        let cert_info = tpm::cert_info(&Sha256::digest(signed(request)), &pub_area);
        let mut extensions = tpm::aik_extensions();
        extensions.push(aaguid_extension(&issuer.aaguid(request.fault)));
        let certificate = issuer.certify(Name::empty(), &issuer.key, extensions, request.fault)?;
        Some(Statement::Members(Members {
            alg: Some(Algorithm::Es256.cose()),
            sig: Some(issuer.sign(&cert_info)?),
            ver: Some("2.0".into()),
            x5c: vec![certificate],
            pub_area: Some(pub_area),
            cert_info: Some(cert_info),
        }))
    }
}

/// `android-key` (§8.4): a certificate for the credential's own key.
#[derive(Debug)]
struct AndroidKey(Issuer);

impl Attester for AndroidKey {
    fn format(&self) -> &str {
        "android-key"
    }

    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement> {
        let AndroidKey(issuer) = self;
        let subject = Name::attestation("Android Keystore Key", None);
        let description =
            extension("1.3.6.1.4.1.11129.2.1.17", false, &key_description(request.client_data_hash));
        let certificate = issuer.certify(subject, request.key, vec![description], request.fault)?;
        Some(Statement::Members(Members {
            alg: Some(request.key.algorithm().cose()),
            sig: Some(request.key.sign(&signed(request))?.to_vec()),
            // Android's chain has its root.
            x5c: vec![certificate, issuer.root()],
            ..Members::default()
        }))
    }
}

/// Android's KeyDescription: a key made in the trusted environment, to sign, for this challenge.
fn key_description(challenge: &[u8; 32]) -> Vec<u8> {
    let trusted_environment = enumerated(1);
    let sign = explicit(1, &set(&integer(&[2])));
    let generated = explicit(702, &integer(&[0]));
    sequence(&[
        &integer(&[3]),
        &trusted_environment,
        &integer(&[4]),
        &trusted_environment,
        &octets(challenge),
        &octets(&[]),
        &sequence(&[]),
        &sequence(&[&sign, &generated]),
    ])
}

/// `apple` (§8.8): a certificate for the credential's own key, with a nonce for what was attested.
#[derive(Debug)]
struct Apple(Issuer);

impl Attester for Apple {
    fn format(&self) -> &str {
        "apple"
    }

    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement> {
        let Apple(issuer) = self;
        let nonce = Sha256::digest(signed(request));
        let nonce = sequence(&[&explicit(1, &octets(&nonce))]);
        let nonce = extension("1.2.840.113635.100.8.2", false, &nonce);
        let subject = Name::attestation("credential", None);
        let certificate = issuer.certify(subject, request.key, vec![nonce], request.fault)?;
        let x5c = vec![certificate];
        Some(Statement::Members(Members { x5c, ..Members::default() }))
    }
}

/// `compound` (§8.9): packed with a certificate, and packed self.
#[derive(Debug)]
struct Compound(Packed);

impl Attester for Compound {
    fn format(&self) -> &str {
        "compound"
    }

    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement> {
        let own = Members {
            alg: Some(request.key.algorithm().cose()),
            sig: Some(request.key.sign(&signed(request))?.to_vec()),
            ..Members::default()
        };
        Some(Statement::Compound(vec![("packed".into(), self.0.members(request)?), ("packed".into(), own)]))
    }
}

const FOREVER: &str = "20491231235959Z";
