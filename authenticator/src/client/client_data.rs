//! The client data that the authenticator signs over, byte for byte (WebAuthn §5.8.1.1).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::origin::Origin;

/// The ceremony, as the client data names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ceremony {
    Create,
    Get,
}

/// Serialized client data, and its hash.
pub(crate) struct ClientData {
    pub(crate) json: Vec<u8>,
    pub(crate) hash: [u8; 32],
}

impl ClientData {
    /// The serialization that limited verifiers rely on: these members, in this order, nothing between.
    pub(crate) fn new(
        ceremony: Ceremony,
        challenge: &[u8],
        origin: &Origin,
        top_origin: Option<&Origin>,
    ) -> Self {
        let kind = match ceremony {
            Ceremony::Create => "webauthn.create",
            Ceremony::Get => "webauthn.get",
        };
        // An origin is lower-case ASCII without quotes: nothing in it needs to be escaped.
        let mut json = format!(
            r#"{{"type":"{kind}","challenge":"{}","origin":"{}","crossOrigin":{}"#,
            BASE64_URL_SAFE_NO_PAD.encode(challenge),
            origin.as_str(),
            top_origin.is_some(),
        );
        if let Some(top) = top_origin {
            json += &format!(r#","topOrigin":"{}""#, top.as_str());
        }
        json += "}";
        let json = json.into_bytes();
        ClientData { hash: Sha256::digest(&json).into(), json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serialization_is_the_one_that_limited_verifiers_rely_on() {
        let origin = Origin::parse("https://example.org").unwrap();
        let data = ClientData::new(Ceremony::Create, &[0xfb, 0xff], &origin, None);
        let expected = r#"{"type":"webauthn.create","challenge":"-_8","origin":"https://example.org","crossOrigin":false}"#;
        assert_eq!(String::from_utf8(data.json).unwrap(), expected);
        let top = Origin::parse("https://example.com").unwrap();
        let data = ClientData::new(Ceremony::Get, &[], &origin, Some(&top));
        let expected = r#"{"type":"webauthn.get","challenge":"","origin":"https://example.org","crossOrigin":true,"topOrigin":"https://example.com"}"#;
        assert_eq!(String::from_utf8(data.json).unwrap(), expected);
    }
}
