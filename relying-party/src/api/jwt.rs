//! Tokens of our own: JSON Web Tokens signed with ES256 (RFC 7519, RFC 7518 §3.4), and nothing more general.
//!
//! The key comes from the secret that all processes share, so any of them verifies what another has signed. Whoever can
//! read that secret can sign, too: see [`key`](crate::key).

use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};

use crate::app::App;
use crate::secret;

/// What a token is for; a token of one kind is none of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An access token (RFC 9068).
    Access,
    /// An ID token, for the client.
    Id,
}

impl Kind {
    fn header(self) -> Value {
        let typ = match self {
            Self::Access => "at+jwt",
            Self::Id => "JWT",
        };
        json!({ "alg": "ES256", "typ": typ, "kid": KEY_ID })
    }
}

/// Signs claims.
pub(super) fn sign(app: &App, kind: Kind, claims: &Value) -> String {
    let part = |value: &Value| secret::text(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&kind.header()), part(claims));
    let signature: Signature = key(app).sign(signed.as_bytes());
    format!("{signed}.{}", secret::text(&signature.to_bytes()))
}

/// The claims of a token of this kind that we signed and that has not expired; `None` for anything else.
///
/// The header must be, byte for byte, the one we write: nobody else's choice of algorithm is listened to.
pub(super) fn verify(app: &App, kind: Kind, token: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    if header != secret::text(kind.header().to_string().as_bytes()) {
        return None;
    }
    let signature = Signature::from_slice(&secret::bytes(signature)?).ok()?;
    key(app).verifying_key().verify(signed.as_bytes(), &signature).ok()?;
    let claims: Value = serde_json::from_slice(&secret::bytes(claims)?).ok()?;
    (claims["exp"].as_i64()? > app.now() / 1000).then_some(claims)
}

/// The public key as a JSON Web Key, for whoever checks ID tokens.
pub(super) fn public_key(app: &App) -> Value {
    let point = key(app).verifying_key().to_sec1_point(false);
    let (x, y) = point.as_bytes()[1..].split_at(32);
    json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
        "x": secret::text(x), "y": secret::text(y),
    })
}

fn key(app: &App) -> SigningKey {
    // one digest in 2³² is no scalar of P-256; the next one is taken then
    (0_u8..=255)
        .find_map(|round| SigningKey::from_slice(&secret::keyed(&app.secret, &[b"jwt", &[round]])).ok())
        .expect("256 digests are not all above the order of the curve")
}

const KEY_ID: &str = "doppelkey-1";
