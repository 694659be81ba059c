//! What a QR code says to a phone (CTAP §11.5.1.2).

use std::fmt;

use ciborium::Value;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::digits;
use super::secrets::{Purpose, derive};
use crate::cbor::{Map, unsigned};

/// What the platform is about to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// authenticatorMakeCredential.
    Create,
    /// authenticatorGetAssertion.
    Get,
}

impl Operation {
    /// As a QR code and a contact say it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Operation::Create => "mc",
            Operation::Get => "ga",
        }
    }

    /// Hints that are not known are taken for "ga".
    pub(super) fn from_hint(hint: Option<&str>) -> Self {
        if hint == Some("mc") { Operation::Create } else { Operation::Get }
    }
}

/// A QR code: `FIDO:/` and the digits of a CBOR map.
///
/// | key | what |
/// |---|---|
/// | 0 | the platform's identity for this one use: a P-256 point, compressed |
/// | 1 | 16 random bytes, from which all other secrets of this use come |
/// | 2 | how many assigned tunnel server domains the platform knows |
/// | 3 | when it was made, in seconds since 1970 |
/// | 4 | whether the platform takes linking information, for a next time without a QR code |
/// | 5 | `mc` or `ga`: what will be asked for |
/// | 6 | whether credentials that are not discoverable may be made |
///
/// Shown, it is a secret: whoever sees it and is near can answer in the phone's place.
#[derive(Clone)]
pub struct QrCode {
    pub(super) identity: PublicKey,
    secret: Zeroizing<[u8; 16]>,
    known_domains: u64,
    time_s: Option<u64>,
    links: Option<bool>,
    operation: Operation,
    non_discoverable: Option<bool>,
}

impl QrCode {
    /// A fresh one, for one use, and the private half of its identity.
    pub(super) fn generate(
        operation: Operation,
        time_s: Option<u64>,
        mut rng: &mut dyn CryptoRng,
    ) -> (Self, SecretKey) {
        let identity = SecretKey::generate_from_rng(&mut rng);
        let mut secret = Zeroizing::new([0; 16]);
        rng.fill_bytes(secret.as_mut());
        let code = QrCode {
            identity: identity.public_key(),
            secret,
            known_domains: KNOWN_DOMAINS,
            time_s,
            links: Some(true),
            operation,
            non_discoverable: (operation == Operation::Create).then_some(true),
        };
        (code, identity)
    }

    /// Reads what a camera saw, or somebody pasted; upper or lower case. `None` if it is no such code.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, digits) = text.trim().split_at_checked(PREFIX.len())?;
        if !prefix.eq_ignore_ascii_case(PREFIX) || digits.len() > DIGITS_MAX {
            return None;
        }
        let map = Map::decode(&digits::decode(digits)?).ok()?;
        let identity = map.get(0)?.as_bytes().filter(|point| point.len() == 33)?;
        Some(QrCode {
            identity: PublicKey::from_sec1_bytes(identity).ok()?,
            secret: Zeroizing::new(map.get(1)?.as_bytes()?.as_slice().try_into().ok()?),
            known_domains: map.get(2).and_then(unsigned).unwrap_or(0),
            time_s: map.get(3).and_then(unsigned),
            links: map.get(4).and_then(Value::as_bool),
            operation: Operation::from_hint(map.get(5).and_then(Value::as_text)),
            non_discoverable: map.get(6).and_then(Value::as_bool),
        })
    }

    /// What the platform is about to ask for.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// When it was made, in seconds since 1970, where it says.
    pub fn time_s(&self) -> Option<u64> {
        self.time_s
    }

    /// Whether the platform takes linking information.
    pub fn takes_links(&self) -> bool {
        self.links == Some(true)
    }

    pub(super) fn eid_key(&self) -> Zeroizing<[u8; 64]> {
        derive(&*self.secret, &[], Purpose::EidKey)
    }

    pub(super) fn tunnel_id(&self) -> [u8; 16] {
        *derive(&*self.secret, &[], Purpose::TunnelId)
    }

    /// The handshake's pre-shared key, once an advertisement was heard (or sent).
    pub(super) fn psk(&self, eid: &[u8; 16]) -> Zeroizing<[u8; 32]> {
        derive(&*self.secret, eid, Purpose::Psk)
    }
}

/// The text that is drawn.
impl fmt::Display for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = Map::new()
            .with(0, Value::Bytes(self.identity.to_sec1_point(true).as_bytes().to_vec()))
            .with(1, Value::Bytes(self.secret.to_vec()))
            .with(2, self.known_domains)
            .with_some(3, self.time_s)
            .with_some(4, self.links)
            .with(5, self.operation.hint())
            .with_some(6, self.non_discoverable);
        write!(f, "{PREFIX}{}", digits::encode(&map.encode()))
    }
}

/// Says nothing of the secret.
impl fmt::Debug for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QrCode").field("operation", &self.operation).finish_non_exhaustive()
    }
}

const PREFIX: &str = "FIDO:/";
/// No code has more: the map has seven small members.
const DIGITS_MAX: usize = 1024;
/// The domains 0 and 1 are assigned.
const KNOWN_DOMAINS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hybrid::tests::rng;

    /// Drawn by Chrome, and by Safari on iOS; published in the tests of another implementation.
    const BROWSERS: [&str; 2] = [
        "FIDO:/1628707918656323825527042314383279001523025403480972438540399666553664697949544761991580141131792327\
         79520163209900691930075274801398564434658077048963842109321447142660",
        "FIDO:/0899621328781328628988753195098186559512339470601660269349416522038538449305972251840662378116148931\
         81300344014421205790072080843938838513707157859599106109321447142404",
    ];

    #[test]
    fn codes_of_browsers_are_read_and_written_alike() {
        for text in BROWSERS {
            let code = QrCode::parse(text).expect("a code");
            assert_eq!(code.to_string(), text);
            assert_eq!(QrCode::parse(&text.to_lowercase()).expect("a code").to_string(), text);
            assert!(code.time_s().is_some_and(|time| time > 1_600_000_000));
        }
    }

    #[test]
    fn a_code_of_ours_comes_back() {
        let (code, identity) = QrCode::generate(Operation::Create, Some(1_700_000_000), &mut rng(1));
        let read = QrCode::parse(&format!(" {code}\n")).expect("a code");
        assert_eq!(read.to_string(), code.to_string());
        assert_eq!(read.identity, identity.public_key());
        assert_eq!((read.operation(), read.takes_links()), (Operation::Create, true));
        assert_eq!((read.eid_key(), read.tunnel_id()), (code.eid_key(), code.tunnel_id()));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let (code, _) = QrCode::generate(Operation::Get, None, &mut rng(2));
        let text = code.to_string();
        let cut = &text[..text.len() - 3];
        let no_point = format!("FIDO:/{}", digits::encode(&[0xa2, 0, 0x41, 0, 1, 0x41, 0]));
        for text in
            ["", "FIDO:/", "FIDO:/000", "https://example.com", "FIDO://123", "ﬁdo:/123", cut, &no_point]
        {
            assert!(QrCode::parse(text).is_none(), "{text}");
        }
        assert!(QrCode::parse(&format!("FIDO:/{}", "0".repeat(17 * 1000))).is_none());
    }
}
