//! A WebAuthn relying party.
