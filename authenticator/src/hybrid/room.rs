//! The air: a folder in place of Bluetooth. Who is in the same folder is near.
//!
//! A listener has a UDP socket on loopback and a file in the folder with its port as the name; a phone sends what it
//! advertises to each. A datagram is the service data of a BLE advertisement: FIDO's UUID 0xFFF9, little-endian, and the
//! 20 bytes.
//!
//! A user's own room is nobody else's: a folder that another user made, or may write to, is refused. A folder that was
//! named may be shared; entries are made in it without following any link.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::advert::ADVERT_LENGTH;
use crate::private_file;

/// A place where advertisements are heard.
#[derive(Clone, Debug)]
pub struct Room {
    folder: PathBuf,
    /// Whether it is for one user: its name can be guessed, and another may have been there first.
    private: bool,
}

impl Room {
    /// The room that is this folder, whosever it is. It is made when somebody listens in it.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Room { folder: folder.into(), private: false }
    }

    /// This user's room on this computer: under `XDG_RUNTIME_DIR`, or else among the temporary files.
    ///
    /// It is used only while it is a folder, no link, that belongs to this user and that nobody else can enter.
    pub fn of_this_user() -> Self {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
        let folder = match runtime {
            Some(folder) => PathBuf::from(folder).join("doppelkey-air"),
            #[cfg(unix)]
            None => {
                std::env::temp_dir().join(format!("doppelkey-air-{}", rustix::process::geteuid().as_raw()))
            }
            #[cfg(not(unix))]
            None => std::env::temp_dir().join("doppelkey-air"),
        };
        Room { folder, private: true }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Listens from now on, until dropped.
    pub(super) fn listen(&self) -> io::Result<Listener> {
        private_file::create_folder(&self.folder)?;
        self.check()?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let entry = self.folder.join(socket.local_addr()?.port().to_string());
        enter(&entry)?;
        Ok(Listener { socket, entry })
    }

    /// That a private room is its user's, and nobody else's.
    ///
    /// # Errors
    /// `NotFound` where there is none; `PermissionDenied` where it is not so.
    #[cfg(unix)]
    fn check(&self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        if !self.private {
            return Ok(());
        }
        let found = self.folder.symlink_metadata()?;
        let why = if !found.is_dir() {
            "is no folder"
        } else if found.uid() != rustix::process::geteuid().as_raw() {
            "belongs to another user"
        } else if found.mode() & 0o077 != 0 {
            "is open to other users"
        } else {
            return Ok(());
        };
        let why = format!("{} {why}", self.folder.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }

    /// Elsewhere the folder of temporary files is each user's own.
    #[cfg(not(unix))]
    fn check(&self) -> io::Result<()> {
        let _ = self.private;
        Ok(())
    }

    /// Advertises once, to whoever listens now. Nobody is no error.
    pub(super) fn advertise(&self, advert: &[u8; ADVERT_LENGTH]) -> io::Result<()> {
        let entries = match self.check().and_then(|()| fs::read_dir(&self.folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut datagram = SERVICE.to_le_bytes().to_vec();
        datagram.extend_from_slice(advert);
        for entry in entries {
            let entry = entry?;
            let Some(port) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if send(&datagram, port).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                // Its process was killed. If somebody else removes it first, all the better.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// Makes a listener's file. What is there already is of somebody who had the port before, and is removed as it is: no
/// link is followed.
fn enter(entry: &Path) -> io::Result<()> {
    match fs::remove_file(entry) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => private_file::create_new(entry).map(drop),
    }
}

/// A socket of its own for each listener: only a connected one is told that nobody is there, by the second datagram.
fn send(datagram: &[u8], port: u16) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, port))?;
    socket.send(datagram)?;
    socket.send(datagram)?;
    Ok(())
}

/// Hears what is advertised in a room.
pub(super) struct Listener {
    socket: UdpSocket,
    entry: PathBuf,
}

impl Listener {
    /// The next advertisement, of whatever key; `None` if there is none within this time.
    pub(super) fn hear(&self, timeout: Duration) -> io::Result<Option<[u8; ADVERT_LENGTH]>> {
        // Zero would mean no timeout.
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        // One byte more than it should be, to tell what is longer.
        let mut datagram = [0; 2 + ADVERT_LENGTH + 1];
        let length = match self.socket.recv(&mut datagram) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(datagram[..length].strip_prefix(&SERVICE.to_le_bytes()).and_then(|data| data.try_into().ok()))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A file that stays is removed by the next phone that finds nobody there.
        let _ = fs::remove_file(&self.entry);
    }
}

/// FIDO's service UUID.
const SERVICE: u16 = 0xfff9;

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn everybody_in_the_room_hears_and_nobody_elsewhere() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let room = Room::new(here.path().join("air"));
        room.advertise(&[1; 20]).expect("nobody is no error");
        let listeners = [room.listen().unwrap(), room.listen().unwrap()];
        let elsewhere = Room::new(there.path()).listen().unwrap();
        room.advertise(&[2; 20]).unwrap();
        for listener in &listeners {
            assert_eq!(listener.hear(SOON).unwrap(), Some([2; 20]));
        }
        assert_eq!(elsewhere.hear(Duration::ZERO).unwrap(), None);
    }

    #[test]
    fn who_has_gone_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::new(folder.path());
        drop(room.listen().unwrap());
        // As a killed process leaves it: a file, and no socket.
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        fs::write(folder.path().join(free.to_string()), []).unwrap();
        room.advertise(&[1; 20]).unwrap();
        room.advertise(&[1; 20]).unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_is_no_advertisement_is_not_heard() {
        let folder = tempfile::tempdir().unwrap();
        let listener = Room::new(folder.path()).listen().unwrap();
        let port = listener.socket.local_addr().unwrap().port();
        for noise in [&[0; 22][..], &[0xf9, 0xff], &[0xf9; 40]] {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().send_to(noise, ("127.0.0.1", port)).unwrap();
            assert_eq!(listener.hear(SOON).unwrap(), None);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_room_that_somebody_else_made_is_refused_and_no_link_in_it_is_followed() {
        use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
        let folder = tempfile::tempdir().unwrap();
        let vault = folder.path().join("vault");
        fs::write(&vault, "keys").unwrap();
        let room = |name: &str| Room { folder: folder.path().join(name), private: true };
        let refused = |room: &Room| {
            let heard = room.listen().err().expect("it is refused");
            let said = room.advertise(&[1; 20]).expect_err("it is refused");
            assert_eq!([heard.kind(), said.kind()], [io::ErrorKind::PermissionDenied; 2]);
        };

        let own = room("own");
        drop(own.listen().expect("it is made"));
        own.advertise(&[1; 20]).expect("it is this user's");

        let open = room("open");
        fs::create_dir(open.folder()).unwrap();
        fs::set_permissions(open.folder(), fs::Permissions::from_mode(0o770)).unwrap();
        refused(&open);

        let linked = room("linked");
        symlink(own.folder(), linked.folder()).unwrap();
        refused(&linked);

        let stranger = room("stranger");
        fs::create_dir(stranger.folder()).unwrap();
        fs::set_permissions(stranger.folder(), fs::Permissions::from_mode(0o700)).unwrap();
        // Only root can make one, as CI is.
        if chown(stranger.folder(), Some(65534), None).is_ok() {
            refused(&stranger);
        }

        // Into a folder that was named anybody may have put a link, before a listener comes to have its port.
        let entry = open.folder().join("32768");
        symlink(&vault, &entry).unwrap();
        enter(&entry).expect("it is replaced");
        assert!(entry.symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read(&vault).unwrap(), b"keys");
    }
}
