//! Authenticator data, as far as a client reads it (WebAuthn §6.1).

use super::Error;
use crate::cbor::Map;

/// Authenticator data, taken apart.
///
/// | offset | what |
/// |---|---|
/// | 0 | SHA-256 of the RP ID, 32 bytes |
/// | 32 | flags |
/// | 33 | signature counter, 4 bytes, big-endian |
/// | 37 | with flag AT: AAGUID (16), length of the id (2), id, COSE_Key |
/// | … | with flag ED: a CBOR map of extension outputs |
pub(crate) struct AuthenticatorData {
    /// The credential that was made, if one was.
    pub(crate) attested: Option<Attested>,
    /// Outputs of the authenticator's extensions.
    pub(crate) extensions: Map,
}

/// Attested credential data.
pub(crate) struct Attested {
    pub(crate) aaguid: [u8; 16],
    pub(crate) id: Vec<u8>,
    pub(crate) key: Map,
}

const FLAG_AT: u8 = 0x40;
const FLAG_ED: u8 = 0x80;

impl AuthenticatorData {
    /// The parts of these bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let short = Error::BadAnswer("the authenticator data is cut short");
        let Some((head, mut rest)) = bytes.split_at_checked(37) else { return Err(short) };
        let flags = head[32];
        let mut attested = None;
        if flags & FLAG_AT != 0 {
            let (parsed, after) = Attested::parse(rest)?;
            (attested, rest) = (Some(parsed), after);
        }
        let mut extensions = Map::new();
        if flags & FLAG_ED != 0 {
            (extensions, rest) = Map::decode_first(rest)?;
        }
        if !rest.is_empty() {
            return Err(Error::BadAnswer("bytes after the authenticator data"));
        }
        Ok(AuthenticatorData { attested, extensions })
    }
}

impl Attested {
    fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let short = || Error::BadAnswer("the attested credential data is cut short");
        let (aaguid, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (id, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(short)?;
        let (key, rest) = Map::decode_first(rest)?;
        Ok((Attested { aaguid: *aaguid, id: id.to_vec(), key }, rest))
    }
}
