//! An engine that tells which credential each assertion was made with.

use doppelkey_core::{Input, Message, Output, Prompt, Time, User};

use crate::device::{Engine, OnAssertion};

/// Another engine, listened to.
pub(super) struct Asserting {
    engine: Box<dyn Engine>,
    told: OnAssertion,
    /// The command of the last request.
    command: Option<u8>,
}

impl Asserting {
    pub(super) fn new(engine: Box<dyn Engine>, told: OnAssertion) -> Self {
        Asserting { engine, told, command: None }
    }
}

impl Engine for Asserting {
    fn handle(&mut self, now: Time, input: Input<'_>, response: &mut Message) -> Output {
        match input {
            Input::Cbor(request) => self.command = request.first().copied(),
            Input::Msg(_) => self.command = None,
            _ => {}
        }
        let output = self.engine.handle(now, input, response);
        if output == Output::Respond
            && let Some(GET_ASSERTION | GET_NEXT_ASSERTION) = self.command
            && let Some((0, body)) = response.split_first()
            && let Some((id, present)) = asserted(body)
        {
            (self.told)(&id, present);
        }
        output
    }

    fn prompt(&self) -> Option<Prompt<'_>> {
        self.engine.prompt()
    }

    fn offered_accounts(&mut self, most: usize) -> Vec<User> {
        self.engine.offered_accounts(most)
    }

    fn prepare(&mut self) {
        self.engine.prepare();
    }

    fn end_stateful_commands(&mut self) {
        self.engine.end_stateful_commands();
    }

    fn speaks_u2f(&self) -> bool {
        self.engine.speaks_u2f()
    }
}

/// The id in the response to getAssertion (CTAP §6.2.3, member 1), and UP in its authenticator data (member 2).
fn asserted(body: &[u8]) -> Option<(Vec<u8>, bool)> {
    let response: ciborium::Value = ciborium::from_reader(body).ok()?;
    let member = |number: u8| response.as_map()?.iter().find(|(key, _)| *key == number.into());
    let (_, credential) = member(1)?;
    let (_, id) = credential.as_map()?.iter().find(|(key, _)| key.as_text() == Some("id"))?;
    let (_, data) = member(2)?;
    let flags = data.as_bytes()?.get(32)?;
    Some((id.as_bytes()?.clone(), flags & 1 == 1))
}

const GET_ASSERTION: u8 = 0x02;
const GET_NEXT_ASSERTION: u8 = 0x08;
