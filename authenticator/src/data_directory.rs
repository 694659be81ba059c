//! Where what this user keeps is, on this computer.

use std::path::PathBuf;

/// `$XDG_DATA_HOME/doppelkey` or `~/.local/share/doppelkey`; on Windows `%LOCALAPPDATA%\doppelkey`. It need not be there.
/// `None` if nothing says where.
///
/// Without `HOME`, as services are, the home directory is that of the account.
pub(crate) fn data_directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let local = if cfg!(windows) { variable("LOCALAPPDATA") } else { None };
    let home = || std::env::home_dir().filter(|path| path.is_absolute());
    let data = variable("XDG_DATA_HOME").or(local).or_else(|| Some(home()?.join(".local/share")))?;
    Some(data.join("doppelkey"))
}
