//! The Linux kernel's key retention service: kept across sessions of one user, until a reboot, or until nobody has
//! asked for it for some days.
//!
//! The key is in the user's persistent keyring, which outlives sessions, and which the kernel forgets with all that is
//! in it when nobody has asked for it for `persistent_keyring_expiry` seconds (persistent-keyring(7)); without one, the
//! key would be gone with the session, so it is not kept then. A session that lasts longer has it, too. It is reached
//! by way of the process's keyring: that of a session is taken away at logout from those that go on running.

use std::time::Duration;

use crate::vault::error::VaultError;
use crate::vault::seal::VaultKey;

#[cfg(target_os = "linux")]
pub(in super::super) use linux::Renewal;
#[cfg(target_os = "linux")]
pub(super) use linux::{fetch, keep, try_out};

/// How long after it was last asked for the kernel keeps a key; `None` if that has no end but a reboot.
pub(super) fn expires_after() -> Option<Duration> {
    let said = std::fs::read_to_string("/proc/sys/kernel/keys/persistent_keyring_expiry").ok();
    let seconds = said.and_then(|text| text.trim().parse().ok()).unwrap_or(EXPIRY_DEFAULT);
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// When the kernel forgets a vault's key, as a part of a sentence.
pub(super) fn forgotten(expires_after: Option<Duration>) -> String {
    match expires_after.map(|after| after.as_secs()) {
        None => "after a reboot".into(),
        Some(seconds) => {
            let units = [(DAY, "days"), (60 * 60, "hours"), (60, "minutes"), (1, "seconds")];
            let (unit, name) =
                units.into_iter().find(|(unit, _)| seconds >= 2 * unit).unwrap_or((1, "second"));
            format!("after a reboot, or {} {name} after the vault was last open", seconds / unit)
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::thread::JoinHandle;

    use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
    use zeroize::Zeroizing;

    use super::*;
    use crate::vault::custody::{SERVICE, same};
    use crate::vault::seal::{KEY_LENGTH, random};

    /// Makes a key and keeps it under this name.
    pub(in super::super) fn keep(name: &str) -> Result<VaultKey, VaultError> {
        let key = Zeroizing::new(random()?);
        put(persistent(), name, &key)?;
        match fetch(name)? {
            Some(back) if same(&key, back.as_slice()) => Ok(key),
            _ => Err(failed("it gave back another value than it was given")),
        }
    }

    /// Keeps something of no worth under this name, gets it back and forgets it.
    pub(in super::super) fn try_out(name: &str) -> Result<(), VaultError> {
        keep(name)?;
        let key = persistent().and_then(|ring| ring.search(&description(name)));
        key.and_then(|key| key.invalidate()).map_err(|error| failed(&error.to_string()))
    }

    /// The key under this name, which is kept anew; `None` if the kernel has none.
    pub(in super::super) fn fetch(name: &str) -> Result<Option<VaultKey>, VaultError> {
        let persistent = persistent();
        // A session may have it still, when the other has expired.
        let rings = [persistent, session()].into_iter().flatten();
        let Some(found) = rings.filter_map(|ring| ring.search(&description(name)).ok()).next() else {
            return persistent.map(|_| None).map_err(none_persistent);
        };
        let mut key: VaultKey = Zeroizing::new([0; KEY_LENGTH]);
        match found.read(&mut *key) {
            Ok(KEY_LENGTH) => {}
            Ok(_) => return Err(failed("its entry is not a key of ours")),
            Err(error) => return Err(failed(&error.to_string())),
        }
        // It can be read, whether or not it will be the next time.
        let _ = put(persistent, name, &key);
        Ok(Some(key))
    }

    /// Puts the key into the user's persistent keyring, and into the session's, if there is one.
    pub(super) fn put(
        persistent: Result<KeyRing, KeyError>,
        name: &str,
        key: &VaultKey,
    ) -> Result<(), VaultError> {
        let persistent = persistent.map_err(none_persistent)?;
        let added = persistent.add_key(&description(name), key.as_slice());
        let added = added.map_err(|error| failed(&error.to_string()))?;
        let _ = session().and_then(|session| session.link_key(added));
        Ok(())
    }

    /// Keeps the kernel from forgetting the key of a vault that is open: asks for the persistent keyring before its
    /// time is over, and once more when this is dropped. What was forgotten all the same, as in a machine that slept,
    /// is put there again.
    pub(in super::super::super) struct Renewal {
        end: Option<Sender<()>>,
        thread: Option<JoinHandle<()>>,
    }

    impl Renewal {
        pub(in super::super) fn start(name: String, key: VaultKey) -> Self {
            let (end, ended) = channel();
            let every = Duration::from_secs(DAY).min(expires_after().unwrap_or(Duration::MAX) / 3);
            let renew = move || {
                loop {
                    let is_over = ended.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
                    if let Err(error) = put(persistent(), &name, &key) {
                        log::warn!("the time of the vault's key in the kernel could not be renewed: {error}");
                    }
                    if is_over {
                        return;
                    }
                }
            };
            // Without a thread, the key stays as long as it was going to.
            let thread = std::thread::Builder::new().name("vault key".into()).spawn(renew).ok();
            Renewal { end: Some(end), thread }
        }
    }

    impl Drop for Renewal {
        fn drop(&mut self) {
            self.end = None;
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    /// The user's persistent keyring, whose time begins anew with this.
    fn persistent() -> Result<KeyRing, KeyError> {
        KeyRing::get_persistent(KeyRingIdentifier::Process)
    }

    fn session() -> Result<KeyRing, KeyError> {
        KeyRing::from_special_id(KeyRingIdentifier::Session, false)
    }

    fn description(name: &str) -> String {
        format!("keyring:{name}@{SERVICE}")
    }

    fn none_persistent(error: KeyError) -> VaultError {
        failed(&format!(
            "this user has no persistent keyring ({error}), and a key elsewhere is gone at logout"
        ))
    }

    fn failed(reason: &str) -> VaultError {
        VaultError::KeyutilsFailed { reason: reason.into() }
    }
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::*;

    pub(in super::super::super) struct Renewal;

    impl Renewal {
        pub(in super::super) fn start(_: String, _: VaultKey) -> Self {
            Renewal
        }
    }

    pub(in super::super) fn keep(_: &str) -> Result<VaultKey, VaultError> {
        Err(VaultError::KeyutilsFailed { reason: "only Linux has one".into() })
    }

    pub(in super::super) fn try_out(name: &str) -> Result<(), VaultError> {
        keep(name).map(drop)
    }

    pub(in super::super) fn fetch(name: &str) -> Result<Option<VaultKey>, VaultError> {
        keep(name).map(Some)
    }
}

#[cfg(not(target_os = "linux"))]
pub(in super::super) use elsewhere::Renewal;
#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{fetch, keep, try_out};

const DAY: u64 = 24 * 60 * 60;
/// What the kernel has if nobody changes it.
const EXPIRY_DEFAULT: u64 = 3 * DAY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_kernel_forgets_a_key_is_said_in_the_machines_own_time() {
        let said = |seconds| forgotten(Some(Duration::from_secs(seconds)));
        assert_eq!(said(3 * DAY), "after a reboot, or 3 days after the vault was last open");
        assert_eq!(said(DAY), "after a reboot, or 24 hours after the vault was last open");
        assert_eq!(said(90), "after a reboot, or 90 seconds after the vault was last open");
        assert_eq!(said(1), "after a reboot, or 1 second after the vault was last open");
        assert_eq!(forgotten(None), "after a reboot");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn where_the_kernel_would_forget_a_key_at_logout_none_is_kept() {
        let none = Err(linux_keyutils::KeyError::OperationNotSupported);
        let refused =
            linux::put(none, "nobody's", &zeroize::Zeroizing::new([7; 32])).expect_err("it has no place");
        let said = refused.to_string();
        assert!(said.contains("no persistent keyring") && said.contains("gone at logout"), "{said}");
    }
}
