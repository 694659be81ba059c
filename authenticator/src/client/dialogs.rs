//! What a browser would ask its user: a PIN, an account.

use zeroize::Zeroizing;

/// Someone who answers for the user on the platform's side. (Touch and fingerprint are on the authenticator's.)
///
/// The defaults are those of an unattended run: no PIN, and the account used last.
pub trait Dialogs: Send {
    /// Asks for the PIN. `None` ends the ceremony.
    fn pin(&mut self, request: PinRequest) -> Option<Zeroizing<String>> {
        let _ = request;
        None
    }

    /// Asks for a first PIN, where verification is required and none is set up. `None` ends the ceremony.
    fn new_pin(&mut self) -> Option<Zeroizing<String>> {
        None
    }

    /// Asks which account to sign in to: an index into `accounts`, which has at least two. `None` ends the ceremony.
    fn choose(&mut self, rp_id: &str, accounts: &[Account]) -> Option<usize> {
        let _ = (rp_id, accounts);
        Some(0)
    }
}

/// What a PIN dialog shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinRequest {
    /// The PIN given before, in this ceremony, was wrong.
    pub again: bool,
    /// How many wrong PINs are left until the authenticator is locked.
    pub retries: u64,
}

/// An account to choose from. Without user verification the authenticator names none of it but the handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user handle.
    pub id: Vec<u8>,
    /// `user.name`.
    pub name: Option<String>,
    /// `user.displayName`.
    pub display_name: Option<String>,
}

/// Nobody is there: the defaults of [`Dialogs`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Dialogs for Unattended {}

/// Unattended, with a PIN that is known. Sets it where none is set; gives it once a ceremony, not again if it is wrong.
pub struct KnownPin(Zeroizing<String>);

impl KnownPin {
    /// With this PIN.
    pub fn new(pin: &str) -> Self {
        KnownPin(Zeroizing::new(pin.to_owned()))
    }
}

impl Dialogs for KnownPin {
    fn pin(&mut self, request: PinRequest) -> Option<Zeroizing<String>> {
        (!request.again).then(|| self.0.clone())
    }

    fn new_pin(&mut self) -> Option<Zeroizing<String>> {
        Some(self.0.clone())
    }
}
