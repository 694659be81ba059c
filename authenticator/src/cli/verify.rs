//! `doppelkey verify`.

use std::io::{self, BufRead, Read as _, Write};

use clap::Args;
use doppelkey_relying_party::verify::cases;

use super::{Failure, unprinted};

/// Judge WebAuthn responses: one JSON case a line in, one JSON verdict a line out
///
/// Each case on standard input carries the policy, the stored record and the client's answer. Each verdict names the
/// numbered step of WebAuthn Level 3 §7.1 or §7.2 that refused, and what it found:
///
///   doppelkey verify < cases.jsonl
///
/// The exit status is 0 when every line was a case, whatever its verdict, and 1 otherwise. A blank line is no case,
/// unless it is the last.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Add every step of the verification to each verdict
    #[arg(long)]
    transcript: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut output = io::BufWriter::new(io::stdout().lock());
        let not_cases = judge_lines(io::stdin().lock(), &mut output, self.transcript)?;
        match not_cases {
            0 => Ok(()),
            1 => Err(Failure::new("a line was no case", CASE_HINT)),
            count => Err(Failure::new(format_args!("{count} lines were no cases"), CASE_HINT)),
        }
    }
}

/// Judges line by line; each verdict is flushed before the next line is read, so that a program can talk with us.
/// A blank line gets its verdict when another line follows: the last may be blank. Gives the number of lines that were no
/// cases.
fn judge_lines(mut input: impl BufRead, output: &mut impl Write, transcript: bool) -> Result<u64, Failure> {
    let unread = |error| Failure::new(format_args!("cannot read cases: {error}"), READ_HINT);
    let (mut not_cases, mut is_blank_before) = (0, false);
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(unread)? == 0 {
            return Ok(not_cases);
        }
        if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            input.skip_until(b'\n').map_err(unread)?;
        }
        let is_blank = line.trim_ascii().is_empty();
        // what is not UTF-8 becomes text that is no JSON, or no base64url
        let text = String::from_utf8_lossy(&line);
        let judged = [is_blank_before.then_some(""), (!is_blank).then_some(&*text)];
        is_blank_before = is_blank;
        for text in judged.into_iter().flatten() {
            let verdict = cases::verdict(text);
            not_cases += u64::from(!verdict.is_case());
            match writeln!(output, "{}", verdict.to_json(transcript)).and_then(|()| output.flush()) {
                Ok(()) => {}
                // a reader that has gone is no failure
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(not_cases),
                Err(error) => return Err(unprinted(&error)),
            }
        }
    }
}

/// Longest line read, in bytes; what is longer is cut, and then is no case.
const MAX_LINE: u64 = 4 * 1024 * 1024;
const READ_HINT: &str = "give a file of cases on standard input: doppelkey verify < cases.jsonl";
const CASE_HINT: &str = "its verdict says why; the format is described under `verify::cases` in the documentation of \
                         doppelkey-relying-party";

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(input: &[u8]) -> (u64, Vec<String>) {
        let mut output = Vec::new();
        let not_cases = judge_lines(input, &mut output, false).unwrap();
        (not_cases, String::from_utf8(output).unwrap().lines().map(String::from).collect())
    }

    #[test]
    fn the_run_goes_on_after_a_line_that_is_no_case() {
        let case = br#"{"id":"x","ceremony":"registration","challenge":"","policy":{"rp_id":"a","origins":[]},"credential":{}}"#;
        let (not_cases, lines) = judge(&[b"{\xff\n", &case[..], b"\n[]"].concat());
        assert_eq!(not_cases, 2);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with(r#"{"id":null,"verdict":"error","found":"#), "{}", lines[0]);
        assert!(lines[1].starts_with(r#"{"id":"x","verdict":"reject","step":"7.1-3","#), "{}", lines[1]);
        assert!(lines[2].starts_with(r#"{"id":null,"verdict":"error","found":"#), "{}", lines[2]);
    }

    #[test]
    fn a_blank_line_is_no_case_unless_it_is_the_last() {
        let (not_cases, lines) = judge(b"{}\n\n \n{}\n\n");
        assert_eq!((not_cases, lines.len()), (4, 4), "{lines:?}");
        assert_eq!(judge(b"\n"), (0, Vec::new()));
        assert_eq!(judge(b"\n\n").0, 1);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_longest_case() {
        let mut input = vec![b' '; 3 * MAX_LINE as usize];
        input.extend(b"\n{}\n");
        let (not_cases, lines) = judge(&input);
        assert_eq!((not_cases, lines.len()), (2, 2));
    }
}
