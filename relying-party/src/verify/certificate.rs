//! X.509 certificates (RFC 5280), as far as attestation needs them: one certificate's facts, and chains.

use std::fmt;

use der::asn1::{BitString, ObjectIdentifier};
use der::{Decode as _, Header, Reader as _, SliceReader};
use x509_cert::AlgorithmIdentifier;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::name::Name;

use super::cose::KeyError;
use super::revocation::RevocationLists;
use super::signature::{Hash, PublicKey, Scheme};

/// Why a certificate, or a chain of them, is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not a DER certificate.
    Malformed,
    /// Not version 3.
    Version,
    /// A part of the subject is missing, or not what it must be.
    Subject(&'static str),
    /// Basic constraints are missing, or say that it is a CA.
    IsCa,
    /// An extension is there twice, or malformed.
    Extension,
    /// The public key is of an unknown kind, or no safe key.
    Key(KeyError),
    /// No trust anchor is above the chain.
    NoAnchor,
    /// A signature in the chain does not verify, or is of an unknown kind.
    ChainSignature,
    /// A certificate above another is not a CA, or its path length is used up.
    NotACa,
    /// The key of the certificate that signed, not of one above it, is not made for signatures.
    NotForSignatures,
    /// A certificate is not valid at the time given.
    Validity,
    /// A certificate has a critical extension that is not understood.
    CriticalExtension,
    /// A certificate's issuer has taken it back.
    Revoked,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(f, "not a DER certificate"),
            Self::Version => write!(f, "not version 3"),
            Self::Subject(part) => write!(f, "the subject's {part} is missing or not as it must be"),
            Self::IsCa => write!(f, "basic constraints are missing or say that it is a CA"),
            Self::Extension => write!(f, "an extension is there twice or malformed"),
            Self::Key(why) => write!(f, "public key: {why}"),
            Self::NoAnchor => write!(f, "no trust anchor is above the chain"),
            Self::ChainSignature => write!(f, "a signature in the chain does not verify"),
            Self::NotACa => write!(f, "a certificate above another may not issue it"),
            Self::NotForSignatures => write!(f, "the certificate's key is not made for signatures"),
            Self::Validity => write!(f, "a certificate is not valid at this time"),
            Self::CriticalExtension => write!(f, "a critical extension is not understood"),
            Self::Revoked => write!(f, "a certificate has been revoked by its issuer"),
        }
    }
}

impl std::error::Error for CertificateError {}

/// A certificate, read but not believed.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

impl Certificate {
    pub(crate) fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = x509_cert::Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        Ok(Self { der: der.to_vec(), parsed })
    }

    pub(crate) fn into_der(self) -> Vec<u8> {
        self.der
    }

    pub(crate) fn key(&self) -> Result<PublicKey, CertificateError> {
        let info = self.parsed.tbs_certificate().subject_public_key_info();
        PublicKey::from_spki(info).map_err(CertificateError::Key)
    }

    /// The public key as bits, whatever its kind.
    pub(crate) fn key_bits(&self) -> Option<Vec<u8>> {
        let info = self.parsed.tbs_certificate().subject_public_key_info();
        info.subject_public_key.as_bytes().map(<[u8]>::to_vec)
    }

    pub(crate) fn require_version_3(&self) -> Result<(), CertificateError> {
        match self.parsed.tbs_certificate().version() {
            Version::V3 => Ok(()),
            _ => Err(CertificateError::Version),
        }
    }

    /// Basic constraints are there, and `cA` is false.
    pub(crate) fn require_no_ca(&self) -> Result<(), CertificateError> {
        match self.parsed.tbs_certificate().get_extension::<BasicConstraints>() {
            Ok(Some((_, constraints))) if !constraints.ca => Ok(()),
            Ok(_) => Err(CertificateError::IsCa),
            Err(_) => Err(CertificateError::Extension),
        }
    }

    /// Criticality and content of an extension; it may be there once only.
    pub(crate) fn extension(&self, oid: &str) -> Result<Option<(bool, &[u8])>, CertificateError> {
        let all = self.parsed.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
        let oid = ObjectIdentifier::new_unwrap(oid);
        let mut found = all.iter().filter(|extension| extension.extn_id == oid);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(extension), None) => Ok(Some((extension.critical, extension.extn_value.as_bytes()))),
            (Some(_), Some(_)) => Err(CertificateError::Extension),
        }
    }

    pub(crate) fn subject_is_empty(&self) -> bool {
        self.parsed.tbs_certificate().subject().is_empty()
    }

    /// A part of the subject's name, not empty.
    pub(crate) fn subject(&self, oid: &str) -> Option<String> {
        let parts = attributes(self.parsed.tbs_certificate().subject());
        parts
            .into_iter()
            .find(|(found, _)| found == oid)
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    }

    /// The subject in one line, for people.
    pub(crate) fn subject_text(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// The attributes of the directory names among the subject's alternative names.
    pub(crate) fn alternative_directory_names(&self) -> Result<Vec<(String, String)>, CertificateError> {
        let found = self.parsed.tbs_certificate().get_extension::<SubjectAltName>();
        let names = found.map_err(|_| CertificateError::Extension)?.map_or(Vec::new(), |(_, names)| names.0);
        let directory = names.iter().filter_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(attributes(name)),
            _ => None,
        });
        Ok(directory.flatten().collect())
    }

    /// Whether the subject's alternative names have this DNS name.
    pub(crate) fn has_dns_name(&self, dns_name: &str) -> Result<bool, CertificateError> {
        let found = self.parsed.tbs_certificate().get_extension::<SubjectAltName>();
        let names = found.map_err(|_| CertificateError::Extension)?.map_or(Vec::new(), |(_, names)| names.0);
        Ok(names.iter().any(|name| match name {
            GeneralName::DnsName(name) => name.as_str().eq_ignore_ascii_case(dns_name),
            _ => false,
        }))
    }

    /// Whether the extended key usage names a purpose.
    pub(crate) fn has_purpose(&self, oid: &str) -> Result<bool, CertificateError> {
        let found = self.parsed.tbs_certificate().get_extension::<ExtendedKeyUsage>();
        let usage = found.map_err(|_| CertificateError::Extension)?;
        Ok(usage.is_some_and(|(_, usage)| usage.0.contains(&ObjectIdentifier::new_unwrap(oid))))
    }

    fn is_valid_at(&self, now_s: u64) -> bool {
        let validity = self.parsed.tbs_certificate().validity();
        let (from, to) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        (from.as_secs()..=to.as_secs()).contains(&now_s)
    }

    /// Whether this certificate may issue one that has `below` issuers between it and the leaf.
    fn may_issue(&self, below: usize) -> Result<(), CertificateError> {
        let certificate = self.parsed.tbs_certificate();
        let constraints =
            certificate.get_extension::<BasicConstraints>().map_err(|_| CertificateError::Extension)?;
        let (_, constraints) = constraints.ok_or(CertificateError::NotACa)?;
        let short = constraints.path_len_constraint.is_some_and(|longest| usize::from(longest) < below);
        if !constraints.ca || short || self.key_usage()?.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(CertificateError::NotACa);
        }
        Ok(())
    }

    /// Whether this certificate's key may sign other things than certificates (RFC 5280 §4.2.1.3): where the usage is not
    /// told, it may.
    fn may_sign(&self) -> Result<(), CertificateError> {
        if self.key_usage()?.is_none_or(|usage| usage.digital_signature()) {
            Ok(())
        } else {
            Err(CertificateError::NotForSignatures)
        }
    }

    /// Whether this certificate's key may sign lists of revoked ones (RFC 5280 §6.3.3 (f)): where the usage is not told,
    /// it may.
    pub(super) fn may_revoke(&self) -> bool {
        self.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.crl_sign()))
    }

    fn key_usage(&self) -> Result<Option<KeyUsage>, CertificateError> {
        let usage = self.parsed.tbs_certificate().get_extension::<KeyUsage>();
        Ok(usage.map_err(|_| CertificateError::Extension)?.map(|(_, usage)| usage))
    }

    fn check_critical_extensions(&self) -> Result<(), CertificateError> {
        let all = self.parsed.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
        let understood = |extension: &&x509_cert::ext::Extension| {
            !extension.critical
                || UNDERSTOOD.iter().any(|oid| extension.extn_id == ObjectIdentifier::new_unwrap(oid))
        };
        if all.iter().all(|extension| understood(&extension)) {
            Ok(())
        } else {
            Err(CertificateError::CriticalExtension)
        }
    }

    fn is_issued_by(&self, issuer: &Self) -> Result<(), CertificateError> {
        if self.parsed.tbs_certificate().issuer() != issuer.parsed.tbs_certificate().subject() {
            return Err(CertificateError::NoAnchor);
        }
        let (outer, inner) = (self.parsed.signature_algorithm(), self.parsed.tbs_certificate().signature());
        is_signed_by(issuer, &self.der, outer, inner, self.parsed.signature())
    }

    /// The number that its issuer gave it.
    pub(super) fn serial(&self) -> &[u8] {
        self.parsed.tbs_certificate().serial_number().as_bytes()
    }

    /// Its subject.
    pub(super) fn name(&self) -> &Name {
        self.parsed.tbs_certificate().subject()
    }
}

/// Whether the first part of a DER sequence (a certificate, or a list of revoked ones) is signed by the issuer's key, as
/// the rest says. The algorithm is named outside of what is signed, and once more within.
pub(super) fn is_signed_by(
    issuer: &Certificate,
    der: &[u8],
    outer: &AlgorithmIdentifier,
    inner: &AlgorithmIdentifier,
    signature: &BitString,
) -> Result<(), CertificateError> {
    let scheme = signature_scheme(&outer.oid.to_string()).ok_or(CertificateError::ChainSignature)?;
    if outer != inner {
        return Err(CertificateError::ChainSignature);
    }
    let signature = signature.as_bytes().ok_or(CertificateError::ChainSignature)?;
    let signed = signed_part(der).map_err(|_| CertificateError::Malformed)?;
    if issuer.key()?.verify(scheme, signed, signature) {
        Ok(())
    } else {
        Err(CertificateError::ChainSignature)
    }
}

/// Whether a chain of DER certificates, leaf first, ends under one of the anchors; gives the anchor's name.
///
/// The order must be that of the chain. A leaf that is itself an anchor is accepted. The leaf's key is one that signs. Every certificate used, the
/// anchor too, must be valid at `now_s` (Unix time in seconds), and none may be in its issuer's list in `lists`.
pub(crate) fn chains_to(
    chain: &[Vec<u8>],
    anchors: &[Vec<u8>],
    lists: &RevocationLists,
    now_s: u64,
) -> Result<String, CertificateError> {
    let chain = chain.iter().map(|der| Certificate::read(der)).collect::<Result<Vec<_>, _>>()?;
    let anchors: Vec<_> = anchors.iter().filter_map(|der| Certificate::read(der).ok()).collect();
    if let Some(leaf) = chain.first() {
        leaf.may_sign()?;
    }
    for (at, certificate) in chain.iter().enumerate() {
        certificate.check_critical_extensions()?;
        if !certificate.is_valid_at(now_s) {
            return Err(CertificateError::Validity);
        }
        if let Some(anchor) = anchors.iter().find(|anchor| anchor.der == certificate.der) {
            return Ok(anchor.subject_text());
        }
        let anchor = issuing_anchor(certificate, &anchors, at, now_s);
        let issuer = anchor.or(chain.get(at + 1)).ok_or(CertificateError::NoAnchor)?;
        if anchor.is_none() {
            certificate.is_issued_by(issuer)?;
            issuer.may_issue(at)?;
        }
        if lists.revoke(certificate, issuer) {
            return Err(CertificateError::Revoked);
        }
        if let Some(anchor) = anchor {
            return Ok(anchor.subject_text());
        }
    }
    Err(CertificateError::NoAnchor)
}

fn issuing_anchor<'c>(
    certificate: &Certificate,
    anchors: &'c [Certificate],
    below: usize,
    now_s: u64,
) -> Option<&'c Certificate> {
    anchors.iter().find(|anchor| {
        certificate.is_issued_by(anchor).is_ok()
            && anchor.may_issue(below).is_ok()
            && anchor.is_valid_at(now_s)
    })
}

/// The bytes of `tbsCertificate`, as they were signed.
fn signed_part(der: &[u8]) -> Result<&[u8], der::Error> {
    let mut reader = SliceReader::new(der)?;
    Header::decode(&mut reader)?;
    reader.tlv_bytes()
}

/// Types and text of the attributes of a name.
fn attributes(name: &Name) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    name.iter().map(|part| (part.oid.to_string(), text(part.value.value()))).collect()
}

/// SHA-1 is not among them.
fn signature_scheme(oid: &str) -> Option<Scheme> {
    Some(match oid {
        "1.2.840.10045.4.3.2" => Scheme::Ecdsa(Hash::Sha256),
        "1.2.840.10045.4.3.3" => Scheme::Ecdsa(Hash::Sha384),
        "1.2.840.10045.4.3.4" => Scheme::Ecdsa(Hash::Sha512),
        "1.2.840.113549.1.1.11" => Scheme::Pkcs1(Hash::Sha256),
        "1.2.840.113549.1.1.12" => Scheme::Pkcs1(Hash::Sha384),
        "1.2.840.113549.1.1.13" => Scheme::Pkcs1(Hash::Sha512),
        "1.3.101.112" | "1.3.101.113" => Scheme::EdDsa,
        "2.16.840.1.101.3.4.3.17" | "2.16.840.1.101.3.4.3.18" | "2.16.840.1.101.3.4.3.19" => Scheme::MlDsa,
        _ => return None,
    })
}

/// Basic constraints, key usage, subject alternative name, extended key usage, and policies: whoever asks for none of
/// them cannot miss one (RFC 5280 §6.1 with any-policy, and no explicit policy required). TPMs' certificates have them
/// critical. What would make policies matter, or bounds names, is refused: constraints, mappings, inhibitions.
const UNDERSTOOD: [&str; 5] = ["2.5.29.19", "2.5.29.15", "2.5.29.17", "2.5.29.37", "2.5.29.32"];
