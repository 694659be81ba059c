//! The air: a folder in place of Bluetooth. Who is in the same folder is near.
//!
//! A listener has a UDP socket on loopback and a file in the folder with its port as the name; a phone sends what it
//! advertises to each. A datagram is the service data of a BLE advertisement: FIDO's UUID 0xFFF9, little-endian, and the
//! 20 bytes.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::advert::ADVERT_LENGTH;

/// A place where advertisements are heard.
#[derive(Clone, Debug)]
pub struct Room {
    folder: PathBuf,
}

impl Room {
    /// The room that is this folder. It is made when somebody listens in it.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Room { folder: folder.into() }
    }

    /// This user's room on this computer: under `XDG_RUNTIME_DIR`, or else among the temporary files.
    pub fn of_this_user() -> Self {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
        Room::new(match runtime {
            Some(folder) => PathBuf::from(folder).join("doppelkey-air"),
            #[cfg(unix)]
            None => {
                std::env::temp_dir().join(format!("doppelkey-air-{}", rustix::process::geteuid().as_raw()))
            }
            #[cfg(not(unix))]
            None => std::env::temp_dir().join("doppelkey-air"),
        })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Listens from now on, until dropped.
    pub(super) fn listen(&self) -> io::Result<Listener> {
        let mut options = fs::DirBuilder::new();
        options.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut options, 0o700);
        options.create(&self.folder)?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let entry = self.folder.join(socket.local_addr()?.port().to_string());
        fs::write(&entry, [])?;
        Ok(Listener { socket, entry })
    }

    /// Advertises once, to whoever listens now. Nobody is no error.
    pub(super) fn advertise(&self, advert: &[u8; ADVERT_LENGTH]) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
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
}
