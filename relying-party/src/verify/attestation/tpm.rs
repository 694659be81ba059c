//! TPM attestation (WebAuthn Level 3 §8.3; structures of TPM 2.0 part 2).

use super::super::cbor::Value;
use super::super::certificate::{Certificate, CertificateError};
use super::super::signature::{Hash, PublicKey, Scheme};
use super::packed::check_aaguid;
use super::statement::Statement;
use super::{Attestation, AttestationError, AttestationKind, Subject, certified};

pub(super) fn verify(value: &Value, subject: &Subject<'_>) -> Result<Attestation, AttestationError> {
    let statement = Statement::open(value, &["ver", "alg", "x5c", "sig", "certInfo", "pubArea"])?;
    if statement.text("ver")? != "2.0" {
        return Err(AttestationError::Tpm("ver is not 2.0"));
    }
    let public_area = statement.bytes("pubArea")?;
    let name_hash = check_public_area(public_area, &subject.key.key)?;

    let (alg, scheme) = algorithm(&statement)?;
    let hash = scheme.hash().ok_or(AttestationError::Algorithm(alg))?;
    let certified_info = statement.bytes("certInfo")?;
    let attest = Attest::read(certified_info)?;
    if attest.extra_data != hash.of(&subject.message()) {
        return Err(AttestationError::DataMismatch("extraData"));
    }
    let name = [&name_hash.id().to_be_bytes()[..], &name_hash.hash().of(public_area)].concat();
    if attest.name != name {
        return Err(AttestationError::DataMismatch("the name of the key certified"));
    }

    let chain = statement.certificates()?;
    if !chain[0].key()?.verify(scheme, certified_info, statement.bytes("sig")?) {
        return Err(AttestationError::SignatureInvalid);
    }
    check_certificate(&chain[0])?;
    check_aaguid(&chain[0], &subject.attested.aaguid)?;
    Ok(certified(AttestationKind::Certified, chain))
}

/// `alg`, and how it signs: also with SHA-1, as attestation identity keys still do and nobody else may.
fn algorithm(statement: &Statement<'_>) -> Result<(i64, Scheme), AttestationError> {
    match statement.alg()? {
        RS1 => Ok((RS1, Scheme::Pkcs1(Hash::Sha1))),
        _ => statement.algorithm(),
    }
}

/// TPM_ALG_ID of a hash function that names keys.
#[derive(Clone, Copy)]
struct NameHash(u16, Hash);

impl NameHash {
    fn from_id(id: u16) -> Result<Self, AttestationError> {
        Ok(Self(
            id,
            match id {
                0x0004 => Hash::Sha1,
                0x000b => Hash::Sha256,
                0x000c => Hash::Sha384,
                0x000d => Hash::Sha512,
                _ => return Err(AttestationError::Tpm("nameAlg is not a hash we know")),
            },
        ))
    }
    fn id(self) -> u16 {
        self.0
    }
    fn hash(self) -> Hash {
        self.1
    }
}

/// TPMT_PUBLIC: type, nameAlg, objectAttributes, authPolicy, parameters, unique; its key is the credential's.
fn check_public_area(bytes: &[u8], key: &PublicKey) -> Result<NameHash, AttestationError> {
    let mut area = Fields(bytes);
    let kind = area.u16()?;
    let name_hash = NameHash::from_id(area.u16()?)?;
    area.take(4)?; // objectAttributes
    area.sized()?; // authPolicy
    let found = match kind {
        TPM_ALG_RSA => read_rsa(&mut area)?,
        TPM_ALG_ECC => read_ecc(&mut area)?,
        _ => return Err(AttestationError::Tpm("pubArea is neither RSA nor ECC")),
    };
    area.end()?;
    if found == *key { Ok(name_hash) } else { Err(AttestationError::KeyMismatch) }
}

/// TPMS_RSA_PARMS: symmetric, scheme, keyBits, exponent (0 stands for 65537); then the modulus.
fn read_rsa(area: &mut Fields<'_>) -> Result<PublicKey, AttestationError> {
    area.skip_symmetric_and_scheme()?;
    let bits = area.u16()?;
    let exponent = match area.u32()? {
        0 => 65537,
        exponent => exponent,
    };
    let modulus = area.sized()?;
    if modulus.len() * 8 != usize::from(bits) {
        return Err(AttestationError::Tpm("keyBits is not the length of the modulus"));
    }
    Ok(PublicKey::rsa(modulus, &exponent.to_be_bytes())?)
}

/// TPMS_ECC_PARMS: symmetric, scheme, curveID, kdf; then x and y.
fn read_ecc(area: &mut Fields<'_>) -> Result<PublicKey, AttestationError> {
    area.skip_symmetric_and_scheme()?;
    let curve = area.u16()?;
    area.skip_scheme()?; // kdf
    let width = match curve {
        0x0003 => 32,
        0x0004 => 48,
        0x0005 => 66,
        _ => return Err(AttestationError::Tpm("the curve of pubArea is unknown")),
    };
    let (x, y) = (area.sized()?, area.sized()?);
    if x.len() > width || y.len() > width {
        return Err(AttestationError::Tpm("a coordinate of pubArea is too long"));
    }
    // TPMs leave leading zeros out
    let mut point = vec![0; 1 + 2 * width];
    point[0] = 0x04;
    point[1 + width - x.len()..1 + width].copy_from_slice(x);
    point[1 + 2 * width - y.len()..].copy_from_slice(y);
    let key = match curve {
        0x0003 => PublicKey::p256(&point),
        0x0004 => PublicKey::p384(&point),
        _ => PublicKey::p521(&point),
    };
    Ok(key?)
}

/// The parts of TPMS_ATTEST that matter.
struct Attest<'a> {
    extra_data: &'a [u8],
    name: &'a [u8],
}

impl<'a> Attest<'a> {
    /// magic, type, qualifiedSigner, extraData, clockInfo, firmwareVersion, then TPMS_CERTIFY_INFO.
    fn read(bytes: &'a [u8]) -> Result<Self, AttestationError> {
        let mut fields = Fields(bytes);
        if fields.u32()? != TPM_GENERATED_VALUE {
            return Err(AttestationError::Tpm("magic is not TPM_GENERATED_VALUE"));
        }
        if fields.u16()? != TPM_ST_ATTEST_CERTIFY {
            return Err(AttestationError::Tpm("type is not TPM_ST_ATTEST_CERTIFY"));
        }
        fields.sized()?; // qualifiedSigner
        let extra_data = fields.sized()?;
        fields.take(17)?; // clockInfo: clock, resetCount, restartCount, safe
        fields.take(8)?; // firmwareVersion
        let name = fields.sized()?;
        fields.sized()?; // qualifiedName
        fields.end()?;
        Ok(Self { extra_data, name })
    }
}

/// §8.3.1: version 3, no subject, the TPM named in the alternative name, made for attestation, and not a CA.
fn check_certificate(certificate: &Certificate) -> Result<(), AttestationError> {
    certificate.require_version_3()?;
    if !certificate.subject_is_empty() {
        return Err(CertificateError::Subject("everything (it must be empty)").into());
    }
    let tpm = certificate.alternative_directory_names()?;
    let named = |oid: &str| tpm.iter().find(|(found, _)| found == oid).map(|(_, value)| value.as_str());
    let vendor = named(TPM_MANUFACTURER).and_then(|value| value.strip_prefix("id:"));
    if !vendor.is_some_and(|id| id.len() == 8 && id.bytes().all(|digit| digit.is_ascii_hexdigit())) {
        return Err(AttestationError::Tpm("the alternative name has no TPM manufacturer"));
    }
    if named(TPM_MODEL).is_none() || named(TPM_VERSION).is_none() {
        return Err(AttestationError::Tpm("the alternative name has no TPM model or version"));
    }
    if !certificate.has_purpose(AIK_CERTIFICATE)? {
        return Err(AttestationError::Tpm("the certificate is not made for attestation identity keys"));
    }
    Ok(certificate.require_no_ca()?)
}

/// Big-endian fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], AttestationError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }
    fn u16(&mut self) -> Result<u16, AttestationError> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().expect("took 2 bytes")))
    }
    fn u32(&mut self) -> Result<u32, AttestationError> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("took 4 bytes")))
    }
    /// TPM2B: a length of 16 bits, then so many bytes.
    fn sized(&mut self) -> Result<&'a [u8], AttestationError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
    /// TPMT_SYM_DEF_OBJECT is TPM_ALG_NULL for a signing key; TPMT_*_SCHEME follows.
    fn skip_symmetric_and_scheme(&mut self) -> Result<(), AttestationError> {
        if self.u16()? != TPM_ALG_NULL {
            return Err(AttestationError::Tpm("pubArea is not a signing key"));
        }
        self.skip_scheme()
    }
    /// A scheme is TPM_ALG_NULL, or its number and the number of a hash.
    fn skip_scheme(&mut self) -> Result<(), AttestationError> {
        if self.u16()? != TPM_ALG_NULL {
            self.take(2)?;
        }
        Ok(())
    }
    fn end(&self) -> Result<(), AttestationError> {
        if self.0.is_empty() { Ok(()) } else { Err(AttestationError::Tpm("bytes are left over")) }
    }
}

/// RSASSA-PKCS1-v1_5 with SHA-1, in COSE's numbers.
const RS1: i64 = -65535;
const TRUNCATED: AttestationError = AttestationError::Tpm("a structure ends early");
const TPM_GENERATED_VALUE: u32 = 0xff54_4347;
const TPM_ST_ATTEST_CERTIFY: u16 = 0x8017;
const TPM_ALG_RSA: u16 = 0x0001;
const TPM_ALG_NULL: u16 = 0x0010;
const TPM_ALG_ECC: u16 = 0x0023;
const TPM_MANUFACTURER: &str = "2.23.133.2.1";
const TPM_MODEL: &str = "2.23.133.2.2";
const TPM_VERSION: &str = "2.23.133.2.3";
const AIK_CERTIFICATE: &str = "2.23.133.8.3";
