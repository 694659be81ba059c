//! The client data that the authenticator signs over, byte for byte (WebAuthn §5.8.1.1).

use sha2::{Digest as _, Sha256};

use super::Caller;
use crate::text::base64url;

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
    pub(crate) fn new(ceremony: Ceremony, challenge: &[u8], caller: &Caller) -> Self {
        let kind = match ceremony {
            Ceremony::Create => "webauthn.create",
            Ceremony::Get => "webauthn.get",
        };
        // An origin is lower-case ASCII without quotes: nothing in it needs to be escaped.
        let mut json = format!(
            r#"{{"type":"{kind}","challenge":"{}","origin":"{}","crossOrigin":{}"#,
            base64url(challenge),
            caller.origin.as_str(),
            caller.cross_origin,
        );
        if let Some(top) = &caller.top_origin {
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
    use crate::client::Call;

    fn json(ceremony: Ceremony, challenge: &[u8], call: Call) -> String {
        String::from_utf8(ClientData::new(ceremony, challenge, &call.check().unwrap()).json).unwrap()
    }

    #[test]
    fn the_serialization_is_the_one_that_limited_verifiers_rely_on() {
        let call = || Call::by("https://example.org");
        assert_eq!(
            json(Ceremony::Create, &[0xfb, 0xff], call()),
            r#"{"type":"webauthn.create","challenge":"-_8","origin":"https://example.org","crossOrigin":false}"#
        );
        assert_eq!(
            json(Ceremony::Get, &[], call().framed_by(Some("https://example.com"), true)),
            r#"{"type":"webauthn.get","challenge":"","origin":"https://example.org","crossOrigin":true,"topOrigin":"https://example.com"}"#
        );
        assert_eq!(
            json(Ceremony::Get, &[], call().framed_by(None, true)),
            r#"{"type":"webauthn.get","challenge":"","origin":"https://example.org","crossOrigin":true}"#
        );
        assert_eq!(call().framed_by(None, false).check().err().unwrap().name(), "NotAllowedError");
    }
}
