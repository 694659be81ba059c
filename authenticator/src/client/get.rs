//! `navigator.credentials.get` (WebAuthn §5.1.4), over authenticatorGetAssertion (CTAP §6.2).

use ciborium::Value;
use serde_json::json;

use super::authenticator_data::AuthenticatorData;
use super::channel::Limit;
use super::client_data::{Ceremony, ClientData};
use super::ctap::{self, Info, command};
use super::dialogs::Account;
use super::error::Error;
use super::extensions::{self, Agreement, Inputs, LargeBlobOutput, Outputs, PrfOutput};
use super::options::{self, Bytes, RequestOptions, Requirement};
use super::pin::{Purpose, Token, permission};
use super::verification::{self, Verification};
use super::{Call, Client, Mediation, large_blob};
use crate::cbor::Map;
use crate::hybrid::Operation;
use crate::text::base64url;

/// An authentication on its way.
struct Authentication<'a> {
    options: &'a RequestOptions,
    rp_id: &'a str,
    info: Info,
    verified: Verification,
    limit: Limit,
}

impl Client {
    /// Authenticates: signs the challenge with a credential of the relying party.
    ///
    /// `options` is a `PublicKeyCredentialRequestOptionsJSON`, bare or as the member `publicKey`; what comes back is
    /// an `AuthenticationResponseJSON`. Takes as long as the user does, at most the options' timeout.
    ///
    /// # Errors
    /// [`Error::name`] is the exception that a page would see.
    pub fn get(
        &mut self,
        call: impl Into<Call>,
        options: &serde_json::Value,
    ) -> Result<serde_json::Value, Error> {
        let call = call.into();
        let caller = call.check()?;
        let options: RequestOptions = options::parse(options)?;
        let rp_id = call.rp_id(&caller, options.rp_id.as_deref(), self.related.as_ref())?;
        extensions::check_request(&options.extensions, &options.allow_credentials)?;
        let challenge = &options.challenge.0;
        let data = ClientData::new(Ceremony::Get, challenge, &caller);
        let mut limit = self.limit(options.timeout, call.abort);
        if call.mediation == Mediation::Conditional {
            // An autofill offer waits as long as the page is open (§5.1.4 step 5).
            limit.until = None;
        }
        if call.mediation != Mediation::Modal {
            self.offer(&call.mediation, &rp_id, &options, &limit)?;
        }
        self.channel.begin(Operation::Get, &limit)?;
        let used = self.get_with(&options, &rp_id, limit, &data);
        self.channel.end();
        used
    }

    /// The rest, once the authenticator is there.
    fn get_with(
        &mut self,
        options: &RequestOptions,
        rp_id: &str,
        limit: Limit,
        data: &ClientData,
    ) -> Result<serde_json::Value, Error> {
        let info = Info::get(&mut self.channel, &limit)?;
        match self.get_of(options, rp_id, info.clone(), limit.clone(), data) {
            Err(error) if verification::is_left_to_the_pin(&info, &error) => {
                self.get_of(options, rp_id, info.without_uv(), limit, data)
            }
            used => used,
        }
    }

    /// The same, of an authenticator of which this is known.
    fn get_of(
        &mut self,
        options: &RequestOptions,
        rp_id: &str,
        info: Info,
        limit: Limit,
        data: &ClientData,
    ) -> Result<serde_json::Value, Error> {
        let mut ceremony = Authentication { options, rp_id, info, verified: Verification::None, limit };
        self.verify_user(&mut ceremony)?;
        let batch = self.allowed_here(&ceremony)?;
        let only = batch.as_ref().filter(|ids| ids.len() == 1).map(|ids| ids[0].clone());
        let values =
            extensions::prf_values(&options.extensions, &options.allow_credentials, only.as_deref())?;
        let Client { channel, rng, .. } = self;
        let agreement = Agreement { channel, info: &ceremony.info, rng: &mut **rng, limit: &ceremony.limit };
        let inputs = extensions::request_inputs(&options.extensions, values, agreement)?;
        let answer = self.get_assertion(&ceremony, batch.as_deref(), &inputs, data)?;
        let assertion = Assertion::take(&answer, only)?;
        let outputs = self.outputs(&ceremony, &assertion, &answer, &inputs)?;
        Ok(assertion.response(data, self.attachment.default_name(), &outputs))
    }

    /// What comes before a request without a dialog: is there anything to offer?
    fn offer(
        &mut self,
        mediation: &Mediation,
        rp_id: &str,
        options: &RequestOptions,
        limit: &Limit,
    ) -> Result<(), Error> {
        // Autofill and immediate requests are for discoverable credentials; a list narrows them down.
        // What a phone has is not known before it is there.
        let is_here =
            !self.channel.is_phone() && self.find_here(rp_id, options.allowed_ids(), limit)?.is_some();
        if is_here {
            return Ok(());
        }
        match (mediation, &limit.abort) {
            // Nothing to show in the list: the request stays pending until the page takes it back.
            (Mediation::Conditional, Some(abort)) => {
                abort.wait();
                Err(Error::Aborted)
            }
            _ => Err(Error::NoCredential),
        }
    }

    fn verify_user(&mut self, ceremony: &mut Authentication<'_>) -> Result<(), Error> {
        let Authentication { options, rp_id, info, verified, limit } = ceremony;
        let mut requirement = Requirement::of_verification(options.user_verification.as_deref());
        if options.extensions.prf.is_some() && requirement == Requirement::Discouraged {
            // A PRF has two secrets, one for verified users; WebAuthn's is that one (§10.1.4).
            requirement = Requirement::Preferred;
        }
        let writes = options.extensions.large_blob.as_ref().is_some_and(|blob| blob.write.is_some());
        if writes && requirement == Requirement::Discouraged {
            requirement = Requirement::Preferred;
        }
        if verification::wanted(info, requirement) {
            let writing = if writes { permission::LARGE_BLOB_WRITE } else { 0 };
            let purpose = Purpose { permissions: permission::GET_ASSERTION | writing, rp_id };
            let Client { channel, dialogs, rng, .. } = self;
            *verified = verification::perform(channel, info, &mut **dialogs, purpose, &mut **rng, limit)?;
        }
        Ok(())
    }

    /// The allow list to send: the whole of it, or the one credential that is here, found silently, where the list is
    /// too long for one request or the PRF's inputs depend on the credential. `None` where the page gave no list.
    fn allowed_here(&mut self, ceremony: &Authentication<'_>) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let Some(allowed) = ceremony.options.allowed_ids() else { return Ok(None) };
        let mut batches = ctap::batches(allowed, &ceremony.info);
        let own_inputs =
            ceremony.options.extensions.prf.as_ref().is_some_and(|prf| !prf.eval_by_credential.is_empty());
        if batches.len() < 2 && !own_inputs {
            return batches.pop().map(Some).ok_or(Error::NoCredential);
        }
        let token = ceremony.verified.token().map(Token::parts);
        for batch in &batches {
            if let Some(id) = ctap::find(&mut self.channel, ceremony.rp_id, batch, token, &ceremony.limit)? {
                return Ok(Some(vec![id]));
            }
        }
        Err(Error::NoCredential)
    }

    /// Sends the command, and lets the user choose where there are several accounts.
    fn get_assertion(
        &mut self,
        ceremony: &Authentication<'_>,
        allowed: Option<&[Vec<u8>]>,
        inputs: &Inputs,
        data: &ClientData,
    ) -> Result<Map, Error> {
        let Authentication { rp_id, verified, limit, .. } = ceremony;
        let token = verified.token();
        let switches = Map::new().with_some("uv", verified.is_option().then_some(true));
        let parameters = Map::new()
            .with(1, *rp_id)
            .with(2, Value::Bytes(data.hash.to_vec()))
            .with_some(3, allowed.and_then(ctap::descriptors))
            .with_some(4, (!inputs.map.is_empty()).then(|| inputs.map.clone()))
            .with_some(5, (!switches.is_empty()).then_some(switches))
            .with_some(6, token.map(|token| Value::Bytes(token.authenticate(&data.hash))))
            .with_some(7, token.map(|token| token.protocol));
        let first = ctap::call(&mut self.channel, command::GET_ASSERTION, parameters, limit)?;
        let count = first.unsigned(5)?.unwrap_or(1);
        let chosen_already = first.get(6) == Some(&Value::Bool(true));
        if count < 2 || chosen_already {
            return Ok(first);
        }
        let mut answers = vec![first];
        for _ in 1..count {
            answers.push(ctap::call(&mut self.channel, command::GET_NEXT_ASSERTION, Map::new(), limit)?);
        }
        let accounts = answers.iter().map(account).collect::<Result<Vec<_>, _>>()?;
        let index = self.dialogs.choose(rp_id, &accounts).filter(|index| *index < answers.len());
        index.map(|index| answers.swap_remove(index)).ok_or(Error::Refused)
    }

    fn outputs(
        &mut self,
        ceremony: &Authentication<'_>,
        assertion: &Assertion,
        answer: &Map,
        inputs: &Inputs,
    ) -> Result<Outputs, Error> {
        let asked = &ceremony.options.extensions;
        let prf = match &asked.prf {
            Some(_) => Some(PrfOutput {
                enabled: None,
                results: extensions::prf_results(
                    &assertion.extensions,
                    "hmac-secret",
                    inputs.secret.as_ref(),
                )?,
            }),
            None => None,
        };
        let blob = assertion.extensions.named("credBlob").and_then(Value::as_bytes);
        let get_cred_blob = blob.filter(|_| asked.get_cred_blob).map(|blob| Bytes(blob.clone()));
        let large_blob = self.large_blob(ceremony, answer)?;
        Ok(Outputs { prf, get_cred_blob, large_blob, ..Outputs::default() })
    }

    /// Reads or writes the credential's large blob, after the assertion gave its key. Where that fails there is no blob,
    /// or none was written (WebAuthn §10.1.5); the user has signed in all the same.
    fn large_blob(
        &mut self,
        ceremony: &Authentication<'_>,
        answer: &Map,
    ) -> Result<Option<LargeBlobOutput>, Error> {
        let Some(asked) = &ceremony.options.extensions.large_blob else { return Ok(None) };
        let key: Option<[u8; 32]> = answer.bytes(7)?.and_then(|key| key.try_into().ok());
        let mut output = LargeBlobOutput::default();
        let Client { channel, rng, .. } = self;
        let Authentication { info, limit, verified, .. } = ceremony;
        if asked.read {
            let blob = key.map(|key| large_blob::read(channel, info, &key, limit));
            output.blob = blob.map(unless_it_fails).transpose()?.flatten().flatten().map(Bytes);
        }
        if let Some(blob) = &asked.write {
            let token = verified.token();
            let written =
                key.map(|key| large_blob::write(channel, info, &key, &blob.0, token, &mut **rng, limit));
            output.written = Some(written.map(unless_it_fails).transpose()?.flatten().unwrap_or(false));
        }
        Ok(Some(output))
    }
}

/// `None` for what failed by itself; a ceremony that was to end, ends.
fn unless_it_fails<T>(done: Result<T, Error>) -> Result<Option<T>, Error> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error @ (Error::Aborted | Error::TimedOut)) => Err(error),
        Err(error) => {
            log::warn!("the large blob was neither read nor written: {error}");
            Ok(None)
        }
    }
}

fn account(answer: &Map) -> Result<Account, Error> {
    let user = answer.map(4)?.ok_or(Error::BadAnswer("one of several assertions names no user"))?;
    let id = user.named("id").and_then(Value::as_bytes).cloned().unwrap_or_default();
    let text = |name| user.named(name).and_then(Value::as_text).map(str::to_owned);
    Ok(Account { id, name: text("name"), display_name: text("displayName") })
}

/// The authenticator's answer, taken apart.
struct Assertion {
    id: Vec<u8>,
    data: Vec<u8>,
    signature: Vec<u8>,
    user: Option<Vec<u8>>,
    extensions: Map,
}

impl Assertion {
    /// Takes the answer apart. `only` is the allow list's one member, which the answer may leave out (§6.2.2).
    fn take(answer: &Map, only: Option<Vec<u8>>) -> Result<Self, Error> {
        let descriptor = answer.map(1)?;
        let named = descriptor.as_ref().and_then(|d| d.named("id")).and_then(Value::as_bytes).cloned();
        let data = answer.bytes(2)?.ok_or(Error::BadAnswer("no authenticator data"))?.to_vec();
        let user = answer.map(4)?;
        Ok(Assertion {
            id: named.or(only).ok_or(Error::BadAnswer("no credential id"))?,
            extensions: AuthenticatorData::parse(&data)?.extensions,
            data,
            signature: answer.bytes(3)?.ok_or(Error::BadAnswer("no signature"))?.to_vec(),
            user: user.as_ref().and_then(|u| u.named("id")).and_then(Value::as_bytes).cloned(),
        })
    }

    /// AuthenticationResponseJSON.
    fn response(self, data: &ClientData, attachment: &str, outputs: &Outputs) -> serde_json::Value {
        let mut response = json!({
            "clientDataJSON": base64url(&data.json),
            "authenticatorData": base64url(&self.data),
            "signature": base64url(&self.signature),
        });
        if let Some(user) = &self.user {
            response["userHandle"] = base64url(user).into();
        }
        let id = base64url(&self.id);
        json!({
            "id": id,
            "rawId": id,
            "type": "public-key",
            "authenticatorAttachment": attachment,
            "response": response,
            "clientExtensionResults": outputs,
        })
    }
}
