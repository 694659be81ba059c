//! `--user` of the commands whose user nobody leads from outside. `run` has a control port, and an option of its own.

use clap::ValueEnum;

use crate::user_interface::{Ask, Auto, Deny, UserInterface};

/// Who the user is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum User {
    /// You, at this terminal
    Ask,
    /// Somebody who approves everything at once, verified
    Auto,
    /// Somebody who refuses everything at once
    Deny,
}

impl User {
    /// This user, to be asked by an authenticator.
    pub(super) fn interface(self) -> Box<dyn UserInterface> {
        match self {
            User::Ask => Box::new(Ask::default()),
            User::Auto => Box::new(Auto),
            User::Deny => Box::new(Deny),
        }
    }
}
