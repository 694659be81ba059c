//! authenticatorClientPIN (CTAP §6.5.5).

mod new_pin;

use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use crate::authenticator::{Authenticator, Message, Reply};
use crate::cbor::{Map, Writer};
use crate::configuration::OptionId;
#[cfg(feature = "built-in-verification")]
use crate::pending::Pending;
use crate::pin::{Grant, Permissions};
use crate::pin_protocol::SharedSecret;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

use new_pin::NewPin;

/// A getPinUvAuthTokenUsingUvWithPermissions that waits for the user.
pub(crate) struct UvTokenRequest {
    secret: SharedSecret,
    grant: Grant,
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// authenticatorClientPIN.
    #[inline(never)]
    pub(crate) fn client_pin(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        response: &mut Message,
    ) -> Step<Reply> {
        let subcommand = parameters.required(SUBCOMMAND)?.byte()?;
        match subcommand {
            GET_PIN_RETRIES | SET_PIN | CHANGE_PIN | GET_PIN_TOKEN | GET_TOKEN_USING_PIN
                if !self.configuration.offers(OptionId::ClientPin) =>
            {
                Err(Status::InvalidSubcommand)
            }
            GET_UV_RETRIES | GET_TOKEN_USING_UV if !self.configuration.offers(OptionId::Uv) => {
                Err(Status::InvalidSubcommand)
            }
            GET_TOKEN_USING_PIN | GET_TOKEN_USING_UV
                if !self.configuration.offers(OptionId::PinUvAuthToken) =>
            {
                Err(Status::InvalidSubcommand)
            }
            GET_PIN_RETRIES => self.get_pin_retries(response),
            GET_KEY_AGREEMENT => self.get_key_agreement(parameters, response),
            SET_PIN => self.set_pin(parameters),
            CHANGE_PIN => self.change_pin(parameters),
            GET_PIN_TOKEN => self.get_pin_token(now, parameters, response),
            #[cfg(feature = "built-in-verification")]
            GET_TOKEN_USING_UV => self.get_token_using_uv(parameters),
            #[cfg(feature = "built-in-verification")]
            GET_UV_RETRIES => self.get_uv_retries(response),
            GET_TOKEN_USING_PIN => self.get_token_using_pin(now, parameters, response),
            _ => Err(Status::InvalidSubcommand),
        }
    }

    /// getPINRetries (§6.5.5.2).
    fn get_pin_retries(&mut self, response: &mut Message) -> Step<Reply> {
        if !self.pin.is_pin_set(&mut self.store)? {
            return Err(Status::PinNotSet);
        }
        let (retries, power_cycle) = self.pin.pin_retries(&mut self.store)?;
        let mut writer = Writer::new(response);
        writer.map(if power_cycle { 2 } else { 1 }).int(PIN_RETRIES).unsigned(retries.into());
        if power_cycle {
            writer.int(POWER_CYCLE_STATE).boolean(true);
        }
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// getUVRetries (§6.5.5.3).
    #[cfg(feature = "built-in-verification")]
    fn get_uv_retries(&mut self, response: &mut Message) -> Step<Reply> {
        let retries = self.pin.uv_retries(&mut self.store)?;
        let mut writer = Writer::new(response);
        writer.map(1).int(UV_RETRIES).unsigned(retries.into());
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// getKeyAgreement (§6.5.5.4).
    fn get_key_agreement(&mut self, parameters: Map<'_>, response: &mut Message) -> Step<Reply> {
        self.pin_uv_protocol(parameters.required(PROTOCOL)?)?;
        let mut writer = Writer::new(response);
        writer.map(1).int(KEY_AGREEMENT);
        self.pin.key_agreement(&mut self.rng).write_public(&mut writer);
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// setPIN (§6.5.5.5).
    fn set_pin(&mut self, parameters: Map<'_>) -> Step<Reply> {
        let new_pin = parameters.required(NEW_PIN_ENC)?.bytes()?;
        let parameter = parameters.required(PIN_UV_AUTH_PARAM)?.bytes()?;
        let secret = self.shared_secret(parameters, |this| {
            if this.pin.is_pin_set(&mut this.store)? { Err(Status::PinAuthInvalid) } else { Ok(()) }
        })?;
        secret.verify(&[new_pin], parameter)?;
        self.keep_new_pin(&secret, new_pin)?;
        Ok(Reply::Done)
    }

    /// changePIN (§6.5.5.6).
    fn change_pin(&mut self, parameters: Map<'_>) -> Step<Reply> {
        let new_pin = parameters.required(NEW_PIN_ENC)?.bytes()?;
        let pin_hash = parameters.required(PIN_HASH_ENC)?.bytes()?;
        let parameter = parameters.required(PIN_UV_AUTH_PARAM)?.bytes()?;
        let secret =
            self.shared_secret(parameters, |this| this.pin.require_pin_unblocked(&mut this.store))?;
        secret.verify(&[new_pin, pin_hash], parameter)?;
        self.check_pin(&secret, pin_hash)?;
        self.keep_new_pin(&secret, new_pin)?;
        Ok(Reply::Done)
    }

    /// getPinToken, superseded (§6.5.5.7.1): a token with the default permissions mc and ga and no RP ID yet; with none
    /// where a PIN gives neither (step 14).
    fn get_pin_token(&mut self, now: Time, parameters: Map<'_>, response: &mut Message) -> Step<Reply> {
        let pin_hash = parameters.required(PIN_HASH_ENC)?.bytes()?;
        if parameters.get(PERMISSIONS).is_some() || parameters.get(RP_ID).is_some() {
            return Err(Status::InvalidParameter);
        }
        let permissions = match self.configuration.offers(OptionId::NoMcGaPermissionsWithClientPin) {
            true => Permissions::NONE,
            false => Permissions::MAKE_CREDENTIAL.with(Permissions::GET_ASSERTION),
        };
        let secret =
            self.shared_secret(parameters, |this| this.pin.require_pin_unblocked(&mut this.store))?;
        self.check_pin(&secret, pin_hash)?;
        if self.settings()?.force_pin_change {
            return Err(Status::PinInvalid);
        }
        let grant = Grant { protocol: secret.protocol(), permissions, rp_id_hash: None, user_present: false };
        self.respond_with_token(now, &UvTokenRequest { secret, grant }, response)
    }

    /// getPinUvAuthTokenUsingPinWithPermissions (§6.5.5.7.2).
    fn get_token_using_pin(&mut self, now: Time, parameters: Map<'_>, response: &mut Message) -> Step<Reply> {
        let pin_hash = parameters.required(PIN_HASH_ENC)?.bytes()?;
        let (permissions, rp_id_hash) = self.wanted(parameters, false)?;
        let secret =
            self.shared_secret(parameters, |this| this.pin.require_pin_unblocked(&mut this.store))?;
        self.check_pin(&secret, pin_hash)?;
        if self.settings()?.force_pin_change {
            return Err(Status::PinPolicyViolation);
        }
        let grant = Grant { protocol: secret.protocol(), permissions, rp_id_hash, user_present: false };
        self.respond_with_token(now, &UvTokenRequest { secret, grant }, response)
    }

    /// getPinUvAuthTokenUsingUvWithPermissions (§6.5.5.7.3), up to the user.
    #[cfg(feature = "built-in-verification")]
    fn get_token_using_uv(&mut self, parameters: Map<'_>) -> Step<Reply> {
        let (permissions, rp_id_hash) = self.wanted(parameters, true)?;
        let secret = self.shared_secret(parameters, |this| {
            if this.built_in_uv()? != Some(true) {
                return Err(Status::NotAllowed);
            }
            this.pin.require_uv_unblocked(&mut this.store)
        })?;
        let grant = Grant { protocol: secret.protocol(), permissions, rp_id_hash, user_present: true };
        Ok(Reply::Ask(Pending::UvToken(UvTokenRequest { secret, grant })))
    }

    /// getPinUvAuthTokenUsingUvWithPermissions, from the user on.
    #[cfg(feature = "built-in-verification")]
    pub(crate) fn verified_for_token(
        &mut self,
        now: Time,
        request: &UvTokenRequest,
        verified: bool,
        response: &mut Message,
    ) -> Step<Reply> {
        self.pin.verified_built_in(&mut self.store, verified)?;
        self.respond_with_token(now, request, response)
    }

    fn respond_with_token(
        &mut self,
        now: Time,
        request: &UvTokenRequest,
        response: &mut Message,
    ) -> Step<Reply> {
        let token = self.pin.issue(now, &mut self.store, &mut self.rng, &request.grant)?;
        let encrypted = request.secret.encrypt(&*token, &mut self.rng);
        let mut writer = Writer::new(response);
        writer.map(1).int(PIN_UV_AUTH_TOKEN).bytes(&encrypted);
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// The permissions and the RP ID that are asked for, where they may be (§6.5.5.7.2 steps 3 to 5).
    fn wanted(&self, parameters: Map<'_>, by_uv: bool) -> Step<(Permissions, Option<[u8; 32]>)> {
        let bits = parameters.required(PERMISSIONS)?.unsigned()?;
        if bits == 0 {
            return Err(Status::InvalidParameter);
        }
        let permissions = Permissions::from_bits(bits);
        let rp_id = parameters.get(RP_ID).map(|rp_id| rp_id.text()).transpose()?;
        let bound = Permissions::MAKE_CREDENTIAL.with(Permissions::GET_ASSERTION);
        if permissions.any(bound) && rp_id.is_none() {
            return Err(Status::MissingParameter);
        }
        // The persistent token has one permission and no other.
        let persistent = Permissions::PERSISTENT_READ_ONLY;
        if permissions.any(persistent) && permissions != persistent {
            return Err(Status::UnauthorizedPermission);
        }
        self.require_offered(permissions, by_uv)?;
        let may_be_bound = bound.with(Permissions::CREDENTIAL_MANAGEMENT);
        let rp_id = rp_id.filter(|_| permissions.any(may_be_bound));
        Ok((permissions, rp_id.map(|rp_id| Sha256::digest(rp_id).into())))
    }

    /// # Errors
    /// [`Status::UnauthorizedPermission`] if any of these permissions is for something that is not offered.
    fn require_offered(&self, permissions: Permissions, by_uv: bool) -> Step {
        let offers = |option| self.configuration.offers(option);
        let pin_makes_none = !by_uv && offers(OptionId::NoMcGaPermissionsWithClientPin);
        let needs = [
            (Permissions::MAKE_CREDENTIAL.with(Permissions::GET_ASSERTION), !pin_makes_none),
            (
                Permissions::CREDENTIAL_MANAGEMENT,
                offers(OptionId::CredMgmt) || offers(OptionId::CredentialMgmtPreview),
            ),
            (
                Permissions::BIO_ENROLLMENT,
                (offers(OptionId::BioEnroll) || offers(OptionId::UserVerificationMgmtPreview))
                    && (!by_uv || offers(OptionId::UvBioEnroll)),
            ),
            (Permissions::LARGE_BLOB_WRITE, offers(OptionId::LargeBlobs)),
            (
                Permissions::AUTHENTICATOR_CONFIGURATION,
                offers(OptionId::AuthnrCfg) && (!by_uv || offers(OptionId::UvAcfg)),
            ),
            (Permissions::PERSISTENT_READ_ONLY, offers(OptionId::PerCredMgmtRo)),
        ];
        match needs.iter().any(|(permission, offered)| permissions.any(*permission) && !offered) {
            true => Err(Status::UnauthorizedPermission),
            false => Ok(()),
        }
    }

    /// `decapsulate` for the protocol and the platform's key among these parameters. What `precondition` refuses is
    /// refused between the two, in the specification's order.
    fn shared_secret(
        &mut self,
        parameters: Map<'_>,
        precondition: impl FnOnce(&mut Self) -> Step,
    ) -> Step<SharedSecret> {
        let protocol = parameters.required(PROTOCOL)?;
        let platform_key = parameters.required(KEY_AGREEMENT_PARAMETER)?;
        let protocol = self.pin_uv_protocol(protocol)?;
        precondition(self)?;
        self.pin.key_agreement(&mut self.rng).decapsulate(protocol, platform_key)
    }

    /// Compares the PIN (§6.5.5.6 steps 7 to 11, §6.5.5.7.1 steps 6 to 10).
    fn check_pin(&mut self, secret: &SharedSecret, pin_hash_enc: &[u8]) -> Step {
        // What cannot be decrypted is a wrong PIN: it costs a retry as well.
        let hash = secret.decrypt(pin_hash_enc);
        let hash = hash.as_deref().unwrap_or_default();
        self.pin.check_pin(&mut self.store, &mut self.rng, hash)
    }

    /// Sets a PIN that keeps the rules (§6.5.5.5 steps 6 to 9, §6.5.5.6 steps 12 to 17).
    fn keep_new_pin(&mut self, secret: &SharedSecret, new_pin_enc: &[u8]) -> Step {
        let padded = secret.decrypt(new_pin_enc).ok_or(match new_pin_enc.len() {
            // More than the 64 bytes there are: a PIN that is too long, as the certification's own tool has it.
            new_pin::PADDED.. => Status::PinPolicyViolation,
            _ => Status::PinAuthInvalid,
        })?;
        let mut settings = self.settings()?;
        let pin = NewPin::from_padded(&padded, &settings, &self.configuration)?;
        if settings.force_pin_change {
            if self.pin.is_current_pin(&mut self.store, &pin.hash)? {
                return Err(Status::PinPolicyViolation);
            }
            // After a power cut between the two, a PIN must be changed that was: the harmless order.
            self.pin.set_pin(&mut self.store, &pin.hash, pin.code_points)?;
            settings.force_pin_change = false;
            return Ok(self.save_settings(&settings)?);
        }
        self.pin.set_pin(&mut self.store, &pin.hash, pin.code_points)
    }
}

// Parameters.
const PROTOCOL: i32 = 1;
const SUBCOMMAND: i32 = 2;
const KEY_AGREEMENT_PARAMETER: i32 = 3;
const PIN_UV_AUTH_PARAM: i32 = 4;
const NEW_PIN_ENC: i32 = 5;
const PIN_HASH_ENC: i32 = 6;
const PERMISSIONS: i32 = 9;
const RP_ID: i32 = 10;

// Subcommands.
const GET_PIN_RETRIES: u8 = 1;
const GET_KEY_AGREEMENT: u8 = 2;
const SET_PIN: u8 = 3;
const CHANGE_PIN: u8 = 4;
const GET_PIN_TOKEN: u8 = 5;
const GET_TOKEN_USING_UV: u8 = 6;
const GET_UV_RETRIES: u8 = 7;
const GET_TOKEN_USING_PIN: u8 = 9;

// Members of the response.
const KEY_AGREEMENT: i32 = 1;
const PIN_UV_AUTH_TOKEN: i32 = 2;
const PIN_RETRIES: i32 = 3;
const POWER_CYCLE_STATE: i32 = 4;
#[cfg(feature = "built-in-verification")]
const UV_RETRIES: i32 = 5;
