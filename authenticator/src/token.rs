//! Tokens: what the control port and the bridge know their users by.

use crate::text::base64url;

/// The token of one run: whoever has it is served.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one, of 32 random bytes. `None` if the operating system gives none.
    pub fn random() -> Option<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        Some(Token(base64url(&bytes)))
    }

    /// The token as text, in characters that a URL's path takes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in time that does not depend on where they differ.
    pub(crate) fn is(&self, shown: &str) -> bool {
        let differences =
            self.0.bytes().zip(shown.bytes()).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        self.0.len() == shown.len() && std::hint::black_box(differences) == 0
    }
}

/// Says nothing of the token.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let token = Token::random().unwrap();
        assert!(token.is(token.as_str()));
        assert!(!token.is(""));
        assert!(!token.is(&token.as_str()[1..]));
        assert!(!token.is(Token::random().unwrap().as_str()));
    }
}
