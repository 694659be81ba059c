//! What goes wrong in a circle that a user should know of.

use crate::id::{EpochId, LogId};
use crate::mailbox::Misbehaviour;

/// What a user should know. Raised once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Alarm {
    /// A mailbox misbehaves.
    Mailbox(u8, Misbehaviour),
    /// A log has two entries of one number: its device was cloned, restored or stolen, and must join anew.
    Forked(LogId),
    /// This device is no member any more: it can read what it has, and share nothing new.
    NotAMember,
    /// What was sealed for this device cannot be opened.
    Unreadable(EpochId),
    /// A device's clock is a lifetime ahead: what it says waits until then.
    Ahead(LogId),
}

impl core::fmt::Display for Alarm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Alarm::Mailbox(mailbox, misbehaviour) => write!(f, "mailbox {mailbox} {misbehaviour}"),
            Alarm::Forked(log) => {
                write!(
                    f,
                    "device {log} was cloned, restored from a backup or stolen: revoke it and let it join anew"
                )
            }
            Alarm::NotAMember => {
                f.write_str("this device is no member of its circle any more: nothing new is shared")
            }
            Alarm::Unreadable(epoch) => {
                write!(f, "what was sealed for this device in epoch {epoch} cannot be opened")
            }
            Alarm::Ahead(log) => {
                write!(
                    f,
                    "the clock of device {log} is a lifetime ahead, so what it says is not heard: set the clock and let \
                     it join anew, or revoke it"
                )
            }
        }
    }
}
