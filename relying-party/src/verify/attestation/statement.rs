//! Reading the members of an attestation statement.

use super::super::cbor::{self, Value};
use super::super::certificate::Certificate;
use super::super::cose;
use super::super::signature::Scheme;
use super::AttestationError;

/// Most certificates in `x5c`; the longest chains in use have 4.
const MAX_CERTIFICATES: usize = 8;

/// A statement that is a map.
#[derive(Clone, Copy)]
pub(super) struct Statement<'v> {
    members: &'v [(Value, Value)],
}

impl<'v> Statement<'v> {
    /// Reads a map whose members are all among `allowed`.
    pub(super) fn open(value: &'v Value, allowed: &[&str]) -> Result<Self, AttestationError> {
        let members = value.as_map().ok_or(AttestationError::Shape)?;
        let known = |name: &Value| name.as_text().is_some_and(|name| allowed.contains(&name));
        if members.iter().all(|(name, _)| known(name)) {
            Ok(Self { members })
        } else {
            Err(AttestationError::UnexpectedMember)
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        cbor::member(self.members, name).is_some()
    }

    pub(super) fn bytes(&self, name: &'static str) -> Result<&'v [u8], AttestationError> {
        let value = cbor::member(self.members, name).and_then(Value::as_bytes);
        value.map(Vec::as_slice).ok_or(AttestationError::Member(name))
    }

    pub(super) fn text(&self, name: &'static str) -> Result<&'v str, AttestationError> {
        cbor::member(self.members, name).and_then(Value::as_text).ok_or(AttestationError::Member(name))
    }

    /// The number in `alg`.
    pub(super) fn alg(&self) -> Result<i64, AttestationError> {
        let alg = cbor::member(self.members, "alg").and_then(cbor::integer);
        alg.ok_or(AttestationError::Member("alg"))
    }

    /// `alg`, and how it signs.
    pub(super) fn algorithm(&self) -> Result<(i64, Scheme), AttestationError> {
        let alg = self.alg()?;
        let scheme = cose::scheme(alg).ok_or(AttestationError::Algorithm(alg))?;
        Ok((alg, scheme))
    }

    /// `x5c`: the attestation certificate, then those above it; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<Certificate>, AttestationError> {
        let listed = cbor::member(self.members, "x5c").and_then(Value::as_array);
        let listed = listed.filter(|listed| (1..=MAX_CERTIFICATES).contains(&listed.len()));
        let mut chain = Vec::new();
        for value in listed.ok_or(AttestationError::Member("x5c"))? {
            let der = value.as_bytes().ok_or(AttestationError::Member("x5c"))?;
            chain.push(Certificate::read(der)?);
        }
        Ok(chain)
    }
}
