//! `--user` of the commands whose user nobody leads from outside. `run` has a control port, and an option of its own.

use std::io::IsTerminal as _;

use clap::ValueEnum;

use crate::user_interface::{Ask, Auto, Deny, HINT, UserInterface};

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
            User::Ask => Box::new(at_this_terminal()),
            User::Auto => Box::new(Auto),
            User::Deny => Box::new(Deny),
        }
    }
}

/// Whoever sits at this terminal. If nobody can, as in CI, that is said before a page finds out.
pub(super) fn at_this_terminal() -> Ask {
    if !std::io::stdin().is_terminal() {
        log::warn!("standard input is no terminal: what is asked there counts as refused once it ends");
        log::warn!(target: HINT, "--user auto approves everything");
    }
    Ask::default()
}
