//! How a command fails: what, and what next.

use std::fmt;
use std::io::{self, Write as _};

use crate::usbip::NoFreePlace;
use crate::user_interface::visible;
use crate::vault::VaultError;

/// Why a command could not be done, for the user. Shown as `error:` what, `hint:` what next.
#[derive(Debug)]
pub struct Failure {
    error: String,
    hint: String,
}

impl Failure {
    /// What could not be done and why, and what to do next. Neither ends with a full stop.
    pub fn new(error: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Failure { error: error.to_string(), hint: hint.to_string() }
    }

    /// A listener that could not be had. `flag` is the one that says where.
    pub fn listen(what: &str, address: impl fmt::Display, flag: &str, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "another program listens there: stop it, or take any free port with {flag} 127.0.0.1:0"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!("choose a port above 1023 or a place you may write to, with {flag}")
            }
            io::ErrorKind::AddrNotAvailable => format!("name an address of this machine with {flag}"),
            _ => format!("choose another address with {flag}"),
        };
        Failure::new(format_args!("cannot listen on {address} for {what}: {error}"), hint)
    }

    pub(super) fn bug() -> Self {
        Failure::new(
            "doppelkey came upon a state that its authors held impossible",
            "please report what is printed above and what you did; the vault is as it was",
        )
    }

    /// Prints it on standard error.
    pub(super) fn show(&self) {
        let _ = write!(io::stderr(), "{self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", shown(&self.error))?;
        writeln!(f, "hint: {}", shown(&self.hint))
    }
}

/// What steers a terminal is not passed on: a server, a file or another device may have put it there. More lines than
/// one are set in, so that none of them is taken for a line of ours.
fn shown(text: &str) -> String {
    text.trim_end().lines().map(visible).collect::<Vec<_>>().join("\n  ")
}

impl From<NoFreePlace> for Failure {
    fn from(error: NoFreePlace) -> Self {
        Failure::new(error, "offer fewer devices")
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Failure::new(&error, error.hint())
    }
}
