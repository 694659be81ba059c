//! What is said in a tunnel after the handshake (CTAP §11.5.1.6 to §11.5.1.8).

use ciborium::Value;
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::{PublicKey, SecretKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::noise::point;
use crate::cbor::Map;

/// A message of either side: a byte that says which, and its content.
#[derive(PartialEq, Eq)]
pub(super) enum Message {
    /// 0: nothing more will come.
    Shutdown,
    /// 1: a CTAP2 request (command and parameters) or its answer (status and response).
    Ctap(Vec<u8>),
    /// 2: a CBOR map of news, such as a link.
    Update(Vec<u8>),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Message::Shutdown => (0, [].as_slice()),
            Message::Ctap(content) => (1, content.as_slice()),
            Message::Update(content) => (2, content.as_slice()),
        };
        [&[kind], content].concat()
    }

    /// `None` if it is of no known kind.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, _) => Some(Message::Shutdown),
            (1, content) => Some(Message::Ctap(content.to_vec())),
            (2, content) => Some(Message::Update(content.to_vec())),
            _ => None,
        }
    }
}

/// The phone's first message: the answer to authenticatorGetInfo, under 1, so that nobody has to ask for it.
pub(super) fn greeting(info: &[u8]) -> Vec<u8> {
    Map::new().with(1, Value::Bytes(info.to_vec())).encode()
}

/// The answer to authenticatorGetInfo in a phone's first message. `None` if there is none.
pub(super) fn read_greeting(bytes: &[u8]) -> Option<Vec<u8>> {
    // Some phones pad within the map's end, too; what follows the map is not read.
    let (map, _) = Map::decode_first(bytes).ok()?;
    map.get(1)?.as_bytes().cloned()
}

/// What lets a platform call this phone without a QR code the next time.
///
/// | key | what |
/// |---|---|
/// | 1 | the contact id, by which the tunnel server reaches the phone |
/// | 2 | the link's id, by which the phone knows the platform: 8 bytes |
/// | 3 | the link's secret: 32 bytes |
/// | 4 | the phone's identity: a P-256 point, uncompressed |
/// | 5 | the phone's name |
/// | 6 | HMAC-SHA256 of the handshake's hash, under what both identities share: the phone has the key of 4 |
pub(super) struct Linking {
    pub(super) contact_id: Vec<u8>,
    pub(super) link_id: [u8; 8],
    pub(super) secret: Zeroizing<[u8; 32]>,
    pub(super) identity: PublicKey,
    pub(super) name: String,
}

impl Linking {
    /// An update that tells it: the phone's identity, the platform's from the QR code, and the hash of the handshake.
    pub(super) fn update(
        &self,
        phone: &SecretKey,
        platform: &PublicKey,
        handshake_hash: &[u8; 32],
    ) -> Message {
        let signature = signature(phone, platform, handshake_hash).finalize().into_bytes();
        let linking = Map::new()
            .with(1, Value::Bytes(self.contact_id.clone()))
            .with(2, Value::Bytes(self.link_id.to_vec()))
            .with(3, Value::Bytes(self.secret.to_vec()))
            .with(4, Value::Bytes(point(&self.identity)))
            .with(5, self.name.as_str())
            .with(6, Value::Bytes(signature.to_vec()));
        Message::Update(Map::new().with(1, linking).encode())
    }

    /// The link in an update; `None` if there is none, or it is not signed by whom it names.
    pub(super) fn read(update: &[u8], platform: &SecretKey, handshake_hash: &[u8; 32]) -> Option<Self> {
        let (update, _) = Map::decode_first(update).ok()?;
        let linking = update.map(1).ok()??;
        let bytes = |key| linking.get(key)?.as_bytes().map(Vec::as_slice);
        let identity = PublicKey::from_sec1_bytes(bytes(4)?).ok()?;
        signature(platform, &identity, handshake_hash).verify_slice(bytes(6)?).ok()?;
        Some(Linking {
            contact_id: bytes(1)?.to_vec(),
            link_id: bytes(2)?.try_into().ok()?,
            secret: Zeroizing::new(bytes(3)?.try_into().ok()?),
            identity,
            name: linking.get(5)?.as_text()?.to_owned(),
        })
    }
}

fn signature(ours: &SecretKey, theirs: &PublicKey, handshake_hash: &[u8; 32]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(ours.diffie_hellman(theirs).raw_secret_bytes())
        .expect("HMAC takes keys of every length");
    mac.update(handshake_hash);
    mac
}

#[cfg(test)]
mod tests {
    use p256::elliptic_curve::Generate as _;

    use super::*;
    use crate::hybrid::tests::rng;

    #[test]
    fn messages_come_back_and_unknown_ones_are_none() {
        for message in [Message::Shutdown, Message::Ctap(vec![4]), Message::Update(vec![0xa0])] {
            assert!(Message::decode(&message.encode()) == Some(message));
        }
        assert!(Message::decode(&[]).is_none());
        assert!(Message::decode(&[3, 1]).is_none());
    }

    #[test]
    fn a_link_is_believed_only_from_whom_it_names_and_of_this_handshake() {
        let key = |seed| SecretKey::generate_from_rng(&mut rng(seed));
        let (phone, platform) = (key(1), key(2));
        let linking = Linking {
            contact_id: vec![1, 2, 3],
            link_id: [4; 8],
            secret: Zeroizing::new([5; 32]),
            identity: phone.public_key(),
            name: "Mona's phone".into(),
        };
        let Message::Update(update) = linking.update(&phone, &platform.public_key(), &[9; 32]) else {
            panic!("an update")
        };
        let read = Linking::read(&update, &platform, &[9; 32]).expect("it is the phone's");
        assert_eq!((read.name.as_str(), read.link_id, *read.secret), ("Mona's phone", [4; 8], [5; 32]));
        assert!(Linking::read(&update, &platform, &[8; 32]).is_none(), "of another handshake");
        assert!(Linking::read(&update, &key(3), &[9; 32]).is_none(), "for another platform");
        let Message::Update(forged) = linking.update(&key(4), &platform.public_key(), &[9; 32]) else {
            panic!("an update")
        };
        assert!(Linking::read(&forged, &platform, &[9; 32]).is_none(), "by another phone");
        assert!(Linking::read(&[0xa0], &platform, &[9; 32]).is_none());
        assert!(Linking::read(&[0xff], &platform, &[9; 32]).is_none());
    }
}
