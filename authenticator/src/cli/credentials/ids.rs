//! Credential ids on the command line: they are base64url, so one in 64 begins with a hyphen, as options do.

use std::ffi::{OsStr, OsString};

use clap::Command;

/// How many characters of an id are shown in a list. One that begins with two hyphens is told from a mistyped option if
/// it is as long as that.
pub(super) const SHOWN: usize = 16;

/// The words of a command line, with the ids of `credentials show` and `credentials delete` that begin with a hyphen
/// behind a `--`, where they are taken for no option. Of every other command they are left as they are.
pub(in crate::cli) fn set_apart(
    program: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let Some(command) = subcommand(program, &words).filter(|command| takes_ids(command)) else {
        return words;
    };
    let end_of_options = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let apart_already = words.split_off(end_of_options);
    let (ids, mut words): (Vec<_>, Vec<_>) =
        words.into_iter().partition(|word| is_id(program, command, word));
    words.push("--".into());
    words.extend(ids);
    words.extend(apart_already.into_iter().skip(1));
    words
}

/// The subcommand that the words name.
fn subcommand<'a>(program: &'a Command, words: &[OsString]) -> Option<&'a Command> {
    let mut names = words.iter().skip(1).filter(|word| !begins_with_hyphen(word));
    let group = program.find_subcommand(names.next()?)?;
    group.find_subcommand(names.next()?).filter(|_| group.get_name() == "credentials")
}

fn takes_ids(command: &Command) -> bool {
    matches!(command.get_name(), "show" | "delete")
}

fn begins_with_hyphen(word: &OsStr) -> bool {
    word.as_encoded_bytes().first() == Some(&b'-')
}

/// Whether a word that begins with a hyphen is an id, and no option of the command or the program.
fn is_id(program: &Command, command: &Command, word: &OsStr) -> bool {
    let Some(rest) = word.to_str().and_then(|word| word.strip_prefix('-')) else { return false };
    if !rest.trim_end_matches('…').bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        return false;
    }
    let options = || program.get_arguments().chain(command.get_arguments());
    match rest.strip_prefix('-') {
        Some(long) => rest.len() >= SHOWN - 1 && options().all(|option| option.get_long() != Some(long)),
        // -h is clap's own.
        None => !rest
            .chars()
            .all(|short| short == 'h' || options().any(|option| option.get_short() == Some(short))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::command_line;
    use super::*;

    /// What becomes of the words after `doppelkey`.
    fn apart(words: &str) -> String {
        let words = std::iter::once("doppelkey").chain(words.split(' ')).map(OsString::from);
        let apart = set_apart(&command_line(), words);
        apart.iter().skip(1).map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ids_that_begin_with_a_hyphen_are_no_options() {
        for (typed, meant) in [
            ("credentials show -cgz", "credentials show -- -cgz"),
            ("credentials show --json -vault", "credentials show --json -- -vault"),
            ("-v credentials show -h9_-", "-v credentials show -- -h9_-"),
            ("credentials delete -a AgIC -b… --vault=x", "credentials delete AgIC --vault=x -- -a -b…"),
            ("credentials delete --vault x -a -- -v", "credentials delete --vault x -- -a -v"),
            ("credentials delete --gzWAWn0CWOw8s…", "credentials delete -- --gzWAWn0CWOw8s…"),
        ] {
            assert_eq!(apart(typed), meant);
        }
    }

    #[test]
    fn options_stay_options() {
        for typed in ["-h", "-v", "-vh", "--help", "--verbose", "--vault x", "--custody file:x", "--jsn", "-"]
        {
            let typed = format!("credentials delete {typed}");
            assert_eq!(apart(&typed), format!("{typed} --"));
        }
        for typed in ["credentials list -x", "credentials", "pin set -show", "run -delete", "-V", "show -cgz"]
        {
            assert_eq!(apart(typed), typed);
        }
    }
}
