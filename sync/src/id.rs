//! Names of things: short hashes and random numbers, each its own type.

use core::fmt;

use sha2::{Digest as _, Sha256};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "("))?;
                self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str(")")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl $name {
            /// Reads what `Display` writes: lower-case hexadecimal, nothing else.
            pub fn parse(text: &str) -> Option<Self> {
                let mut bytes = [0; $bytes];
                if text.len() != 2 * bytes.len() {
                    return None;
                }
                for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
                    for digit in digits {
                        let digit = match digit {
                            b'0'..=b'9' => digit - b'0',
                            b'a'..=b'f' => digit - b'a' + 10,
                            _ => return None,
                        };
                        *byte = *byte << 4 | digit;
                    }
                }
                Some($name(bytes))
            }
        }
    };
}

identifier!(
    /// One user's set of devices: random, chosen by the founder.
    CircleId, 16
);
identifier!(
    /// One incarnation of one device: the hash of its identity key and its incarnation number.
    LogId, 8
);
identifier!(
    /// An epoch, named by the hash of its secret, so that two made at once do not collide.
    EpochId, 8
);
identifier!(
    /// A record: random, never used again.
    RecordId, 16
);
identifier!(
    /// What records that replace each other have in common. The host hashes RP ID and user handle into it.
    AccountId, 8
);
identifier!(
    /// The name of a sealed entry in a mailbox: the hash of its bytes.
    Name, 16
);
identifier!(
    /// SHA-256 of a body.
    Hash, 32
);

impl LogId {
    /// The log of this identity key (compressed SEC1) and incarnation.
    pub fn of(identity_key: &[u8], incarnation: u32) -> Self {
        LogId(prefix(&hash(&[b"log/1", identity_key, &incarnation.to_be_bytes()])))
    }
}

impl EpochId {
    /// The name of the epoch with this secret.
    pub fn of(circle: &CircleId, secret: &[u8; 32]) -> Self {
        EpochId(prefix(&hash(&[b"epoch/1", &circle.0, secret])))
    }
}

impl Name {
    /// The name of these sealed bytes.
    pub fn of(sealed: &[u8]) -> Self {
        Name(prefix(&hash(&[sealed])))
    }
}

impl Hash {
    /// The first eight bytes: what a dependency carries.
    pub fn short(&self) -> [u8; 8] {
        prefix(self)
    }
}

/// SHA-256 of the concatenation.
pub(crate) fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    Hash(hasher.finalize().into())
}

fn prefix<const N: usize>(hash: &Hash) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&hash.0[..N]);
    out
}
