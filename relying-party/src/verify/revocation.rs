//! Certificate revocation lists (RFC 5280 §5), as files: which certificates their issuers have taken back.
//!
//! A list counts where its issuer's own key has signed it, and may sign lists; whoever else signed a list of that name has
//! revoked nothing.
//! A certificate in a list is revoked for good, however old the list is. Where there is no list nothing is known, and
//! nothing is fetched.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Decode as _;
use der::asn1::ObjectIdentifier;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::crl::IssuingDistributionPoint;
use x509_cert::name::Name;

use super::certificate::{Certificate, is_signed_by};

/// Lists that an operator has got from the authorities.
#[derive(Clone, Debug, Default)]
pub struct RevocationLists(Vec<List>);

#[derive(Clone, Debug)]
struct List {
    der: Vec<u8>,
    issuer: Name,
    /// In Unix seconds.
    next_update: Option<u64>,
    revoked: BTreeSet<Vec<u8>>,
}

/// Why a file is no list to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationListError {
    /// Neither DER nor PEM, or no list of certificates.
    Malformed,
    /// Only what has changed since another list.
    Delta,
    /// It speaks of other authorities' certificates, too.
    Indirect,
    /// It has a critical extension that is not understood.
    CriticalExtension,
}

impl fmt::Display for RevocationListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is neither DER nor PEM",
            Self::Delta => "it only says what has changed since another list",
            Self::Indirect => "it speaks of other authorities' certificates, too",
            Self::CriticalExtension => "it has a critical extension that is not understood",
        })
    }
}

impl std::error::Error for RevocationListError {}

impl RevocationLists {
    /// Adds the lists of a file: one in DER, or any number in PEM.
    ///
    /// # Errors
    /// [`RevocationListError`]; nothing of the file was added then.
    pub fn add(&mut self, file: &[u8]) -> Result<(), RevocationListError> {
        let lists: Vec<Vec<u8>> = match std::str::from_utf8(file) {
            Ok(text) if text.contains(BEGIN) => pem_blocks(text)?,
            _ => vec![file.to_vec()],
        };
        let lists = lists.into_iter().map(List::read).collect::<Result<Vec<_>, _>>()?;
        self.0.extend(lists);
        Ok(())
    }

    /// Whether an issuer has taken back a certificate that it has issued.
    pub(crate) fn revoke(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        self.0.iter().any(|list| {
            list.revoked.contains(certificate.serial())
                && list.issuer == *issuer.name()
                && issuer.may_revoke()
                && list.is_signed_by(issuer)
        })
    }

    /// The issuers of lists that should have been replaced by this time (Unix seconds).
    #[must_use]
    pub fn overdue(&self, now_s: u64) -> Vec<String> {
        let overdue = self.0.iter().filter(|list| list.next_update.is_some_and(|due| due < now_s));
        overdue.map(|list| list.issuer.to_string()).collect()
    }
}

impl List {
    fn read(der: Vec<u8>) -> Result<Self, RevocationListError> {
        let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(&der)
            .map_err(|_| RevocationListError::Malformed)?
            .tbs_cert_list;
        for extension in list.crl_extensions.iter().flatten() {
            if extension.extn_id == ObjectIdentifier::new_unwrap(DELTA) {
                return Err(RevocationListError::Delta);
            }
            if extension.extn_id == ObjectIdentifier::new_unwrap(DISTRIBUTION_POINT) {
                // A part of the certificates is enough, as long as they are the issuer's own.
                let point = IssuingDistributionPoint::from_der(extension.extn_value.as_bytes());
                if point.map_err(|_| RevocationListError::Malformed)?.indirect_crl {
                    return Err(RevocationListError::Indirect);
                }
            } else if extension.critical {
                return Err(RevocationListError::CriticalExtension);
            }
        }
        let revoked = list.revoked_certificates.into_iter().flatten();
        Ok(Self {
            der,
            issuer: list.issuer,
            next_update: list.next_update.map(|time| time.to_unix_duration().as_secs()),
            revoked: revoked.map(|one| one.serial_number.as_bytes().to_vec()).collect(),
        })
    }

    fn is_signed_by(&self, issuer: &Certificate) -> bool {
        let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(&self.der);
        list.is_ok_and(|list| {
            let inner = &list.tbs_cert_list.signature;
            is_signed_by(issuer, &self.der, &list.signature_algorithm, inner, &list.signature).is_ok()
        })
    }
}

/// What is between the lines that begin and end a list.
fn pem_blocks(text: &str) -> Result<Vec<Vec<u8>>, RevocationListError> {
    let blocks = text.split(BEGIN).skip(1).map(|rest| {
        let (body, _) = rest.split_once("-----END X509 CRL-----").ok_or(RevocationListError::Malformed)?;
        let body: String = body.split_whitespace().collect();
        STANDARD.decode(body).map_err(|_| RevocationListError::Malformed)
    });
    blocks.collect()
}

const BEGIN: &str = "-----BEGIN X509 CRL-----";
const DELTA: &str = "2.5.29.27";
const DISTRIBUTION_POINT: &str = "2.5.29.28";
