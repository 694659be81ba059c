//! The relay's side of PIN escrow (`crate::escrow`): it counts guesses, and then answers them.
//!
//! The count is one row, lowered by one statement and durable before the answer leaves, whichever of the relays on one
//! database is asked: no two guesses share a count, none is free, and a relay that is killed has counted. Deposits are
//! sealed under a key that is not in the database. With the last guess the deposit is overwritten; copies that the
//! database's own log, dead rows or backups still hold are of no use without that key.

use std::fmt;
use std::string::{String, ToString as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::vec::Vec;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::Relay;
use super::store::{Database, RelayError};
use crate::escrow::{Deposit, GUESSES_MAX, is_question};
use crate::id::{CircleId, hash};

/// Deposits by circle; a destroyed one has no bytes.
pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS escrows (circle TEXT PRIMARY KEY, deposit BYTES NOT NULL, \
     proof TEXT NOT NULL, allowed BIGINT NOT NULL, remaining BIGINT NOT NULL, next_ms BIGINT NOT NULL)";

/// What a relay needs to keep escrows: its key, and the time.
#[derive(Clone)]
pub struct Keeper {
    key: KeeperKey,
    first_wait: Duration,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Clone, ZeroizeOnDrop)]
struct KeeperKey([u8; 32]);

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("first_wait", &self.first_wait).finish_non_exhaustive()
    }
}

impl Keeper {
    /// `key` seals deposits in the database: all relays on one have the same, and it belongs elsewhere. After a guess
    /// the next one must wait for `first_wait`, then twice as long, and so on. `clock` tells milliseconds since 1970.
    pub fn new(key: [u8; 32], first_wait: Duration, clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Keeper { key: KeeperKey(key), first_wait, clock }
    }

    fn seal(&self, circle: CircleId, deposit: &Deposit) -> Vec<u8> {
        let encoded = deposit.encode();
        // No two deposits are the same (each has a random share), so a hash of one is a nonce that comes once.
        let digest = hash(&[b"escrow nonce/1", &self.key.0, &circle.0, &encoded]).0;
        let nonce: [u8; 12] = digest[..12].try_into().expect("SHA-256 has 32 bytes");
        let payload = Payload { msg: &encoded, aad: &circle.0 };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload).expect("a deposit is short");
        [nonce.as_slice(), &sealed].concat()
    }

    fn open(&self, circle: CircleId, sealed: &[u8]) -> Option<Deposit> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<12>()?;
        let payload = Payload { msg: ciphertext, aad: &circle.0 };
        let opened = self.cipher().decrypt(&Nonce::from(*nonce), payload).ok()?;
        Deposit::decode(&Zeroizing::new(opened))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&self.key.0.into())
    }
}

impl Relay {
    fn keeper(&self) -> Result<&Keeper, RelayError> {
        self.0.keeper.as_ref().ok_or(RelayError::NotOffered)
    }

    async fn kept(&self, circle: &str, headers: &HeaderMap, bytes: &[u8]) -> Result<StatusCode, RelayError> {
        let circle = self.member(circle, headers).await?;
        let keeper = self.keeper()?;
        let deposit = Deposit::decode(bytes).ok_or(RelayError::Malformed)?;
        self.0.database.keep_deposit(circle, &keeper.seal(circle, &deposit), &deposit).await?;
        Ok(StatusCode::NO_CONTENT)
    }

    async fn answered(&self, circle: &str, question: &[u8]) -> Result<Vec<u8>, RelayError> {
        let keeper = self.keeper()?;
        let circle = CircleId::parse(circle).ok_or(RelayError::NotFound)?;
        if !is_question(question) {
            return Err(RelayError::Malformed);
        }
        let (sealed, left) = self.0.database.count_guess(circle, (keeper.clock)(), keeper.first_wait).await?;
        self.0.guesses.fetch_add(1, Ordering::Relaxed);
        if left == 0 {
            self.0.destroyed.fetch_add(1, Ordering::Relaxed);
        }
        // Another key than this relay's: somebody changed it, and what is there is of no use to anyone.
        let deposit = keeper.open(circle, &sealed).ok_or(RelayError::NotOffered)?;
        let answer = deposit.answer(question, left).ok_or(RelayError::Malformed)?;
        Ok(answer.encode())
    }
}

pub(super) async fn deposit(
    State(relay): State<Relay>,
    Path(circle): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, RelayError> {
    let kept = relay.kept(&circle, &headers, &body).await;
    kept.map_err(|error| relay.refuse(error))
}

pub(super) async fn status(
    State(relay): State<Relay>,
    Path(circle): Path<String>,
    headers: HeaderMap,
) -> Result<Vec<u8>, RelayError> {
    let circle = relay.member(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    let keeper = relay.keeper()?;
    let (allowed, left, next_ms) = relay.0.database.escrow(circle).await?.ok_or(RelayError::NotFound)?;
    let wait_ms = next_ms.saturating_sub((keeper.clock)());
    Ok([&[allowed, left], wait_ms.to_be_bytes().as_slice()].concat())
}

pub(super) async fn destroy(
    State(relay): State<Relay>,
    Path(circle): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, RelayError> {
    let circle = relay.member(&circle, &headers).await.map_err(|error| relay.refuse(error))?;
    relay.0.database.end_escrow(circle).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn guess(
    State(relay): State<Relay>,
    Path(circle): Path<String>,
    body: Bytes,
) -> Result<Vec<u8>, RelayError> {
    relay.answered(&circle, &body).await.map_err(|error| relay.refuse(error))
}

pub(super) async fn prove(
    State(relay): State<Relay>,
    Path(circle): Path<String>,
    body: Bytes,
) -> Result<StatusCode, RelayError> {
    let circle = CircleId::parse(&circle).ok_or(RelayError::NotFound)?;
    let proof = hash(&[&body]).to_string();
    match relay.0.database.begin_count_anew(circle, &proof).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(relay.refuse(RelayError::Unauthorized)),
    }
}

impl Database {
    async fn keep_deposit(
        &self,
        circle: CircleId,
        sealed: &[u8],
        deposit: &Deposit,
    ) -> Result<(), RelayError> {
        sqlx::query(
            "INSERT INTO escrows (circle, deposit, proof, allowed, remaining, next_ms) \
             VALUES ($1, $2, $3, $4, $4, 0) ON CONFLICT (circle) DO UPDATE SET deposit = excluded.deposit, \
             proof = excluded.proof, allowed = excluded.allowed, remaining = excluded.remaining, next_ms = 0",
        )
        .bind(circle.to_string())
        .bind(sealed.to_vec())
        .bind(deposit.proof_hash().to_string())
        .bind(i64::from(deposit.guesses))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Counts a guess, durably; the sealed deposit, and how many are left. With the last one the deposit is destroyed.
    async fn count_guess(
        &self,
        circle: CircleId,
        now_ms: u64,
        first_wait: Duration,
    ) -> Result<(Vec<u8>, u8), RelayError> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut transaction = self.pool.begin().await?;
        // One statement: whoever comes second waits for the row, and then finds what the first one left.
        let counted: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "UPDATE escrows SET remaining = remaining - 1, \
             next_ms = $2 + $3 * (CAST(1 AS BIGINT) << CAST(allowed - remaining AS INTEGER)) \
             WHERE circle = $1 AND remaining > 0 AND next_ms <= $2 RETURNING remaining, deposit",
        )
        .bind(circle.to_string())
        .bind(signed(now_ms))
        .bind(signed(u64::try_from(first_wait.as_millis()).unwrap_or(u64::MAX)).min(WAIT_MAX_MS))
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((left, sealed)) = counted else {
            transaction.rollback().await?;
            return Err(match self.escrow(circle).await? {
                None => RelayError::NotFound,
                Some((_, 0, _)) => RelayError::Destroyed,
                Some((.., next_ms)) => RelayError::TooSoon(next_ms.saturating_sub(now_ms)),
            });
        };
        if left == 0 {
            sqlx::query("UPDATE escrows SET deposit = $2, proof = '' WHERE circle = $1")
                .bind(circle.to_string())
                .bind(Vec::<u8>::new())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok((sealed, u8::try_from(left).unwrap_or(0)))
    }

    /// Guesses allowed and left, and when the next one may come, in milliseconds since 1970.
    async fn escrow(&self, circle: CircleId) -> Result<Option<(u8, u8, u64)>, RelayError> {
        let row: Option<(i64, i64, i64)> =
            sqlx::query_as("SELECT allowed, remaining, next_ms FROM escrows WHERE circle = $1")
                .bind(circle.to_string())
                .fetch_optional(&self.pool)
                .await?;
        let count = |number: i64| u8::try_from(number).unwrap_or(GUESSES_MAX);
        Ok(row.map(|(allowed, left, next_ms)| (count(allowed), count(left), next_ms.unsigned_abs())))
    }

    async fn end_escrow(&self, circle: CircleId) -> Result<(), RelayError> {
        sqlx::query("DELETE FROM escrows WHERE circle = $1")
            .bind(circle.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn begin_count_anew(&self, circle: CircleId, proof: &str) -> Result<bool, RelayError> {
        let anew = sqlx::query(
            "UPDATE escrows SET remaining = allowed, next_ms = 0 \
             WHERE circle = $1 AND proof = $2 AND remaining > 0",
        )
        .bind(circle.to_string())
        .bind(proof)
        .execute(&self.pool)
        .await?;
        Ok(anew.rows_affected() == 1)
    }
}

/// The longest first wait: doubled [`GUESSES_MAX`] times it still is a number.
const WAIT_MAX_MS: i64 = 24 * 60 * 60 * 1000;
