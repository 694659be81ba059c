//! Tests of the whole vault.
