//! Names that strangers have chosen (sites, phones, devices of a circle), on a terminal.

/// The name with � in the place of whatever would steer the terminal, or have a line read in another order than it was
/// written in.
pub(crate) fn visible(name: &str) -> String {
    name.chars().map(|character| if steers(character) { '\u{fffd}' } else { character }).collect()
}

/// Control characters; marks, embeddings and isolates of the bidirectional algorithm; separators of lines.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal_or_turn_a_line_round() {
        assert_eq!(visible("\u{1b}[2Jmoc.elpmaxe\u{202e}\u{2028}\u{9b}"), "�[2Jmoc.elpmaxe���");
        assert_eq!(visible("Jürgen 👩‍🚀 مرحبا"), "Jürgen 👩‍🚀 مرحبا");
    }
}
