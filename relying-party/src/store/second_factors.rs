//! Second factors: authenticator app, recovery code, remembered devices.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

use super::sql::sql;
use super::{Changes, Database, Result};

/// An authenticator app.
#[derive(Clone, Debug)]
pub(crate) struct Totp {
    pub(crate) app: SealedApp,
    pub(crate) created_at: i64,
}

/// An authenticator app's shared secret, sealed if there is a [key](crate::key).
#[derive(Clone, Default, Serialize, Deserialize, ZeroizeOnDrop)]
pub(crate) struct SealedApp {
    pub(crate) bytes: Vec<u8>,
    #[serde(default)]
    pub(crate) is_sealed: bool,
}

/// Tells no secret.
impl fmt::Debug for SealedApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedApp").field("is_sealed", &self.is_sealed).finish_non_exhaustive()
    }
}

impl Changes {
    /// Gives a user an authenticator app, whose first code was of this time step, on condition that there is none.
    pub(crate) fn add_totp(self, user_id: &str, new: &SealedApp, step: i64, now: i64) -> Self {
        // One that is not confirmed is what an older program began.
        let app = sql("INSERT INTO totp (user_id, secret, confirmed, last_step, created_at, sealed) \
             VALUES ($1, $2, 1, $3, $4, $5) ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, \
             confirmed = 1, last_step = excluded.last_step, created_at = excluded.created_at, \
             sealed = excluded.sealed WHERE totp.confirmed = 0");
        let app = app.bind(user_id).bind(&new.bytes).bind(step).bind(now).bind(new.is_sealed);
        self.and(app.or_nothing())
    }

    /// Removes the authenticator app, on condition that there is one. Remembered devices have passed it, and logins may
    /// have: they are forgotten, and void.
    pub(crate) fn remove_totp(self, user_id: &str) -> Self {
        let removal = sql("DELETE FROM totp WHERE user_id = $1").bind(user_id);
        self.void_proofs(user_id).and(removal.or_nothing()).forget_devices(user_id)
    }

    /// Sets the recovery code; an earlier one is void.
    pub(crate) fn put_recovery_code(self, user_id: &str, digest: &[u8], now: i64) -> Self {
        let code = sql("INSERT INTO recovery_codes (user_id, digest, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (user_id) DO UPDATE SET digest = excluded.digest, created_at = excluded.created_at");
        self.and(code.bind(user_id).bind(digest).bind(now))
    }

    /// Uses the recovery code up, on condition that it is this one.
    pub(crate) fn take_recovery_code(self, user_id: &str, digest: &[u8]) -> Self {
        let code = sql("DELETE FROM recovery_codes WHERE user_id = $1 AND digest = $2");
        self.and(code.bind(user_id).bind(digest).or_nothing())
    }

    /// Removes the recovery code, on condition that there is one. Logins may have passed it: they are void.
    pub(crate) fn remove_recovery_code(self, user_id: &str) -> Self {
        let removal = sql("DELETE FROM recovery_codes WHERE user_id = $1");
        self.void_proofs(user_id).and(removal.bind(user_id).or_nothing())
    }

    /// Forgets every remembered device of a user.
    pub(crate) fn forget_devices(self, user_id: &str) -> Self {
        self.and(sql("DELETE FROM remembered_devices WHERE user_id = $1").bind(user_id))
    }
}

impl Database {
    /// The user's authenticator app.
    pub(crate) async fn totp(&self, user_id: &str) -> Result<Option<Totp>> {
        let query = sql("SELECT secret, sealed, created_at FROM totp WHERE user_id = $1 AND confirmed = 1");
        let row: Option<(Vec<u8>, bool, i64)> = self.one(query.bind(user_id)).await?;
        let totp = |(bytes, is_sealed, created_at)| Totp { app: SealedApp { bytes, is_sealed }, created_at };
        Ok(row.map(totp))
    }

    /// Whose app's secret is not sealed, and the secret.
    pub(crate) async fn apps_in_clear(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.all(sql("SELECT user_id, secret FROM totp WHERE sealed = 0")).await
    }

    /// Seals the secret of an app that has been there before, unless somebody else has done so.
    pub(crate) async fn seal_app(&self, user_id: &str, app: &SealedApp) -> Result<()> {
        let sealing = sql("UPDATE totp SET secret = $2, sealed = 1 WHERE user_id = $1 AND sealed = 0");
        self.write(sealing.bind(user_id).bind(&app.bytes)).await.map(drop)
    }

    /// Whose app's secret is sealed, and what it is sealed as.
    pub(crate) async fn sealed_apps(&self) -> Result<Vec<(String, SealedApp)>> {
        let rows: Vec<(String, Vec<u8>)> =
            self.all(sql("SELECT user_id, secret FROM totp WHERE sealed = 1")).await?;
        Ok(rows.into_iter().map(|(user_id, bytes)| (user_id, SealedApp { bytes, is_sealed: true })).collect())
    }

    /// Uses a time step up: false if this one or a later one has been used.
    pub(crate) async fn use_totp_step(&self, user_id: &str, step: i64) -> Result<bool> {
        let done = self
            .write(
                sql("UPDATE totp SET last_step = $2 WHERE user_id = $1 AND confirmed = 1 AND last_step < $2")
                    .bind(user_id)
                    .bind(step),
            )
            .await?;
        Ok(done == 1)
    }

    /// When the user's recovery code was made, if there is one.
    pub(crate) async fn recovery_code_made_at(&self, user_id: &str) -> Result<Option<i64>> {
        let row: Option<(i64,)> =
            self.one(sql("SELECT created_at FROM recovery_codes WHERE user_id = $1").bind(user_id)).await?;
        Ok(row.map(|(created_at,)| created_at))
    }

    /// Remembers a device that passed the second factor, for so many days.
    pub(crate) async fn remember_device(
        &self,
        digest: &[u8],
        user_id: &str,
        now: i64,
        days: u32,
    ) -> Result<()> {
        let statement = sql("INSERT INTO remembered_devices (digest, user_id, remembered_at, expires_at) \
             VALUES ($1, $2, $3, $4)");
        let expires_at = now.saturating_add(i64::from(days) * DAY_MS);
        self.write(statement.bind(digest).bind(user_id).bind(now).bind(expires_at)).await?;
        Ok(())
    }

    /// Whether a device is remembered for a user: it was for as long as was said then, and is no longer than for as many
    /// days as policy says now.
    pub(crate) async fn is_remembered(
        &self,
        digest: &[u8],
        user_id: &str,
        now: i64,
        days: u32,
    ) -> Result<bool> {
        if days == 0 {
            return Ok(false);
        }
        let query = sql("SELECT expires_at FROM remembered_devices WHERE digest = $1 AND user_id = $2 \
             AND expires_at > $3 AND remembered_at > $4");
        let since = now.saturating_sub(i64::from(days) * DAY_MS);
        let row: Option<(i64,)> = self.one(query.bind(digest).bind(user_id).bind(now).bind(since)).await?;
        Ok(row.is_some())
    }
}

const DAY_MS: i64 = 86_400_000;
