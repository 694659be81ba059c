//! authenticatorMakeCredential (CTAP §6.1).

use heapless::String;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use crate::attestation::Attested;
use crate::authenticator::{Authenticator, Message, Reply};
use crate::authenticator_data::{AuthenticatorData, Signed, flags};
use crate::cbor::{Item, Map, Writer};
use crate::configuration::OptionId;
use crate::credential::{CREDENTIAL_ID_MAX, Credential, NAME_MAX, RP_ID_MAX, USER_ID_MAX, User, truncated};
use crate::ctap2::ceremony::{self, Consent, DescriptorList, Options, PUBLIC_KEY, UV_ATTEMPTS, Verification};
use crate::extensions::Creation;
use crate::key::{Algorithm, KeyPair, PrivateKey};
use crate::pending::Pending;
use crate::pin::Permissions;
use crate::settings::Settings;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;
use crate::user::{Action, Answer, Prompt};
use crate::wrapped;

/// A request that passed every check but the user's.
pub(crate) struct Ready {
    client_data_hash: [u8; 32],
    rp_id: String<RP_ID_MAX>,
    rp_id_hash: [u8; 32],
    user: User,
    algorithm: Algorithm,
    discoverable: bool,
    verification: Verification,
    /// What is left of [`UV_ATTEMPTS`].
    attempts: u8,
    /// A credential of the exclude list is here.
    excluded: bool,
    /// Which of the configuration's attestations; `None` for none at all.
    attestation: Option<usize>,
    extensions: Creation,
}

impl Ready {
    pub(crate) fn prompt(&self) -> Prompt<'_> {
        let action = if self.only_tells_exclusion() { Action::Excluded } else { Action::CreateCredential };
        Prompt {
            action,
            rp_id: Some(&self.rp_id),
            user_name: self.user.name.as_deref(),
            user_display_name: self.user.display_name.as_deref(),
            accounts: 0,
            verification: self.verification == Verification::BuiltIn,
        }
    }

    /// The status for a user who did not agree.
    pub(crate) fn unanswered(&self, why: Status) -> Status {
        match why {
            Status::UserActionTimeout if self.only_tells_exclusion() => Status::CredentialExcluded,
            why => self.verification.unanswered(why),
        }
    }

    /// Whether the touch serves only to tell the platform that there is a credential already. Built-in verification
    /// comes before the exclude list is looked at.
    fn only_tells_exclusion(&self) -> bool {
        self.excluded && self.verification != Verification::BuiltIn
    }
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    #[inline(never)]
    pub(crate) fn make_credential(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        response: &mut Message,
    ) -> Step<Reply> {
        let request = Request::read(parameters)?;
        let excluded = self.descriptors(request.exclude_list)?;
        if let Some(choice) = self.choice(request.pin_uv_auth_param)? {
            return Ok(Reply::Ask(choice)); // step 1
        }
        let token = self.token_parameter(request.pin_uv_auth_param, request.pin_uv_auth_protocol)?; // step 2
        let algorithm = self.chosen_algorithm(request.algorithms)?; // step 3
        let discoverable = self.creation_options(&request.options)?; // step 5
        let asked = self.asked_verification(&request.options, token)?;
        let settings = self.settings()?;
        let verification = self.verification_to_create(&settings, asked, discoverable)?; // steps 6 to 10
        let attestation = self.chosen_attestation(&request, &settings)?; // steps 9 and 19
        let rp_id_hash = Sha256::digest(request.rp_id.as_bytes()).into();
        let permission = Permissions::MAKE_CREDENTIAL;
        self.authorize(now, permission, verification, token, &request.client_data_hash, &rp_id_hash)?; // step 11
        let extensions =
            self.creation_extensions(request.extensions, discoverable, &rp_id_hash, &settings)?;
        let excluded = self.is_excluded(excluded, &rp_id_hash, verification.uv())?; // step 12
        let ready = Ready {
            client_data_hash: request.client_data_hash,
            rp_id: request.rp_id,
            rp_id_hash,
            user: request.user,
            algorithm,
            discoverable,
            verification,
            attempts: UV_ATTEMPTS,
            excluded,
            attestation,
            extensions,
        };
        self.ask_to_create(now, ready, response)
    }

    /// Steps 12 and 14: asks the user, unless a token brings the user's presence with it.
    fn ask_to_create(&mut self, now: Time, ready: Ready, response: &mut Message) -> Step<Reply> {
        if !ready.verification.is_token() || !self.pin.user_present(now) {
            return Ok(Reply::Ask(Pending::MakeCredential(ready)));
        }
        if ready.excluded {
            return Err(Status::CredentialExcluded);
        }
        self.create(&ready, response)
    }

    /// Goes on with the user's answer.
    pub(crate) fn make_credential_answered(
        &mut self,
        mut ready: Ready,
        answer: Answer,
        response: &mut Message,
    ) -> Step<Reply> {
        if ready.only_tells_exclusion() {
            return Err(Status::CredentialExcluded); // step 12.1.1.2: whatever the answer
        }
        match self.consent(ready.verification, &mut ready.attempts, answer)? {
            Consent::TryAgain => Ok(Reply::Ask(Pending::MakeCredential(ready))),
            Consent::Given { .. } if ready.excluded => Err(Status::CredentialExcluded),
            Consent::Given { .. } => self.create(&ready, response),
        }
    }

    /// Step 3: the first algorithm of the platform's list that is offered.
    fn chosen_algorithm(&self, list: Item<'_>) -> Step<Algorithm> {
        let mut chosen = None;
        // Every entry is looked at: a malformed one is an error wherever it stands.
        for entry in list.array()? {
            let entry = entry.map()?;
            let (alg, kind) = (entry.required_named("alg")?, entry.required_named("type")?.text()?);
            let algorithm = match alg.int() {
                Err(Status::CborUnexpectedType) => return Err(Status::CborUnexpectedType),
                number => number.ok().and_then(Algorithm::from_cose),
            };
            let offered = algorithm
                .filter(|algorithm| kind == PUBLIC_KEY && self.configuration.algorithms.contains(algorithm));
            chosen = chosen.or(offered);
        }
        chosen.ok_or(Status::UnsupportedAlgorithm)
    }

    /// Step 5: up cannot be false, and rk needs a place to keep the credential. Whether it is to be discoverable.
    fn creation_options(&self, options: &Options) -> Step<bool> {
        if options.up == Some(false) {
            return Err(Status::InvalidOption);
        }
        match options.rk {
            Some(_) if !self.configuration.offers(OptionId::Rk) => Err(Status::UnsupportedOption),
            rk => Ok(rk.unwrap_or(false) || self.configuration.always_discoverable),
        }
    }

    /// Steps 6 to 10: whether the user must be verified, and how it is to be done.
    fn verification_to_create(
        &mut self,
        settings: &Settings,
        asked: Verification,
        discoverable: bool,
    ) -> Step<Verification> {
        if settings.always_uv {
            return self.always_verified(asked);
        }
        let without = self.configuration.offers(OptionId::MakeCredUvNotRqd) && !discoverable;
        if asked == Verification::None && !without && self.is_protected()? {
            // Only a PIN that is set counts here (steps 7.1 and 8.1), and not that one could be.
            let pin = self.pin_serves_ceremonies()?;
            return Err(if pin { Status::PuatRequired } else { Status::OperationDenied });
        }
        Ok(asked)
    }

    /// Step 12: whether a credential of the list is here. One that only a verified user may know of is not, without.
    fn is_excluded(
        &mut self,
        list: Option<DescriptorList<'_>>,
        rp_id_hash: &[u8; 32],
        uv: bool,
    ) -> Step<bool> {
        for id in list.into_iter().flat_map(DescriptorList::ids) {
            let found = self.find(rp_id_hash, id)?;
            if found.is_some_and(|found| uv || !found.credential.protection.is_required()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Steps 15 to 19: makes the credential, attests it and keeps it. Nothing is kept unless all of it worked.
    fn create(&mut self, ready: &Ready, response: &mut Message) -> Step<Reply> {
        self.spend_token(ready.verification); // step 14.4: whatever becomes of the credential
        let (key, public) = match self.spare.take_if(|_| ready.algorithm == Algorithm::Es256) {
            Some(KeyPair { key, public }) => (key, Some(public)),
            None => (PrivateKey::generate(ready.algorithm, &mut self.rng), None),
        };
        let credential = self.new_credential(ready, key)?;
        let faults = &self.configuration.faults;
        let mut data = AuthenticatorData::new(
            faults.rp_id_hash(ready.rp_id_hash),
            faults.flags(flags(&credential, true, ready.verification.uv()), false),
            credential.sign_count.unwrap_or(0),
        );
        data.attest(&self.configuration.aaguid, &credential.id, &credential.key, public.as_deref(), faults)?;
        data.extend(&ready.extensions.outputs(
            &credential,
            &self.configuration,
            ready.verification,
            &mut self.rng,
        )?)?;
        let signed = data.signed_with(&ready.client_data_hash)?;
        self.write_attestation_object(ready, &credential, &signed, response)?;
        if self.is_stored(ready) {
            self.keep(&credential)?;
        }
        Ok(Reply::Done)
    }

    /// Whether the credential goes into the store. One that is not discoverable does by configuration, or because its
    /// key is too long for an id.
    fn is_stored(&self, ready: &Ready) -> bool {
        ready.discoverable || self.configuration.keep_all_credentials || !wrapped::fits(ready.algorithm)
    }

    /// Steps 16 and 17, but for keeping it.
    #[inline(never)]
    fn new_credential(&mut self, ready: &Ready, key: PrivateKey) -> Step<Credential> {
        let stored = self.is_stored(ready);
        let backup_eligible = stored && self.configuration.backup_eligible;
        let mut credential = Credential {
            rp_id: ready.rp_id.clone(),
            user: ready.user.clone(),
            // Copies of a credential cannot share a counter: those that may be copied have none.
            sign_count: (!backup_eligible).then_some(0),
            backup_eligible,
            backup_state: backup_eligible && self.configuration.backup_state,
            protection: self.configuration.default_protection,
            hidden: !ready.discoverable,
            non_discoverable: !ready.discoverable,
            ..Credential::new(ready.rp_id_hash, key)
        };
        ready.extensions.apply(&mut credential, stored, &mut self.rng);
        if stored {
            let mut id = [0; STORED_ID_SIZE];
            self.rng.fill_bytes(&mut id);
            credential.id = heapless::Vec::from_slice(&id).map_err(|_| Status::Other)?;
        } else {
            let identity = self.identity()?;
            credential.id = wrapped::wrap(&identity.wrapping_key, &mut self.rng, &credential)?;
        }
        Ok(credential)
    }

    /// Step 17: keeps it, in place of the account's earlier discoverable one.
    #[inline(never)]
    fn keep(&mut self, credential: &Credential) -> Step {
        let replaced = match credential.hidden {
            true => None,
            false => self.discoverable_of(&credential.rp_id_hash, &credential.user.id)?,
        };
        if replaced.is_none() && self.remaining_credentials()? == 0 {
            return Err(Status::KeyStoreFull);
        }
        Ok(self.store.put(credential, replaced.as_deref())?)
    }

    /// The id of the account's discoverable credential.
    #[inline(never)]
    fn discoverable_of(
        &mut self,
        rp_id_hash: &[u8; 32],
        user_id: &[u8],
    ) -> Step<Option<heapless::Vec<u8, CREDENTIAL_ID_MAX>>> {
        let mut found = self.store.find_user(rp_id_hash, user_id)?;
        while let Some(credential) = &found
            && (credential.hidden || credential.user.id != user_id)
        {
            found = self.store.newest_before(rp_id_hash, credential.order)?;
        }
        Ok(found.map(|credential| credential.id))
    }

    /// Step 20: the response.
    fn write_attestation_object(
        &mut self,
        ready: &Ready,
        credential: &Credential,
        signed: &Signed,
        response: &mut Message,
    ) -> Step {
        let none = crate::Attestation::None;
        let attestation = ready.attestation.and_then(|index| self.configuration.attestation.get(index));
        let attestation = attestation.unwrap_or(&none);
        let attested = Attested {
            signed: signed.message(),
            key: &credential.key,
            credential_id: &credential.id,
            faults: &self.configuration.faults,
        };
        let mut writer = Writer::new(response);
        writer.counted_map(|members| {
            members.int(1).text(attestation.format());
            members.int(2).bytes(signed.authenticator_data());
            attestation.write(&attested, members.int(3))?;
            if attestation.is_enterprise() {
                members.int(4).boolean(true);
            }
            if let Some(key) = &credential.large_blob_key {
                members.int(5).bytes(&**key);
            }
            Ok(())
        })?;
        writer.finish()?;
        self.configuration.faults.response(response);
        Ok(())
    }

    /// Steps 9 and 19: which attestation, by what the platform asks for and prefers.
    fn chosen_attestation(&self, request: &Request<'_>, settings: &Settings) -> Step<Option<usize>> {
        let attestations = &self.configuration.attestation;
        if self.is_enterprise_attested(request, settings)?
            && let Some(index) = attestations.iter().position(|attestation| attestation.is_enterprise())
        {
            return Ok(Some(index));
        }
        let usual = |format: Option<&str>| {
            attestations.iter().position(|attestation| {
                !attestation.is_enterprise() && format.is_none_or(|format| attestation.format() == format)
            })
        };
        for format in request.attestation_formats_preference.into_iter().flatten() {
            match format.text() {
                Ok("none") => return Ok(None),
                Ok(format) => match usual(Some(format)) {
                    Some(index) => return Ok(Some(index)),
                    None => continue,
                },
                Err(_) => continue,
            }
        }
        Ok(usual(None))
    }

    /// Step 9: whether this RP gets enterprise attestation.
    ///
    /// # Errors
    /// [`Status::InvalidParameter`] where it is not offered or not enabled, [`Status::InvalidOption`] for a kind
    /// there is not.
    fn is_enterprise_attested(&self, request: &Request<'_>, settings: &Settings) -> Step<bool> {
        let Some(kind) = request.enterprise_attestation else { return Ok(false) };
        if !self.configuration.offers(OptionId::Ep) || !settings.enterprise_attestation {
            return Err(Status::InvalidParameter);
        }
        match kind {
            1 => Ok(self
                .configuration
                .enterprise_rp_ids
                .iter()
                .any(|id| id.as_str() == request.rp_id.as_str())),
            2 => Ok(true),
            _ => Err(Status::InvalidOption),
        }
    }
}

/// The parameters (§6.1.1), checked for presence and type.
struct Request<'a> {
    client_data_hash: [u8; 32],
    rp_id: String<RP_ID_MAX>,
    user: User,
    algorithms: Item<'a>,
    exclude_list: Option<Item<'a>>,
    extensions: Map<'a>,
    options: Options,
    pin_uv_auth_param: Option<Item<'a>>,
    pin_uv_auth_protocol: Option<Item<'a>>,
    enterprise_attestation: Option<u64>,
    attestation_formats_preference: Option<crate::cbor::Items<'a>>,
}

impl<'a> Request<'a> {
    fn read(parameters: Map<'a>) -> Step<Self> {
        let client_data_hash = ceremony::client_data_hash(parameters.required(0x01)?)?;
        let rp = parameters.required(0x02)?.map()?;
        let user = parameters.required(0x03)?.map()?;
        let algorithms = parameters.required(0x04)?;
        rp.named("name").map(Item::text).transpose()?;
        Ok(Request {
            client_data_hash,
            rp_id: ceremony::rp_id(rp.required_named("id")?)?,
            user: read_user(user)?,
            algorithms,
            exclude_list: parameters.get(0x05),
            extensions: ceremony::extension_inputs(parameters.get(0x06))?,
            options: Options::read(parameters.get(0x07))?,
            pin_uv_auth_param: ceremony::typed(parameters.get(0x08), Item::bytes)?,
            pin_uv_auth_protocol: ceremony::typed(parameters.get(0x09), Item::unsigned)?,
            enterprise_attestation: parameters.get(0x0A).map(Item::unsigned).transpose()?,
            // A preference that is no list is none, not an error: so the certification's own tool has it.
            attestation_formats_preference: parameters.get(0x0B).and_then(|list| list.array().ok()),
        })
    }
}

/// PublicKeyCredentialUserEntity: names are cut to what is kept, a handle is not.
pub(crate) fn read_user(user: Map<'_>) -> Step<User> {
    let id = user.required_named("id")?.bytes()?;
    if id.len() > USER_ID_MAX {
        return Err(Status::InvalidLength);
    }
    let name = |key| -> Step<_> {
        let name = user.named(key).map(Item::text).transpose()?;
        Ok(name.map(truncated::<NAME_MAX>))
    };
    Ok(User {
        id: heapless::Vec::from_slice(id).map_err(|_| Status::InvalidLength)?,
        name: name("name")?,
        display_name: name("displayName")?,
    })
}

/// Ids of credentials that are kept are random: no two are ever the same, and they tell nothing.
const STORED_ID_SIZE: usize = 32;
