//! How this program is named to a shell that has root's `PATH`.

use std::path::Path;

/// The word after `sudo` that starts this program: `doppelkey` where sudo finds it by itself, its path elsewhere.
///
/// sudo has a `PATH` of its own, which what `cargo install` and `cargo build` make is not on.
pub(super) fn for_root() -> String {
    std::env::current_exe().map_or_else(|_| NAME.into(), |path| named(&path))
}

/// The command that was given, to be said again after `sudo`.
#[cfg(target_os = "linux")]
pub(super) fn again() -> String {
    let arguments = std::env::args().skip(1).map(|word| quoted(&word));
    std::iter::once(for_root()).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn named(path: &Path) -> String {
    let is_found = path.file_name().is_some_and(|name| name == NAME)
        && path.parent().is_some_and(|folder| SECURE_PATH.iter().any(|secure| folder == Path::new(secure)));
    if is_found { NAME.into() } else { quoted(&path.display().to_string()) }
}

fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "-_./:=,+@%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

const NAME: &str = "doppelkey";

/// sudo's usual `secure_path`.
const SECURE_PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_sudo_does_not_find_is_named_by_its_path() {
        for (path, name) in [
            ("/usr/bin/doppelkey", "doppelkey"),
            ("/usr/local/bin/doppelkey", "doppelkey"),
            ("/home/mona/.cargo/bin/doppelkey", "/home/mona/.cargo/bin/doppelkey"),
            (
                "/home/mona/my clone/target/release/doppelkey",
                "'/home/mona/my clone/target/release/doppelkey'",
            ),
            ("/usr/bin/doppelkey-0.1", "/usr/bin/doppelkey-0.1"),
            ("/usr/bin/other/doppelkey", "/usr/bin/other/doppelkey"),
        ] {
            assert_eq!(named(Path::new(path)), name);
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("/usr/bin/doppelkey"), "/usr/bin/doppelkey");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert_eq!(quoted(""), "''");
    }
}
