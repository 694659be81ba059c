//! PIN, built-in user verification and pinUvAuthTokens: the state of CTAP §6.5.
//!
//! Two halves. [`PinRecord`] is what survives a power cycle and is written before it counts: a retry is spent in the
//! store before the PIN is compared, so pulling the plug buys no further guess. [`PinUv`] is the whole state of one
//! power-up; command handlers speak to it alone.

mod record;
mod token;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::pin_protocol::{KeyAgreement, Protocol};
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

use record::PinRecord;
use token::Token;

pub(crate) use token::Permissions;

/// How many wrong PINs in a row make a power cycle necessary (§6.5.5.5 and others).
const MISMATCHES_MAX: u8 = 3;

/// The state of PIN and user verification during one power-up.
///
/// The stored record is read for every use: others may change the store between two commands.
pub(crate) struct PinUv {
    /// maxPinRetries and maxUvRetries (§6.5.2.2).
    pin_retries_max: u8,
    uv_retries_max: u8,
    key_agreement: Option<KeyAgreement>,
    token: Option<Token>,
    /// Wrong PINs in a row since power-up.
    mismatches: u8,
    /// Built-in verifications that succeeded and are in no record yet: a sign-in must not wait for the store only to
    /// count itself. They are lost with the power, unless a record is written before.
    uncounted: u32,
}

/// What a token is issued for.
pub(crate) struct Grant {
    pub(crate) protocol: Protocol,
    pub(crate) permissions: Permissions,
    /// SHA-256 of the permissions RP ID, where one was given.
    pub(crate) rp_id_hash: Option<[u8; 32]>,
    /// Whether the user was present when verifying: so with built-in verification, not so with a PIN.
    pub(crate) user_present: bool,
}

/// For makeCredential, getAssertion and whoever else is handed a pinUvAuthParam.
impl PinUv {
    /// The state at power-up, of an authenticator that allows this many wrong PINs and failed verifications.
    pub(crate) const fn new(pin_retries_max: u8, uv_retries_max: u8) -> Self {
        PinUv {
            pin_retries_max,
            uv_retries_max,
            key_agreement: None,
            token: None,
            mismatches: 0,
            uncounted: 0,
        }
    }

    /// `verify(pinUvAuthToken, message, pinUvAuthParam)` and the checks of a permission that go with it.
    ///
    /// # Errors
    /// [`Status::PinAuthInvalid`]: no token is in use, it is not this protocol's, the parameter was not made with
    /// it, or it lacks the permission.
    pub(crate) fn verify(
        &mut self,
        now: Time,
        protocol: Protocol,
        message: &[&[u8]],
        parameter: &[u8],
        permission: Permissions,
    ) -> Step {
        let token = self.in_use(now).ok_or(Status::PinAuthInvalid)?;
        if token.protocol != protocol || !protocol.verify(&token.bytes, message, parameter) {
            return Err(Status::PinAuthInvalid);
        }
        token.used = true;
        if token.permissions.any(permission) { Ok(()) } else { Err(Status::PinAuthInvalid) }
    }

    /// The checks that makeCredential and getAssertion make of a pinUvAuthParam (§6.1.2 step 11.1.1, §6.2.2
    /// step 6.1.1): that it verifies, that the token has the permission, that the user was verified, and that it is
    /// for this RP; a token that is for none yet becomes this one's. After it the user counts as verified.
    ///
    /// # Errors
    /// [`Status::PinAuthInvalid`].
    pub(crate) fn authorize(
        &mut self,
        now: Time,
        protocol: Protocol,
        client_data_hash: &[u8],
        parameter: &[u8],
        permission: Permissions,
        rp_id_hash: &[u8; 32],
    ) -> Step {
        self.verify(now, protocol, &[client_data_hash], parameter, permission)?;
        let token = self.in_use(now).ok_or(Status::PinAuthInvalid)?;
        if !token.user_verified || token.rp_id_hash.is_some_and(|bound| bound != *rp_id_hash) {
            return Err(Status::PinAuthInvalid);
        }
        token.rp_id_hash = Some(*rp_id_hash);
        Ok(())
    }

    /// Whether the token in use brings the user's presence with it (getUserPresentFlagValue).
    pub(crate) fn user_present(&mut self, now: Time) -> bool {
        self.in_use(now).is_some_and(|token| token.user_present(now))
    }

    /// Whether built-in verification issued the token, and not a PIN. Of a token that is over, too: whoever authorizes
    /// with that one is refused.
    pub(crate) fn is_token_by_built_in(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.by_built_in)
    }

    /// SHA-256 of the RP ID the token in use is bound to.
    pub(crate) fn bound_to(&mut self, now: Time) -> Option<[u8; 32]> {
        self.in_use(now)?.rp_id_hash
    }

    /// Takes what a ceremony takes from a token: presence, verification, and every permission but lbw. To be called
    /// when user presence was collected (§6.1.2 step 14.3, §6.2.2 step 9.3).
    pub(crate) fn spend(&mut self) {
        if let Some(token) = &mut self.token {
            token.spend();
        }
    }

    /// The token, unless its time is over.
    fn in_use(&mut self, now: Time) -> Option<&mut Token> {
        if self.token.as_ref().is_some_and(|token| !token.is_in_use(now)) {
            self.token = None;
        }
        self.token.as_mut()
    }
}

/// For getInfo and for decisions that depend on whether the user can be verified.
impl PinUv {
    pub(crate) fn is_pin_set(&self, store: &mut impl CredentialStore) -> Step<bool> {
        Ok(PinRecord::load(store)?.is_pin_set())
    }

    /// PINCodePointLength; `None` without a PIN.
    pub(crate) fn pin_length(&self, store: &mut impl CredentialStore) -> Step<Option<u8>> {
        Ok(PinRecord::load(store)?.pin_length())
    }

    /// pinRetries, and whether a power cycle must come before the next one.
    pub(crate) fn pin_retries(&self, store: &mut impl CredentialStore) -> Step<(u8, bool)> {
        let retries = self.pin_retries_left(&PinRecord::load(store)?);
        Ok((retries, retries > 0 && self.mismatches >= MISMATCHES_MAX))
    }

    pub(crate) fn uv_retries(&self, store: &mut impl CredentialStore) -> Step<u8> {
        Ok(self.uv_retries_left(&PinRecord::load(store)?))
    }

    /// getInfo's uvCountSinceLastPinEntry: built-in verifications, failed ones too, since the last correct PIN.
    pub(crate) fn uv_count(&self, store: &mut impl CredentialStore) -> Step<u32> {
        Ok(PinRecord::load(store)?.uv_count.saturating_add(self.uncounted))
    }

    /// The persistent pinUvAuthToken, if one was issued since the PIN was last changed.
    pub(crate) fn persistent_token(
        &self,
        store: &mut impl CredentialStore,
    ) -> Step<Option<Zeroizing<[u8; 32]>>> {
        if !cfg!(feature = "persistent-token") {
            return Ok(None);
        }
        Ok(PinRecord::load(store)?.persistent_token.map(Zeroizing::new))
    }

    fn pin_retries_left(&self, record: &PinRecord) -> u8 {
        self.pin_retries_max.saturating_sub(record.wrong_pins)
    }

    fn uv_retries_left(&self, record: &PinRecord) -> u8 {
        self.uv_retries_max.saturating_sub(record.failed_verifications)
    }
}

/// For built-in user verification (§6.5.3.1, performBuiltInUv).
impl PinUv {
    /// Refuses when too many verifications failed.
    ///
    /// # Errors
    /// [`Status::UvBlocked`].
    pub(crate) fn require_uv_unblocked(&self, store: &mut impl CredentialStore) -> Step {
        if self.uv_retries(store)? == 0 { Err(Status::UvBlocked) } else { Ok(()) }
    }

    /// Takes down how a verification went.
    ///
    /// # Errors
    /// For one that failed: [`Status::UvInvalid`], or [`Status::UvBlocked`] if it was the last retry.
    pub(crate) fn verified_built_in(&mut self, store: &mut impl CredentialStore, success: bool) -> Step {
        self.uncounted = self.uncounted.saturating_add(1);
        if success && PinRecord::load(store)?.failed_verifications == 0 {
            return Ok(());
        }
        let uncounted = core::mem::take(&mut self.uncounted);
        let record = change(store, |record| {
            record.uv_count = record.uv_count.saturating_add(uncounted);
            record.failed_verifications =
                if success { 0 } else { record.failed_verifications.saturating_add(1) };
        })?;
        match (success, self.uv_retries_left(&record)) {
            (true, _) => Ok(()),
            (false, 0) => Err(Status::UvBlocked),
            (false, _) => Err(Status::UvInvalid),
        }
    }
}

/// For clientPIN.
impl PinUv {
    /// The key pair for key agreement: one for both protocols, made at first need after power-up (§6.5.6, initialize).
    pub(crate) fn key_agreement(&mut self, rng: &mut impl CryptoRng) -> &KeyAgreement {
        self.key_agreement.get_or_insert_with(|| KeyAgreement::generate(rng))
    }

    /// Refuses where no PIN may be tried.
    ///
    /// # Errors
    /// [`Status::PinNotSet`]; [`Status::PinBlocked`] when only a reset helps, [`Status::PinAuthBlocked`] when a power
    /// cycle does.
    pub(crate) fn require_pin_unblocked(&self, store: &mut impl CredentialStore) -> Step {
        let record = PinRecord::load(store)?;
        if !record.is_pin_set() {
            return Err(Status::PinNotSet);
        }
        if self.pin_retries_left(&record) == 0 {
            return Err(Status::PinBlocked);
        }
        if self.mismatches >= MISMATCHES_MAX { Err(Status::PinAuthBlocked) } else { Ok(()) }
    }

    /// Compares a PIN's hash with the stored one (§6.5.5.7.1 steps 7 to 10). The retry is spent before the compare
    /// and given back after a match.
    ///
    /// # Errors
    /// As [`PinUv::require_pin_unblocked`], and [`Status::PinInvalid`] for a wrong PIN; a wrong one also renews the
    /// key pair (regenerate).
    pub(crate) fn check_pin(
        &mut self,
        store: &mut impl CredentialStore,
        rng: &mut impl CryptoRng,
        hash: &[u8],
    ) -> Step {
        self.require_pin_unblocked(store)?;
        let record = change(store, |record| record.wrong_pins = record.wrong_pins.saturating_add(1))?;
        if !record.is_pin(hash) {
            self.mismatches += 1;
            self.key_agreement = Some(KeyAgreement::generate(rng));
            return Err(match self.pin_retries_left(&record) {
                0 => Status::PinBlocked,
                _ if self.mismatches >= MISMATCHES_MAX => Status::PinAuthBlocked,
                _ => Status::PinInvalid,
            });
        }
        (self.mismatches, self.uncounted) = (0, 0);
        change(store, |record| {
            record.wrong_pins = 0;
            // A PIN is the way out of blocked built-in verification.
            record.failed_verifications = 0;
            record.uv_count = 0;
        })?;
        Ok(())
    }

    /// Whether this is the hash of the PIN that is set; spends nothing. Only for after a correct PIN.
    pub(crate) fn is_current_pin(&self, store: &mut impl CredentialStore, hash: &[u8; 16]) -> Step<bool> {
        Ok(PinRecord::load(store)?.is_pin(hash))
    }

    /// Sets a PIN, or another one. Every token ends, the persistent one too (§6.5.5.5, §6.5.5.6).
    pub(crate) fn set_pin(
        &mut self,
        store: &mut impl CredentialStore,
        hash: &[u8; 16],
        code_points: u8,
    ) -> Step {
        change(store, |record| {
            record.set_pin(hash, code_points);
            record.wrong_pins = 0;
            record.persistent_token = None;
        })?;
        self.token = None;
        Ok(())
    }

    /// Ends every token and issues a new one (resetPinUvAuthToken, beginUsingPinUvAuthToken). For
    /// [`Permissions::PERSISTENT_READ_ONLY`], which is granted alone, it is the persistent one.
    pub(crate) fn issue(
        &mut self,
        now: Time,
        store: &mut impl CredentialStore,
        rng: &mut impl CryptoRng,
        grant: &Grant,
    ) -> Step<Zeroizing<[u8; 32]>> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        if grant.permissions.any(Permissions::PERSISTENT_READ_ONLY) {
            change(store, |record| *bytes = *record.persistent_token.get_or_insert(*bytes))?;
            return Ok(bytes);
        }
        self.token = Some(Token::begin(
            *bytes,
            grant.protocol,
            grant.permissions,
            grant.rp_id_hash,
            grant.user_present,
            now,
        ));
        Ok(bytes)
    }

    /// Ends the token in use (stopUsingPinUvAuthToken).
    pub(crate) fn end_token(&mut self) {
        self.token = None;
    }

    /// Ends the persistent token (resetPersistentPinUvAuthToken).
    pub(crate) fn end_persistent_token(&self, store: &mut impl CredentialStore) -> Step {
        change(store, |record| record.persistent_token = None)?;
        Ok(())
    }

    /// `verify` with the persistent token, whose only permission is pcmr.
    ///
    /// # Errors
    /// [`Status::PinAuthInvalid`].
    pub(crate) fn verify_persistent(
        &self,
        store: &mut impl CredentialStore,
        protocol: Protocol,
        message: &[&[u8]],
        parameter: &[u8],
    ) -> Step {
        let token = self.persistent_token(store)?.ok_or(Status::PinAuthInvalid)?;
        if protocol.verify(&token, message, parameter) { Ok(()) } else { Err(Status::PinAuthInvalid) }
    }

    /// Forgets everything, as the store did (authenticatorReset). Wrong PINs since power-up no longer count: there
    /// is no PIN they were wrong for.
    pub(crate) fn reset(&mut self) {
        *self = PinUv::new(self.pin_retries_max, self.uv_retries_max);
    }
}

/// What can be told of the PIN from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinStatus {
    /// Whether a PIN is set.
    pub is_set: bool,
    /// How many wrong PINs there were in a row.
    pub wrong_pins: u8,
    /// How often built-in verification failed in a row.
    pub failed_verifications: u8,
}

/// The state of the PIN in this store, for whoever administers it from outside.
///
/// # Errors
/// [`StoreError::Fault`](crate::StoreError) for a record that cannot be read: never "no PIN".
pub fn pin_status(store: &mut impl CredentialStore) -> Result<PinStatus, crate::StoreError> {
    let record = PinRecord::load(store).map_err(|_| crate::StoreError::Fault)?;
    Ok(PinStatus {
        is_set: record.is_pin_set(),
        wrong_pins: record.wrong_pins,
        failed_verifications: record.failed_verifications,
    })
}

/// Removes the PIN, every failed attempt and the persistent token, for whoever administers the store from outside:
/// a platform can only reset. An authenticator that is running on the store must be powered up anew.
///
/// # Errors
/// As [`CredentialStore::write`].
pub fn remove_pin(store: &mut impl CredentialStore) -> Result<(), crate::StoreError> {
    store.write(crate::Slot::Pin, &PinRecord::new().encode())
}

/// Changes the record in the store, and gives the changed one.
fn change(store: &mut impl CredentialStore, change: impl FnOnce(&mut PinRecord)) -> Step<PinRecord> {
    let before = PinRecord::load(store)?;
    let mut after = before.clone();
    change(&mut after);
    if after != before {
        after.save(store)?;
    }
    Ok(after)
}
