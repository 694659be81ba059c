//! A vendor command that keeps sync's records: opaque here, sealed by whoever wrote them.
//!
//! With it a microcontroller can hold what a recovery member needs: a circle's records, on something that lies in a
//! drawer. Nothing here looks into them.
//!
//! | offset in the request | size | what |
//! |---|---|---|
//! | 0 | 1 | [`COMMAND`], one of those that CTAP §6 leaves to vendors |
//! | 1 | 1 | 1 to read, 2 to write |
//! | 2 | … | to write: the records as a whole, at most [`RECORDS_MAX`] bytes |
//!
//! The response is a CTAP status byte and, after 1, the records; none are nothing. Writing takes a touch, because what
//! was there is lost; reading takes none, because it is sealed. A factory reset keeps them.

use doppelkey_core::{CredentialStore, Message, Slot, StoreError};

/// The command's byte, sent by CTAPHID_CBOR.
pub const COMMAND: u8 = 0x53;

/// The most bytes that are kept.
pub const RECORDS_MAX: usize = 1024;

/// How the user answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nobody was asked yet.
    Unasked,
    /// By a touch.
    Given,
    /// The platform gave up.
    Cancelled,
    /// Nobody came.
    TimedOut,
}

/// Whether the request is for this command.
pub fn is_for_records(request: &[u8]) -> bool {
    request.first() == Some(&COMMAND)
}

/// Does what the request says. `false` if the user is to be asked first; nothing is written then.
pub fn handle(
    store: &mut impl CredentialStore,
    request: &[u8],
    consent: Consent,
    response: &mut Message,
) -> bool {
    let outcome = match (request.get(1), consent) {
        (None, _) => Err(INVALID_LENGTH),
        (Some(1), _) if request.len() == 2 => return read(store, response),
        (Some(1), _) => Err(INVALID_LENGTH),
        (Some(2), _) if request.len() - 2 > RECORDS_MAX => Err(KEY_STORE_FULL),
        (Some(2), Consent::Unasked) => return false,
        (Some(2), Consent::Cancelled) => Err(KEEPALIVE_CANCEL),
        (Some(2), Consent::TimedOut) => Err(USER_ACTION_TIMEOUT),
        (Some(2), Consent::Given) => store.write(Slot::Sync, &request[2..]).map_err(status),
        (Some(_), _) => Err(INVALID_PARAMETER),
    };
    answer(response, outcome.err().unwrap_or(OK));
    true
}

fn read(store: &mut impl CredentialStore, response: &mut Message) -> bool {
    answer(response, OK);
    // The records go where they are sent from: a copy on the stack would be as large as they are.
    let _ = response.resize(1 + RECORDS_MAX, 0);
    match store.read(Slot::Sync, &mut response[1..]) {
        Ok(length) => response.truncate(1 + length.unwrap_or(0)),
        Err(error) => answer(response, status(error)),
    }
    true
}

fn answer(response: &mut Message, status: u8) {
    response.clear();
    let _ = response.push(status);
}

fn status(error: StoreError) -> u8 {
    match error {
        StoreError::Full => KEY_STORE_FULL,
        StoreError::Fault => OTHER,
    }
}

// CTAP §8.2.
const OK: u8 = 0x00;
const INVALID_PARAMETER: u8 = 0x02;
const INVALID_LENGTH: u8 = 0x03;
const KEY_STORE_FULL: u8 = 0x28;
const KEEPALIVE_CANCEL: u8 = 0x2D;
const USER_ACTION_TIMEOUT: u8 = 0x2F;
const OTHER: u8 = 0x7F;
