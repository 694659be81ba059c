//! The few things a log asks of a file system, on disk and in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::private_file;

/// A log, and the new one that is to take its place.
///
/// Nothing is promised to survive a crash but what the syncs say; what was appended since may survive in part, as a
/// prefix.
pub(super) trait Medium: Send {
    /// The length of the log in bytes; `None` if there is none.
    fn len(&mut self) -> io::Result<Option<u64>>;
    /// Fills the buffer from the log.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes behind the log's last byte.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the log's bytes and length durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the log.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Makes an empty new log beside the log.
    fn create_new(&mut self) -> io::Result<()>;
    /// Writes behind the new log's last byte.
    fn append_new(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the new log's bytes and length durable.
    fn sync_new(&mut self) -> io::Result<()>;
    /// Removes the new log, if that can be done.
    fn discard_new(&mut self);
    /// Puts the new log in the log's place, in one step.
    fn rename_new(&mut self) -> io::Result<()>;
    /// Makes the rename durable.
    fn sync_directory(&mut self) -> io::Result<()>;
    /// Bytes that can still be written; `None` if that cannot be known.
    fn free(&mut self) -> Option<u64>;
}

/// Files on disk: the log at its path, the new one beside it with `.new` added to its name.
pub(super) struct Disk {
    path: PathBuf,
    new_path: PathBuf,
    log: Option<File>,
    new: Option<File>,
}

impl Disk {
    /// Takes hold of the log at this path, if there is one. The caller holds the vault's lock.
    ///
    /// # Errors
    /// `WouldBlock` if somebody holds the file under another name (a hard link), which has a lock of its own.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let new_path = beside(path, ".new");
        let log = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(file) = &log {
            hold(file)?;
        }
        Ok(Disk { path: path.to_owned(), new_path, log, new: None })
    }

    /// Whether the file at the path still is the one that is open: what is written to one that was moved away, removed
    /// or replaced would be gone with this process.
    #[cfg(unix)]
    fn is_in_place(&mut self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let Some(log) = &self.log else { return Ok(()) };
        let which = |found: &std::fs::Metadata| (found.dev(), found.ino());
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) if which(&found) == which(&log.metadata()?) => Ok(()),
            Ok(_) => Err(io::Error::other(EXCHANGED)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::other(EXCHANGED)),
            Err(error) => Err(error),
        }
    }

    /// Elsewhere a file that is open cannot be replaced.
    #[cfg(not(unix))]
    fn is_in_place(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // As in `lock.rs`: a program that is just being started may have the file open for a moment longer.
        #[cfg(unix)]
        for file in self.log.iter().chain(&self.new) {
            let _ = file.unlock();
        }
    }
}

/// Takes the file for this process, under whatever name.
fn hold(file: &File) -> io::Result<()> {
    // Elsewhere a lock keeps even its owner from renaming the file.
    #[cfg(unix)]
    if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let _ = file;
    Ok(())
}

/// What is told when a vault is moved, removed or replaced while it is open.
pub(super) const EXCHANGED: &str = "its file was removed, or another put in its place, while it was open";

impl Medium for Disk {
    fn len(&mut self) -> io::Result<Option<u64>> {
        self.log.as_ref().map(|file| Ok(file.metadata()?.len())).transpose()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let file = opened(&mut self.log)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_in_place()?;
        let file = opened(&mut self.log)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        opened(&mut self.log)?.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        opened(&mut self.log)?.set_len(length)
    }

    fn create_new(&mut self) -> io::Result<()> {
        self.is_in_place()?;
        // A leftover of a crash may have been made by anyone who could write here: make our own.
        match std::fs::remove_file(&self.new_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let new = private_file::create_new(&self.new_path)?;
        hold(&new)?;
        self.new = Some(new);
        Ok(())
    }

    fn append_new(&mut self, bytes: &[u8]) -> io::Result<()> {
        opened(&mut self.new)?.write_all(bytes)
    }

    fn sync_new(&mut self) -> io::Result<()> {
        opened(&mut self.new)?.sync_all()
    }

    fn discard_new(&mut self) {
        // None was made by this process if there is none open: what is there may be somebody else's.
        if self.new.take().is_some() {
            let _ = std::fs::remove_file(&self.new_path);
        }
    }

    fn rename_new(&mut self) -> io::Result<()> {
        std::fs::rename(&self.new_path, &self.path)?;
        self.log = self.new.take();
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        private_file::sync_folder_of(&self.path)
    }

    #[cfg(unix)]
    fn free(&mut self) -> Option<u64> {
        let found = rustix::fs::fstatvfs(self.log.as_ref()?).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    #[cfg(not(unix))]
    fn free(&mut self) -> Option<u64> {
        None
    }
}

/// Memory: gone with the process.
#[derive(Default)]
pub(super) struct Memory {
    log: Option<Vec<u8>>,
    new: Vec<u8>,
}

impl Medium for Memory {
    fn len(&mut self) -> io::Result<Option<u64>> {
        Ok(self.log.as_ref().map(|log| log.len() as u64))
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let log = opened(&mut self.log)?;
        let found =
            usize::try_from(offset).ok().and_then(|start| log.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        opened(&mut self.log)?.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        opened(&mut self.log)?.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn create_new(&mut self) -> io::Result<()> {
        self.new.clear();
        Ok(())
    }

    fn append_new(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.new.extend_from_slice(bytes);
        Ok(())
    }

    fn sync_new(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn discard_new(&mut self) {
        self.new.clear();
    }

    fn rename_new(&mut self) -> io::Result<()> {
        self.log = Some(std::mem::take(&mut self.new));
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn free(&mut self) -> Option<u64> {
        None
    }
}

/// The path of a companion: the same with this added to the name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn opened<T>(file: &mut Option<T>) -> io::Result<&mut T> {
    file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
}
