//! The user, as the core sees one: a prompt goes out, an answer comes in later.

/// What the user is asked for. Data, not a callback: whoever drives the core shows it as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt<'a> {
    /// What the platform wants to do.
    pub action: Action,
    /// The relying party, where the action has one.
    pub rp_id: Option<&'a str>,
    /// The account's name for the user (`user.name`), where it is known.
    pub user_name: Option<&'a str>,
    /// The account's display name (`user.displayName`), where it is known.
    pub user_display_name: Option<&'a str>,
    /// For [`Action::UseCredential`]: how many accounts the user may choose from; 0 or 1 where there is no choice.
    /// [`Authenticator::offered_accounts`](crate::Authenticator::offered_accounts) names them.
    pub accounts: u32,
    /// Whether built-in user verification (a fingerprint, say) is asked for and not only presence.
    pub verification: bool,
}

/// What the platform wants to do, in the words of the specification's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// authenticatorMakeCredential: create a credential.
    CreateCredential,
    /// authenticatorGetAssertion: sign in.
    UseCredential,
    /// authenticatorMakeCredential with a credential of the exclude list here: a touch only tells the platform so.
    Excluded,
    /// authenticatorSelection: this is the authenticator to use.
    Select,
    /// authenticatorReset: forget everything. `long` asks for a touch of ten seconds, not of an instant.
    Reset {
        /// Whether a long touch is asked for.
        long: bool,
    },
    /// authenticatorClientPIN getPinUvAuthTokenUsingUvWithPermissions: verify yourself.
    Verify,
    /// authenticatorBioEnrollment: give a fingerprint sample.
    FingerprintSample,
    /// U2F_REGISTER or U2F_AUTHENTICATE.
    U2f,
}

/// What the user said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Touched, and verified if that was asked for.
    Approve {
        /// Whether built-in verification succeeded. Ignored where the prompt did not ask for it.
        verified: bool,
        /// The account chosen, counted from the newest (0), where the prompt offered a choice and the user or
        /// a policy made one. `None` leaves the choice to the platform.
        account: Option<u32>,
    },
    /// Said no.
    Deny,
    /// Tried to verify and was not recognised (a wrong finger). Costs a verification retry.
    NotVerified,
    /// A fingerprint sample of the simulated sensor, for [`Action::FingerprintSample`].
    Sample {
        /// CTAP's lastEnrollSampleStatus: 0 is good, the others say what was wrong with the sample.
        status: u8,
    },
}
