//! Files for their owner alone; and those of a few bytes that are made once and then kept for ever: keys and seeds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::path::Path;
#[cfg(unix)]
use std::sync::{Mutex, PoisonError};

/// Makes a file that its owner alone may read, open for reading and writing.
///
/// # Errors
/// `AlreadyExists`, if something of that name is there.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Puts such a file with these bytes in the place of whatever has this name, and not of what that may lead to.
///
/// # Errors
/// The file system's.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create_new(path)?.write_all(bytes)
}

/// Makes a folder that its owner alone may enter, and those above it that are missing. One that is there stays as it is.
///
/// # Errors
/// The file system's.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes such a file with these bytes, durably: whoever sees it sees all of it, also after a crash or a power cut in the
/// middle. A crash may leave another file beside it, which nobody uses.
///
/// # Errors
/// `AlreadyExists`, if something of that name is there, or another process was first: that one's bytes count.
pub(crate) fn create_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // A name of its own, so that nobody else takes it away before it has its last one.
    let mut unique = [0; 8];
    getrandom::fill(&mut unique).map_err(io::Error::other)?;
    let unfinished = path.with_added_extension(format!("{:016x}.new", u64::from_le_bytes(unique)));
    let mut file = create_new(&unfinished)?;
    let named = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| name(&unfinished, path));
    let _ = fs::remove_file(&unfinished);
    named?;
    sync_folder_of(path)
}

/// Gives the file this name, unless something else has it.
fn name(unfinished: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(unfinished, path) {
        // FAT has no links. Who is first and who is second cannot be told there.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
            fs::rename(unfinished, path)
        }
        linked => linked,
    }
}

/// Listens at a path, for its owner alone from the first moment: a mode that is set afterwards lets in whoever was there
/// before.
///
/// # Errors
/// As [`UnixListener::bind`].
#[cfg(unix)]
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    use rustix::fs::Mode;
    // The process has one for all threads. What another makes in this moment is for its owner alone, too; a folder is
    // one that its owner can enter.
    let _one_at_a_time = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let listening = UnixListener::bind(path);
    rustix::process::umask(before);
    listening
}

/// Of two that change it at once, one would put back what the other had set for a moment.
#[cfg(unix)]
static UMASK: Mutex<()> = Mutex::new(());

/// Makes the names in this file's folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened, and renames are ordered by the file system's journal.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    }
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_made_once_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let path = folder.path().join("key");
        create_whole(&path, b"first").expect("there is room");
        let again = create_whole(&path, b"second").expect_err("it is there");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("it is there"), b"first");
        assert_eq!(fs::read_dir(folder.path()).expect("it lists").count(), 1);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).expect("it is there"));
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn of_many_who_make_one_file_at_once_one_does() {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let path = folder.path().join("key");
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u8)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || create_whole(path, &[number; 32]).is_ok())
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|&made| made).count()
        });
        assert_eq!(made, 1);
        assert_eq!(fs::read_dir(folder.path()).expect("it lists").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn whoever_listens_changes_no_mode_for_long_and_no_folder_that_another_makes_is_shut() {
        use std::os::unix::fs::MetadataExt as _;

        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let make = |name: String| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("there is room");
            fs::metadata(&path).expect("it is there").mode() & 0o777
        };
        // Nobody listens meanwhile, here or in another test.
        let alone = || UMASK.lock().unwrap_or_else(PoisonError::into_inner);
        let before = {
            let _alone = alone();
            make("before".into())
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let folder = folder.path();
                scope.spawn(move || {
                    for number in 0..200 {
                        let path = folder.join(format!("{thread}-{number}"));
                        listen(&path).expect("there is room");
                        let mode = fs::metadata(&path).expect("it is there").mode();
                        assert_eq!(mode & 0o077, 0, "it is its owner's alone");
                    }
                });
            }
            for number in 0..1000 {
                assert_eq!(make(format!("folder-{number}")) & 0o700, 0o700, "its owner can enter it");
            }
        });
        let _alone = alone();
        assert_eq!(make("after".into()), before);
    }
}
