//! authenticatorConfig (CTAP §6.11).

use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use crate::authenticator::{Authenticator, Reply};
use crate::cbor::{Item, Map};
use crate::configuration::{MIN_PIN_RP_IDS_MAX, OptionId};
use crate::pin::Permissions;
use crate::settings::Settings;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// authenticatorConfig.
    #[inline(never)]
    pub(crate) fn config(&mut self, now: Time, parameters: Map<'_>) -> Step<Reply> {
        self.must_offer(OptionId::AuthnrCfg)?;
        // Step 1.
        let subcommand = parameters.required(SUBCOMMAND)?.byte()?;
        // Step 2.
        if !self.config_commands().any(|offered| offered == subcommand) {
            return Err(Status::InvalidParameter);
        }
        self.may_configure(now, parameters, subcommand)?;
        let mut settings = self.settings()?;
        match subcommand {
            ENABLE_ENTERPRISE_ATTESTATION => settings.enterprise_attestation = true,
            TOGGLE_ALWAYS_UV => settings.always_uv = !settings.always_uv,
            SET_MIN_PIN_LENGTH => return self.set_min_pin_length(parameters, settings),
            ENABLE_LONG_TOUCH_FOR_RESET => settings.long_touch_for_reset = true,
            _ => return self.vendor_prototype(parameters),
        }
        self.save_settings(&settings)?;
        Ok(Reply::Done)
    }

    /// The subcommands that are offered: getInfo's authenticatorConfigCommands.
    pub(crate) fn config_commands(&self) -> impl Iterator<Item = u8> {
        let configuration = &self.configuration;
        [
            (ENABLE_ENTERPRISE_ATTESTATION, configuration.offers(OptionId::Ep)),
            (TOGGLE_ALWAYS_UV, configuration.offers(OptionId::AlwaysUv)),
            (SET_MIN_PIN_LENGTH, configuration.offers(OptionId::SetMinPinLength)),
            (ENABLE_LONG_TOUCH_FOR_RESET, configuration.long_touch_for_reset.is_some()),
            (VENDOR_PROTOTYPE, !configuration.vendor_prototype_config_commands.is_empty()),
        ]
        .into_iter()
        .filter_map(|(subcommand, offered)| offered.then_some(subcommand))
    }

    /// Step 3: a pinUvAuthParam with acfg is needed where the user can be verified, and where alwaysUv says so; yet
    /// alwaysUv itself can be switched off where nobody can be verified.
    fn may_configure(&mut self, now: Time, parameters: Map<'_>, subcommand: u8) -> Step {
        let always_uv = self.settings()?.always_uv && subcommand != TOGGLE_ALWAYS_UV;
        if !self.is_protected()? && !always_uv {
            return Ok(());
        }
        let (protocol, parameter) = self.pin_uv_auth(parameters, PIN_UV_AUTH_PROTOCOL, PIN_UV_AUTH_PARAM)?;
        let raw = parameters.get(SUBCOMMAND_PARAMETERS).map_or(&[][..], Item::raw);
        let message = [&[0xFF; 32][..], &[COMMAND, subcommand], raw];
        self.pin.verify(now, protocol, &message, parameter, Permissions::AUTHENTICATOR_CONFIGURATION)
    }

    /// setMinPINLength (§6.11.4).
    fn set_min_pin_length(&mut self, parameters: Map<'_>, mut settings: Settings) -> Step<Reply> {
        let parameters = match parameters.get(SUBCOMMAND_PARAMETERS) {
            Some(parameters) => parameters.map()?,
            None => Map::parameters(&[])?,
        };
        if let Some(length) = parameters.get(NEW_MIN_PIN_LENGTH) {
            settings.min_pin_length = self.new_min_pin_length(length, &settings)?;
        }
        let mut force = parameters.get(FORCE_CHANGE_PIN).map_or(Ok(false), |force| force.boolean())?;
        let pin_length = self.pin.pin_length(&mut self.store)?;
        if force && pin_length.is_none() {
            return Err(Status::PinNotSet);
        }
        force |= pin_length.is_some_and(|length| length < settings.min_pin_length);
        if let Some(rp_ids) = parameters.get(MIN_PIN_LENGTH_RP_IDS) {
            self.replace_rp_ids(rp_ids, &mut settings)?;
        }
        if parameters.get(PIN_COMPLEXITY_POLICY).map_or(Ok(false), |policy| policy.boolean())?
            && !settings.pin_complexity
        {
            settings.pin_complexity = true;
            // Whether the PIN that is set keeps the policy cannot be told from its hash.
            force |= pin_length.is_some();
        }
        if force && !settings.force_pin_change {
            settings.force_pin_change = true;
            self.pin.end_token();
            self.pin.end_persistent_token(&mut self.store)?;
        }
        self.save_settings(&settings)?;
        Ok(Reply::Done)
    }

    /// A new minimum: never a lower one, and none that no PIN can reach.
    fn new_min_pin_length(&self, length: Item<'_>, settings: &Settings) -> Step<u8> {
        let length = length.unsigned()?;
        match u8::try_from(length) {
            Ok(length)
                if length >= settings.min_pin_length && length <= self.configuration.max_pin_length =>
            {
                Ok(length)
            }
            _ => Err(Status::PinPolicyViolation),
        }
    }

    fn replace_rp_ids(&self, rp_ids: Item<'_>, settings: &mut Settings) -> Step {
        let most = usize::from(self.configuration.limits.max_rp_ids_for_set_min_pin_length);
        settings.min_pin_rp_id_hashes.clear();
        for rp_id in rp_ids.array()? {
            let hash = Sha256::digest(rp_id.text()?).into();
            if settings.min_pin_rp_id_hashes.len() >= most.min(MIN_PIN_RP_IDS_MAX) {
                return Err(Status::KeyStoreFull);
            }
            let _ = settings.min_pin_rp_id_hashes.push(hash);
        }
        Ok(())
    }

    /// vendorPrototype (§6.11.6): a vendor command that the configuration advertises is taken and has no effect.
    fn vendor_prototype(&mut self, parameters: Map<'_>) -> Step<Reply> {
        let parameters = parameters.required(SUBCOMMAND_PARAMETERS)?.map()?;
        let command = parameters.required(VENDOR_COMMAND_ID)?.unsigned()?;
        match self.configuration.vendor_prototype_config_commands.contains(&command) {
            true => Ok(Reply::Done),
            false => Err(Status::InvalidParameter),
        }
    }
}

/// The command's byte, which is part of what is authenticated.
const COMMAND: u8 = 0x0D;

// Parameters.
const SUBCOMMAND: i32 = 1;
const SUBCOMMAND_PARAMETERS: i32 = 2;
const PIN_UV_AUTH_PROTOCOL: i32 = 3;
const PIN_UV_AUTH_PARAM: i32 = 4;
const NEW_MIN_PIN_LENGTH: i32 = 1;
const MIN_PIN_LENGTH_RP_IDS: i32 = 2;
const FORCE_CHANGE_PIN: i32 = 3;
const PIN_COMPLEXITY_POLICY: i32 = 4;
const VENDOR_COMMAND_ID: i32 = 1;

// Subcommands.
const ENABLE_ENTERPRISE_ATTESTATION: u8 = 0x01;
const TOGGLE_ALWAYS_UV: u8 = 0x02;
const SET_MIN_PIN_LENGTH: u8 = 0x03;
const ENABLE_LONG_TOUCH_FOR_RESET: u8 = 0x04;
const VENDOR_PROTOTYPE: u8 = 0xFF;
