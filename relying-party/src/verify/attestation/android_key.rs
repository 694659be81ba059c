//! Android key attestation (WebAuthn Level 3 §8.4): the key store's description of the key in a certificate.
//!
//! The W3C test vector has two *empty* authorization lists. The procedure wants the origin and the purpose of
//! the key in them, so that vector is refused: nothing in it says that the key was generated in the key store,
//! or that it is for signing.

use der::asn1::{AnyRef, ContextSpecific, OctetStringRef};
use der::{Decode as _, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};

use super::super::cbor::Value;
use super::statement::Statement;
use super::{Attestation, AttestationError, AttestationKind, Subject, certified};

pub(super) fn verify(value: &Value, subject: &Subject<'_>) -> Result<Attestation, AttestationError> {
    let statement = Statement::open(value, &["alg", "sig", "x5c"])?;
    let (_, scheme) = statement.algorithm()?;
    let chain = statement.certificates()?;
    let key = chain[0].key()?;
    if !key.verify(scheme, &subject.message(), statement.bytes("sig")?) {
        return Err(AttestationError::SignatureInvalid);
    }
    if key != subject.key.key {
        return Err(AttestationError::KeyMismatch);
    }
    let (_, extension) = chain[0].extension(KEY_DESCRIPTION)?.ok_or(MALFORMED)?;
    let description = KeyDescription::read(extension).map_err(|_| MALFORMED)?;
    if description.challenge != subject.client_data_hash {
        return Err(AttestationError::DataMismatch("attestationChallenge"));
    }
    description.check_lists()?;
    Ok(certified(AttestationKind::Certified, chain))
}

/// The parts of the extension that matter.
struct KeyDescription<'a> {
    challenge: &'a [u8],
    software: AuthorizationList<'a>,
    hardware: AuthorizationList<'a>,
}

impl<'a> KeyDescription<'a> {
    /// Version and security level of attestation and of key store, challenge, unique id, the two lists.
    fn read(der: &'a [u8]) -> Result<Self, der::Error> {
        let mut reader = SliceReader::new(der)?;
        let description = reader.sequence(|fields| {
            for _ in 0..4 {
                AnyRef::decode(fields)?;
            }
            let challenge = <&OctetStringRef>::decode(fields)?.as_bytes();
            <&OctetStringRef>::decode(fields)?;
            let software = AuthorizationList::read(AnyRef::decode(fields)?)?;
            let hardware = AuthorizationList::read(AnyRef::decode(fields)?)?;
            Ok::<_, der::Error>(Self { challenge, software, hardware })
        })?;
        reader.finish()?;
        Ok(description)
    }

    /// The union of both lists: whether the key store is in hardware is a matter of trust, not of form.
    fn check_lists(&self) -> Result<(), AttestationError> {
        let lists = [&self.software, &self.hardware];
        if lists.iter().any(|list| list.all_applications) {
            return Err(AttestationError::AndroidKey("the key is for all applications"));
        }
        let origins: Vec<_> = lists.iter().filter_map(|list| list.origin).collect();
        if origins.is_empty() {
            return Err(AttestationError::AndroidKey("no authorization list tells the origin of the key"));
        }
        if origins.iter().any(|origin| origin != &[KM_ORIGIN_GENERATED]) {
            return Err(AttestationError::AndroidKey("the key was not generated in the key store"));
        }
        let mut purposes = lists.iter().flat_map(|list| &list.purposes).peekable();
        if purposes.peek().is_none() {
            return Err(AttestationError::AndroidKey("no authorization list tells the purpose of the key"));
        }
        if purposes.any(|purpose| purpose != &[KM_PURPOSE_SIGN]) {
            return Err(AttestationError::AndroidKey("the key is not for signing only"));
        }
        Ok(())
    }
}

/// Three of the many members of an authorization list; integers as their DER content.
#[derive(Default)]
struct AuthorizationList<'a> {
    purposes: Vec<&'a [u8]>,
    all_applications: bool,
    origin: Option<&'a [u8]>,
}

impl<'a> AuthorizationList<'a> {
    fn read(sequence: AnyRef<'a>) -> Result<Self, der::Error> {
        sequence.tag().assert_eq(Tag::Sequence)?;
        let mut list = Self::default();
        let mut members = SliceReader::new(sequence.value())?;
        while !members.is_finished() {
            let member = ContextSpecific::<AnyRef<'a>>::decode(&mut members)?;
            match member.tag_number {
                PURPOSE => list.purposes = integers(member.value)?,
                ALL_APPLICATIONS => list.all_applications = true,
                ORIGIN => list.origin = Some(member.value.value()),
                _ => {}
            }
        }
        Ok(list)
    }
}

fn integers<'a>(set: AnyRef<'a>) -> Result<Vec<&'a [u8]>, der::Error> {
    let mut reader = SliceReader::new(set.value())?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::<'a>::decode(&mut reader)?.value());
    }
    Ok(found)
}

const MALFORMED: AttestationError = AttestationError::Member("key description");
const KEY_DESCRIPTION: &str = "1.3.6.1.4.1.11129.2.1.17";
const PURPOSE: TagNumber = TagNumber(1);
const ALL_APPLICATIONS: TagNumber = TagNumber(600);
const ORIGIN: TagNumber = TagNumber(702);
const KM_ORIGIN_GENERATED: u8 = 0;
const KM_PURPOSE_SIGN: u8 = 2;
