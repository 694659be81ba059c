//! `navigator.credentials.create` (WebAuthn §5.1.3), over authenticatorMakeCredential (CTAP §6.1).

use ciborium::Value;
use serde_json::json;

use super::authenticator_data::{Attested, AuthenticatorData};
use super::channel::Limit;
use super::client_data::{Ceremony, ClientData};
use super::ctap::{self, Info, command};
use super::error::Error;
use super::extensions::{self, Agreement, CredProps, Inputs, LargeBlobOutput, Outputs, PrfOutput};
use super::options::{self, CreationOptions, Requirement};
use super::pin::{Purpose, permission};
use super::verification::{self, Verification};
use super::{Call, Client, Mediation, public_key};
use crate::cbor::{self, Map};
use crate::hybrid::Operation;
use crate::text::base64url;

/// The defaults where the page names no algorithm (§5.1.3 step 10).
const DEFAULT_ALGORITHMS: [i64; 2] = [-7, -257];

/// A registration on its way: what the page asks, and what was decided about it.
struct Registration<'a> {
    options: &'a CreationOptions,
    rp_id: &'a str,
    algorithms: Vec<i64>,
    discoverable: bool,
    excluded: Vec<Vec<u8>>,
    limit: Limit,
}

impl Client {
    /// Registers: makes a credential for the relying party that the options describe.
    ///
    /// `options` is a `PublicKeyCredentialCreationOptionsJSON`, bare or as the member `publicKey`; what comes back
    /// is a `RegistrationResponseJSON`. Takes as long as the user does, at most the options' timeout.
    ///
    /// # Errors
    /// [`Error::name`] is the exception that a page would see.
    pub fn create(
        &mut self,
        call: impl Into<Call>,
        options: &serde_json::Value,
    ) -> Result<serde_json::Value, Error> {
        let call = call.into();
        let caller = call.check()?;
        let options: CreationOptions = options::parse(options)?;
        if options.user.id.0.is_empty() || options.user.id.0.len() > 64 {
            return Err(Error::Options("user.id: 1 to 64 bytes are needed".to_owned()));
        }
        let rp_id = call.rp_id(&caller, options.rp.id.as_deref(), self.related.as_ref())?;
        let algorithms = algorithms(&options)?;
        self.attachment.check(options.authenticator_selection.authenticator_attachment.as_deref())?;
        if matches!(call.mediation, Mediation::Immediate) {
            return Err(Error::Unsupported("immediate mediation at a registration"));
        }
        let challenge = &options.challenge.0;
        let data = ClientData::new(Ceremony::Create, challenge, &caller);
        let limit = self.limit(options.timeout, call.abort);
        self.channel.begin(Operation::Create, &limit)?;
        let made = self.create_with(&options, &rp_id, algorithms, limit, &data);
        self.channel.end();
        made
    }

    /// The rest, once the authenticator is there.
    fn create_with(
        &mut self,
        options: &CreationOptions,
        rp_id: &str,
        algorithms: Vec<i64>,
        limit: Limit,
        data: &ClientData,
    ) -> Result<serde_json::Value, Error> {
        let info = Info::get(&mut self.channel, &limit)?;
        let discoverable = discoverable(options, &info)?;
        let ids = options.exclude_credentials.iter().filter(|descriptor| descriptor.kind == "public-key");
        let registration = Registration {
            options,
            rp_id,
            algorithms,
            discoverable,
            excluded: ids.map(|descriptor| descriptor.id.0.clone()).collect(),
            limit,
        };
        let (answer, inputs, transports) = match self.make_credential(&registration, info.clone(), data) {
            Err(error) if verification::is_left_to_the_pin(&info, &error) => {
                self.make_credential(&registration, info.without_uv(), data)?
            }
            made => made?,
        };
        let parsed = Answer::take(&answer, options)?;
        let outputs = outputs(options, discoverable, &parsed, &answer, &inputs)?;
        parsed.response(data, self.attachment.answer(options), &transports, &outputs)
    }

    /// Verifies the user if that is asked for, and sends the command.
    fn make_credential(
        &mut self,
        registration: &Registration<'_>,
        mut info: Info,
        data: &ClientData,
    ) -> Result<(Map, Inputs, Vec<String>), Error> {
        let &Registration { options, rp_id, ref algorithms, discoverable, ref excluded, ref limit } =
            registration;
        let mut requirement =
            Requirement::of_verification(options.authenticator_selection.user_verification.as_deref());
        if options.extensions.prf.is_some() && requirement == Requirement::Discouraged {
            // As at a sign-in: WebAuthn's PRF is the secret for verified users (§10.1.4).
            requirement = Requirement::Preferred;
        }
        let mut batches = ctap::batches(excluded.clone(), &info);
        let mut verified = Verification::None;
        if verification::wanted_to_create(&info, requirement, discoverable) {
            // Looking through the exclude list in several steps takes assertions.
            let looking = if batches.len() > 1 { permission::GET_ASSERTION } else { 0 };
            let purpose = Purpose { permissions: permission::MAKE_CREDENTIAL | looking, rp_id };
            let Client { channel, dialogs, rng, .. } = self;
            verified = verification::perform(channel, &mut info, &mut **dialogs, purpose, &mut **rng, limit)?;
        }
        let token = verified.token();
        if batches.len() > 1 {
            batches = self.excluded_here(rp_id, batches, token.map(super::pin::Token::parts), limit)?;
        }
        let agreement = Agreement { channel: &mut self.channel, info: &info, rng: &mut *self.rng, limit };
        let is_verified = !matches!(verified, Verification::None);
        let inputs = extensions::creation_inputs(&options.extensions, discoverable, is_verified, agreement)?;
        let user = Map::new()
            .with("id", Value::Bytes(options.user.id.0.clone()))
            .with("name", options.user.name.as_str())
            .with("displayName", options.user.display_name.as_str());
        let algorithm = |alg: i64| Map::new().with("alg", alg).with("type", "public-key").into();
        let switches = Map::new()
            .with_some("rk", discoverable.then_some(true))
            .with_some("uv", verified.is_option().then_some(true));
        let parameters = Map::new()
            .with(1, Value::Bytes(data.hash.to_vec()))
            .with(2, Map::new().with("id", rp_id).with("name", options.rp.name.as_str()))
            .with(3, user)
            .with(4, Value::Array(algorithms.iter().copied().map(algorithm).collect()))
            .with_some(5, batches.first().and_then(|ids| ctap::descriptors(ids)))
            .with_some(6, (!inputs.map.is_empty()).then(|| inputs.map.clone()))
            .with_some(7, (!switches.is_empty()).then_some(switches))
            .with_some(8, token.map(|token| Value::Bytes(token.authenticate(&data.hash))))
            .with_some(9, token.map(|token| token.protocol))
            .with_some(10, self.enterprise(options, rp_id, &info))
            .with_some(11, formats(options, &info));
        let answer = ctap::call(&mut self.channel, command::MAKE_CREDENTIAL, parameters, limit)?;
        Ok((answer, inputs, info.transports))
    }

    /// The one excluded credential that is here, of a list too long for one request; or nothing.
    fn excluded_here(
        &mut self,
        rp_id: &str,
        batches: Vec<Vec<Vec<u8>>>,
        token: Option<(&[u8], u64)>,
        limit: &Limit,
    ) -> Result<Vec<Vec<Vec<u8>>>, Error> {
        for batch in &batches {
            if let Some(id) = ctap::find(&mut self.channel, rp_id, batch, token, limit)? {
                return Ok(vec![vec![id]]);
            }
        }
        Ok(Vec::new())
    }

    /// enterpriseAttestation: 2 for the RP IDs that this client is told of, else 1 (CTAP §7.1).
    fn enterprise(&self, options: &CreationOptions, rp_id: &str, info: &Info) -> Option<u64> {
        let asked = options.attestation.as_deref() == Some("enterprise") && info.is("ep");
        asked.then(|| if self.enterprise_rp_ids.iter().any(|listed| listed == rp_id) { 2 } else { 1 })
    }
}

/// The algorithms asked for, in the page's order.
fn algorithms(options: &CreationOptions) -> Result<Vec<i64>, Error> {
    if options.pub_key_cred_params.is_empty() {
        return Ok(DEFAULT_ALGORITHMS.to_vec());
    }
    let known = options.pub_key_cred_params.iter().filter(|parameters| parameters.kind == "public-key");
    let algorithms: Vec<i64> = known.map(|parameters| parameters.alg).collect();
    if algorithms.is_empty() { Err(Error::NoCommonAlgorithm) } else { Ok(algorithms) }
}

/// Whether the credential is to be discoverable (§5.1.3 step 21, `requireResidentKey`).
fn discoverable(options: &CreationOptions, info: &Info) -> Result<bool, Error> {
    match options.authenticator_selection.resident_key() {
        Requirement::Required if !info.is("rk") => {
            Err(Error::Unsupported("discoverable credentials, which the options require"))
        }
        Requirement::Required => Ok(true),
        Requirement::Preferred => Ok(info.is("rk")),
        Requirement::Discouraged => Ok(false),
    }
}

/// attestationFormatsPreference, where the authenticator knows the member (CTAP §6.1, 0x0B).
fn formats(options: &CreationOptions, info: &Info) -> Option<Value> {
    let wanted: Vec<Value> = match conveyance(options) {
        Conveyance::None => vec!["none".into()],
        Conveyance::AsItIs => {
            options.attestation_formats.iter().map(|format| format.as_str().into()).collect()
        }
    };
    (info.attestation_formats && !wanted.is_empty()).then_some(Value::Array(wanted))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Conveyance {
    None,
    AsItIs,
}

fn conveyance(options: &CreationOptions) -> Conveyance {
    match options.attestation.as_deref() {
        Some("direct" | "indirect" | "enterprise") => Conveyance::AsItIs,
        _ => Conveyance::None,
    }
}

/// The authenticator's answer, taken apart.
struct Answer {
    format: String,
    statement: Value,
    data: Vec<u8>,
    attested: Attested,
    extensions: Map,
}

impl Answer {
    /// Takes the answer apart, and out of it what the page did not ask for.
    fn take(answer: &Map, options: &CreationOptions) -> Result<Self, Error> {
        let format =
            answer.get(1).and_then(Value::as_text).ok_or(Error::BadAnswer("no attestation format"))?;
        let data = answer.bytes(2)?.ok_or(Error::BadAnswer("no authenticator data"))?.to_vec();
        let statement = answer.get(3).cloned().unwrap_or_else(|| Value::Map(Vec::new()));
        let parsed = AuthenticatorData::parse(&data)?;
        let attested = parsed.attested.ok_or(Error::BadAnswer("no credential in the authenticator data"))?;
        let mut taken =
            Answer { format: format.to_owned(), statement, data, attested, extensions: parsed.extensions };
        if conveyance(options) == Conveyance::None && !taken.is_anonymous() {
            taken.format = "none".to_owned();
            taken.statement = Value::Map(Vec::new());
        }
        Ok(taken)
    }

    /// Self attestation of no particular model says nothing about the authenticator (§5.1.3, `none`).
    fn is_anonymous(&self) -> bool {
        let certified =
            Map::from_value(&self.statement).is_none_or(|statement| statement.named("x5c").is_some());
        self.attested.aaguid == [0; 16] && self.format == "packed" && !certified
    }

    /// RegistrationResponseJSON.
    fn response(
        self,
        data: &ClientData,
        attachment: &str,
        transports: &[String],
        outputs: &Outputs,
    ) -> Result<serde_json::Value, Error> {
        let algorithm = public_key::cose_algorithm(&self.attested.key)
            .ok_or(Error::BadAnswer("a credential key without an algorithm"))?;
        let object = Map::new()
            .with("fmt", self.format)
            .with("attStmt", self.statement)
            .with("authData", Value::Bytes(self.data.clone()));
        let mut transports = transports.to_vec();
        transports.sort();
        transports.dedup();
        let id = base64url(&self.attested.id);
        Ok(json!({
            "id": id,
            "rawId": id,
            "type": "public-key",
            "authenticatorAttachment": attachment,
            "response": {
                "clientDataJSON": base64url(&data.json),
                "attestationObject": base64url(&cbor::encode(object.into())),
                "authenticatorData": base64url(&self.data),
                "transports": transports,
                "publicKey": public_key::to_spki(&self.attested.key).map(|key| base64url(&key)),
                "publicKeyAlgorithm": algorithm,
            },
            "clientExtensionResults": outputs,
        }))
    }
}

/// Client extension outputs.
fn outputs(
    options: &CreationOptions,
    discoverable: bool,
    parsed: &Answer,
    answer: &Map,
    inputs: &Inputs,
) -> Result<Outputs, Error> {
    let asked = &options.extensions;
    let is_true = |name| parsed.extensions.named(name) == Some(&Value::Bool(true));
    let prf = match &asked.prf {
        Some(_) => Some(PrfOutput {
            enabled: Some(is_true("hmac-secret")),
            results: extensions::prf_results(&parsed.extensions, "hmac-secret-mc", inputs.secret.as_ref())?,
        }),
        None => None,
    };
    Ok(Outputs {
        cred_props: asked.cred_props.then_some(CredProps { rk: discoverable }),
        hmac_create_secret: asked.hmac_create_secret.then(|| is_true("hmac-secret")),
        cred_blob: asked.cred_blob.as_ref().map(|_| is_true("credBlob")),
        prf,
        large_blob: asked.large_blob.as_ref().map(|_| LargeBlobOutput {
            supported: Some(answer.get(5).is_some()),
            ..LargeBlobOutput::default()
        }),
        ..Outputs::default()
    })
}
