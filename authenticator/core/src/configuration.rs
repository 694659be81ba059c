//! What an authenticator is: the things a persona or a vendor profile sets, and nothing a user can change.

use core::time::Duration;

use heapless::{String, Vec};

use crate::attestation::Attestation;
use crate::credential::CREDENTIAL_ID_MAX;
use crate::faults::Faults;
use crate::key::Algorithm;

/// Defines an enumeration whose variants have the specification's names.
///
/// `if` names the feature that a variant needs; without it the variant is there and cannot be offered.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal $(if $feature:literal)?,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* #[doc = concat!("`", $text, "`")] $variant,)+ }

        impl $name {
            /// Every one there is, in the order of CTAP2's canonical CBOR.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The name the specification gives it.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The one with this name, if there is one.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }

            /// Whether this build can do it: a feature of this crate may leave it out.
            pub const fn is_built(self) -> bool {
                match self { $($name::$variant => true $(&& cfg!(feature = $feature))?,)+ }
            }
        }
    };
}

pub(crate) use names;

names! {
    /// What getInfo's `versions` can name (CTAP §6.4). 2.2 has no name of its own.
    Version {
        U2fV2 = "U2F_V2" if "u2f",
        Fido2_0 = "FIDO_2_0",
        Fido2_1 = "FIDO_2_1",
        Fido2_3 = "FIDO_2_3",
        /// Older keys advertise it; nothing else depends on it here.
        Fido2_1Pre = "FIDO_2_1_PRE",
    }
}

names! {
    /// Extensions (CTAP §12).
    Extension {
        Uvm = "uvm" if "further-extensions",
        CredBlob = "credBlob" if "further-extensions",
        CredProtect = "credProtect",
        HmacSecret = "hmac-secret",
        LargeBlobKey = "largeBlobKey" if "large-blobs",
        MinPinLength = "minPinLength" if "authenticator-config",
        HmacSecretMc = "hmac-secret-mc" if "further-extensions",
        ThirdPartyPayment = "thirdPartyPayment" if "further-extensions",
        PinComplexityPolicy = "pinComplexityPolicy" if "authenticator-config",
    }
}

names! {
    /// Options of getInfo (CTAP §6.4). One that is offered is listed; its value is what is true at that moment.
    OptionId {
        /// Enterprise attestation.
        Ep = "ep" if "alloc",
        /// Discoverable credentials.
        Rk = "rk",
        /// User presence.
        Up = "up",
        /// Built-in user verification; true once it is set up.
        Uv = "uv" if "built-in-verification",
        /// Attached to its platform, and not to be plugged elsewhere.
        Plat = "plat",
        /// authenticatorConfig by a token from built-in verification.
        UvAcfg = "uvAcfg" if "built-in-verification",
        /// Nothing is done without verification; its initial value is [`Configuration::always_uv`].
        AlwaysUv = "alwaysUv",
        /// authenticatorCredentialManagement.
        CredMgmt = "credMgmt" if "credential-management",
        /// authenticatorConfig.
        AuthnrCfg = "authnrCfg" if "authenticator-config",
        /// authenticatorBioEnrollment; true once a fingerprint is enrolled.
        BioEnroll = "bioEnroll" if "built-in-verification",
        /// authenticatorClientPIN with PINs; true once one is set.
        ClientPin = "clientPin",
        /// authenticatorLargeBlobs.
        LargeBlobs = "largeBlobs" if "large-blobs",
        /// authenticatorBioEnrollment by a token from built-in verification.
        UvBioEnroll = "uvBioEnroll" if "built-in-verification",
        /// The persistent token permission `pcmr`.
        PerCredMgmtRo = "perCredMgmtRO" if "persistent-token",
        /// Token permissions and getPinUvAuthTokenUsing…WithPermissions.
        PinUvAuthToken = "pinUvAuthToken",
        /// authenticatorConfig's setMinPINLength.
        SetMinPinLength = "setMinPINLength" if "authenticator-config",
        /// A credential that is not discoverable can be made without verification.
        MakeCredUvNotRqd = "makeCredUvNotRqd",
        /// The prototype of credMgmt, which older keys have (command 0x41).
        CredentialMgmtPreview = "credentialMgmtPreview" if "credential-management",
        /// The prototype of bioEnroll, which older keys have (command 0x40).
        UserVerificationMgmtPreview = "userVerificationMgmtPreview" if "built-in-verification",
        /// A token from a PIN does not serve to make or use credentials.
        NoMcGaPermissionsWithClientPin = "noMcGaPermissionsWithClientPin",
    }
}

names! {
    /// Transports (WebAuthn §5.8.4).
    Transport {
        Ble = "ble",
        Nfc = "nfc",
        Usb = "usb",
        Hybrid = "hybrid",
        Internal = "internal",
        SmartCard = "smart-card",
    }
}

/// The longest list of names in a [`Configuration`].
pub const LIST_MAX: usize = 24;

/// A short list: of options, versions and the like, in the order they are advertised.
pub type List<T> = Vec<T, LIST_MAX>;

/// Everything that makes one model of authenticator different from another.
///
/// [`Configuration::default`] is Doppelkey itself; [`Configuration::small`] is what a microcontroller can afford.
/// Nothing here is checked: a profile of a real key, or a test, may contradict itself on purpose.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The model (WebAuthn §6.5.1.1).
    pub aaguid: [u8; 16],
    /// The version of the firmware; `None` leaves the member out.
    pub firmware_version: Option<u32>,
    /// The versions that are advertised. U2F works where [`Version::U2fV2`] is among them.
    pub versions: List<Version>,
    /// The extensions that are advertised and processed; others are ignored.
    pub extensions: List<Extension>,
    /// The options that are offered.
    pub options: List<OptionId>,
    /// The algorithms that are offered, in order of preference; a platform's own order decides.
    pub algorithms: List<Algorithm>,
    /// The transports that are advertised.
    pub transports: List<Transport>,
    /// The transports over which authenticatorReset works; empty for no such limit.
    pub transports_for_reset: List<Transport>,
    /// PIN/UV auth protocols, 1 and 2, in order of preference.
    pub pin_uv_auth_protocols: List<u8>,
    /// Sizes and numbers.
    pub limits: Limits,
    /// How new credentials are attested, the usual way first; where the list is empty, not at all.
    pub attestation: Vec<Attestation, 4>,
    /// Relying parties that get enterprise attestation of kind 1 (CTAP §7.1): the vendor's list, by RP ID.
    pub enterprise_rp_ids: Vec<String<64>, 4>,
    /// Whether enterprise attestation is enabled from the factory; authenticatorConfig can enable it else.
    pub enterprise_attestation: bool,
    /// The initial value of the option alwaysUv.
    pub always_uv: bool,
    /// BE of new credentials: whether they may be copied to other devices. Such credentials have no counter.
    pub backup_eligible: bool,
    /// BS of new credentials that are eligible: whether they are copied at once.
    pub backup_state: bool,
    /// Whether discoverable credentials are the only kind: `rk` is then taken as true.
    pub always_discoverable: bool,
    /// Whether it has a display, on which the user always chooses the account: whoever approves without saying which
    /// takes the newest. Without one the choice is the platform's, unless the user makes one.
    pub has_display: bool,
    /// Whether credentials that are not discoverable are kept in the store too, where they can be listed, rather
    /// than in their own id.
    pub keep_all_credentials: bool,
    /// The credProtect level of credentials whose relying party asks for none.
    pub default_protection: crate::CredentialProtection,
    /// How often a PIN may be tried before it is blocked.
    pub pin_retries: u8,
    /// How often built-in verification may fail before it is blocked.
    pub uv_retries: u8,
    /// How often a platform is to try built-in verification before it asks for a PIN; `None` leaves it out.
    pub preferred_platform_uv_attempts: Option<u8>,
    /// The shortest PIN from the factory, in code points.
    pub min_pin_length: u8,
    /// The longest PIN in bytes, at most 63.
    pub max_pin_length: u8,
    /// A PIN must not be one character repeated, a run of digits, or one of a few that everybody tries.
    pub pin_complexity: bool,
    /// Where [`pin_complexity`](Self::pin_complexity) is explained to people.
    pub pin_complexity_url: Option<String<128>>,
    /// How users are verified (FIDO Registry, USER_VERIFY bits); `None` leaves the member out.
    pub uv_modality: Option<u32>,
    /// Certifications: name and level.
    pub certifications: Vec<(String<32>, u32), 4>,
    /// Vendor subcommands of authenticatorConfig that are advertised.
    pub vendor_prototype_config_commands: Vec<u64, 4>,
    /// How long a user has for a touch.
    pub user_timeout: Duration,
    /// How long after power-up authenticatorReset works.
    pub reset_window: Duration,
    /// Whether authenticatorReset can be made to ask for a long touch; `None` where it cannot be chosen.
    pub long_touch_for_reset: Option<bool>,
    /// How many fingerprints the simulated sensor takes.
    pub max_fingerprints: u8,
    /// How many samples an enrolment takes.
    pub fingerprint_samples: u8,
    /// How it misbehaves; not at all without the feature `faults`.
    pub faults: Faults,
}

/// Sizes and numbers of a [`Configuration`]. What this build cannot do is cut to what it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message in bytes; at most [`MESSAGE_MAX`](crate::MESSAGE_MAX).
    pub max_message_size: u16,
    /// The longest allow or exclude list; 0 leaves the member out, and any list that fits a message is taken.
    pub max_credential_count_in_list: u16,
    /// The longest credential id in bytes.
    pub max_credential_id_length: u16,
    /// The most discoverable credentials; the store may have room for fewer.
    pub max_discoverable_credentials: u32,
    /// The longest credBlob in bytes: 32 or more, and at most [`CRED_BLOB_MAX`](crate::CRED_BLOB_MAX).
    pub max_cred_blob_length: u8,
    /// The largest serialized large-blob array in bytes: 1,024 to [`LARGE_BLOBS_MAX`](crate::LARGE_BLOBS_MAX).
    pub max_serialized_large_blob_array: u16,
    /// How many RP IDs setMinPINLength takes; at most [`MIN_PIN_RP_IDS_MAX`].
    pub max_rp_ids_for_set_min_pin_length: u8,
}

/// The most RP IDs that are told the minimum PIN length.
pub const MIN_PIN_RP_IDS_MAX: usize = 8;

/// Doppelkey's AAGUID.
pub const AAGUID: [u8; 16] =
    [0xD0, 0x99, 0xE1, 0x4E, 0x59, 0x1C, 0x4B, 0x0C, 0x9E, 0x5A, 0xF1, 0xD0, 0x20, 0x26, 0x02, 0x26];

impl Default for Configuration {
    fn default() -> Self {
        use OptionId::*;
        let mut this = Configuration::small();
        this.options = list(&[
            Ep,
            Rk,
            Up,
            Uv,
            UvAcfg,
            AlwaysUv,
            CredMgmt,
            AuthnrCfg,
            BioEnroll,
            ClientPin,
            LargeBlobs,
            UvBioEnroll,
            PerCredMgmtRo,
            PinUvAuthToken,
            SetMinPinLength,
            MakeCredUvNotRqd,
        ]);
        this.extensions = list(Extension::ALL);
        this.algorithms = list(Algorithm::ALL);
        this.preferred_platform_uv_attempts = Some(3);
        this.uv_modality = Some(USER_VERIFY_FINGERPRINT_INTERNAL);
        this.long_touch_for_reset = Some(false);
        this.pin_complexity_url = None;
        this
    }
}

impl Configuration {
    /// What a microcontroller with a button offers: no built-in verification, ES256 and EdDSA.
    pub fn small() -> Self {
        use OptionId::*;
        Configuration {
            aaguid: AAGUID,
            firmware_version: Some(0x0001_0000),
            versions: list(&[Version::U2fV2, Version::Fido2_0, Version::Fido2_1, Version::Fido2_3]),
            extensions: list(&SMALL_EXTENSIONS),
            options: list(&[
                Rk,
                Up,
                AlwaysUv,
                CredMgmt,
                AuthnrCfg,
                ClientPin,
                LargeBlobs,
                PerCredMgmtRo,
                PinUvAuthToken,
                SetMinPinLength,
                MakeCredUvNotRqd,
            ]),
            algorithms: list(&[Algorithm::Es256, Algorithm::EdDsa]),
            transports: list(&[Transport::Usb]),
            transports_for_reset: list(&[Transport::Usb]),
            pin_uv_auth_protocols: list(&[2, 1]),
            limits: Limits::default(),
            attestation: Vec::from_array([Attestation::PackedSelf, Attestation::None]),
            enterprise_rp_ids: Vec::new(),
            enterprise_attestation: false,
            always_uv: false,
            backup_eligible: false,
            backup_state: false,
            always_discoverable: false,
            has_display: false,
            keep_all_credentials: false,
            default_protection: crate::CredentialProtection::Optional,
            pin_retries: 8,
            uv_retries: 5,
            preferred_platform_uv_attempts: None,
            min_pin_length: 4,
            max_pin_length: 63,
            pin_complexity: false,
            pin_complexity_url: None,
            uv_modality: None,
            certifications: Vec::new(),
            vendor_prototype_config_commands: Vec::new(),
            user_timeout: Duration::from_secs(30),
            reset_window: Duration::from_secs(10),
            long_touch_for_reset: None,
            max_fingerprints: 5,
            fingerprint_samples: 4,
            faults: Faults::default(),
        }
    }

    /// Whether this option is offered. One that this build cannot do never is.
    pub fn offers(&self, option: OptionId) -> bool {
        option.is_built() && self.options.contains(&option)
    }

    /// Whether this extension is processed. One that this build cannot do never is.
    pub fn extends(&self, extension: Extension) -> bool {
        extension.is_built() && self.extensions.contains(&extension)
    }

    /// Whether this version is advertised. One that this build cannot do never is.
    pub fn speaks(&self, version: Version) -> bool {
        version.is_built() && self.versions.contains(&version)
    }

    /// Takes an option out, or puts it in.
    pub fn set_option(&mut self, option: OptionId, offered: bool) {
        self.options.retain(|one| *one != option);
        if offered {
            // There are fewer options than the list has room for.
            let _ = self.options.push(option);
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message_size: crate::MESSAGE_MAX as u16,
            max_credential_count_in_list: 0,
            max_credential_id_length: CREDENTIAL_ID_MAX as u16,
            max_discoverable_credentials: u32::MAX,
            max_cred_blob_length: crate::CRED_BLOB_MAX as u8,
            max_serialized_large_blob_array: crate::LARGE_BLOBS_MAX as u16,
            max_rp_ids_for_set_min_pin_length: MIN_PIN_RP_IDS_MAX as u8,
        }
    }
}

/// A list of these; what does not fit is left out.
pub fn list<T: Copy>(items: &[T]) -> List<T> {
    items.iter().copied().take(LIST_MAX).collect()
}

/// Those of [`Configuration::small`].
const SMALL_EXTENSIONS: [Extension; 7] = [
    Extension::CredBlob,
    Extension::CredProtect,
    Extension::HmacSecret,
    Extension::LargeBlobKey,
    Extension::MinPinLength,
    Extension::HmacSecretMc,
    Extension::ThirdPartyPayment,
];

const USER_VERIFY_FINGERPRINT_INTERNAL: u32 = 0x0000_0002;
