//! authenticatorGetAssertion (CTAP §6.2).

use heapless::String;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use crate::authenticator::{Authenticator, Message, Reply};
use crate::authenticator_data::{AuthenticatorData, Signed, flags};
use crate::cbor::{Item, Map, Writer};
use crate::credential::{Credential, CredentialProtection, RP_ID_MAX, User};
use crate::ctap2::ceremony::{
    self, Consent, CredentialId, DescriptorList, Found, Options, PUBLIC_KEY, UV_ATTEMPTS, Verification,
};
use crate::ctap2::get_next_assertion::RemainingAssertions;
use crate::extensions::Assertion;
use crate::faults::Faults;
use crate::pending::Pending;
use crate::pin::Permissions;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;
use crate::user::{Action, Answer, Prompt};

/// What an assertion is about; the same for those that getNextAssertion gives.
pub(crate) struct Ceremony {
    pub(crate) client_data_hash: [u8; 32],
    pub(crate) rp_id_hash: [u8; 32],
    pub(crate) up: bool,
    pub(crate) verification: Verification,
    pub(crate) extensions: Assertion,
}

/// A request that passed every check but the user's.
pub(crate) struct Ready {
    ceremony: Ceremony,
    rp_id: String<RP_ID_MAX>,
    /// What is left of [`UV_ATTEMPTS`].
    attempts: u8,
    candidates: Candidates,
    /// The account, where there is only one.
    user: User,
}

/// The credentials that apply (step 7).
#[expect(clippy::large_enum_variant, reason = "without an allocator it has to be somewhere")]
enum Candidates {
    /// The first of the allow list; `None` if there is none.
    Listed(Option<CredentialId>),
    /// The discoverable ones.
    Discovered(Discovered),
}

/// The discoverable credentials of an RP that may be used, as the user was shown them. Two of these are equal only if
/// they are of the same list: whatever is added comes above the newest, and what is only removed leaves fewer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Discovered {
    count: u32,
    /// The [`order`](Credential::order) of the newest; 0 where there is none.
    newest: u64,
}

/// What a response says about the choice of credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// There was none: the platform named it in its allow list.
    Listed,
    /// There was none: it is the only one.
    Only,
    /// The platform chooses, among so many: numberOfCredentials.
    Platform(u32),
    /// The user chose: userSelected.
    User,
    /// One of several, from getNextAssertion.
    Next,
}

impl Ceremony {
    /// The bit `up` of the response: whoever touched the sensor was there, asked for or not (steps 8.1 and 8.2).
    fn up_flag(&self) -> bool {
        self.up || self.verification == Verification::BuiltIn
    }
}

impl Ready {
    pub(crate) fn prompt(&self) -> Prompt<'_> {
        Prompt {
            action: Action::UseCredential,
            rp_id: Some(&self.rp_id),
            user_name: self.user.name.as_deref(),
            user_display_name: self.user.display_name.as_deref(),
            accounts: match self.candidates {
                Candidates::Listed(_) => 1,
                Candidates::Discovered(list) => list.count,
            },
            verification: self.ceremony.verification == Verification::BuiltIn,
        }
    }

    /// The RP, how many of its accounts are offered to choose from (0 where there is no choice), and whether those that
    /// only a verified user may learn of are among them.
    pub(crate) fn offered(&self) -> ([u8; 32], u32, bool) {
        let count = match self.candidates {
            Candidates::Discovered(list) if list.count > 1 => list.count,
            _ => 0,
        };
        (self.ceremony.rp_id_hash, count, self.ceremony.verification.uv())
    }

    /// The status for a user who did not agree.
    pub(crate) fn unanswered(&self, why: Status) -> Status {
        self.ceremony.verification.unanswered(why)
    }
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    #[inline(never)]
    pub(crate) fn get_assertion(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        response: &mut Message,
    ) -> Step<Reply> {
        let request = Request::read(parameters)?;
        let allowed = self.descriptors(request.allow_list)?;
        if let Some(choice) = self.choice(request.pin_uv_auth_param)? {
            return Ok(Reply::Ask(choice)); // step 1
        }
        let token = self.token_parameter(request.pin_uv_auth_param, request.pin_uv_auth_protocol)?; // step 2
        if request.options.rk.is_some() {
            return Err(Status::UnsupportedOption); // step 4
        }
        let up = request.options.up.unwrap_or(true);
        let mut verification = self.asked_verification(&request.options, token)?;
        if up && self.settings()?.always_uv {
            verification = self.always_verified(verification)?; // step 5
        }
        let rp_id_hash = Sha256::digest(request.rp_id.as_bytes()).into();
        let permission = Permissions::GET_ASSERTION;
        self.authorize(now, permission, verification, token, &request.client_data_hash, &rp_id_hash)?; // step 6
        let extensions = self.assertion_extensions(request.extensions, up)?;
        let (candidates, user) = self.candidates(&rp_id_hash, allowed, verification.uv())?; // step 7
        let ceremony =
            Ceremony { client_data_hash: request.client_data_hash, rp_id_hash, up, verification, extensions };
        let ready = Ready { ceremony, rp_id: request.rp_id, attempts: UV_ATTEMPTS, candidates, user };
        self.ask_to_use(now, ready, response)
    }

    /// Steps 8 and 9: asks the user, unless nobody wants the user's presence or a token brings it.
    fn ask_to_use(&mut self, now: Time, ready: Ready, response: &mut Message) -> Step<Reply> {
        let verification = ready.ceremony.verification;
        if verification != Verification::BuiltIn {
            ready.candidates.exist()?;
            let present = verification.is_token() && self.pin.user_present(now);
            // A token's presence chooses no account where there is a display to choose on (step 12.2.3).
            let chosen = ready.offered().1 == 0 || !self.configuration.has_display;
            if !ready.ceremony.up || present && chosen {
                return self.choose(now, ready, None, response);
            }
        }
        Ok(Reply::Ask(Pending::GetAssertion(ready)))
    }

    /// Goes on with the user's answer.
    pub(crate) fn get_assertion_answered(
        &mut self,
        now: Time,
        mut ready: Ready,
        answer: Answer,
        response: &mut Message,
    ) -> Step<Reply> {
        let account = match self.consent(ready.ceremony.verification, &mut ready.attempts, answer)? {
            Consent::Given { account } => {
                ready.candidates.exist()?;
                (!self.shows_others_now(&mut ready)?).then_some(account)
            }
            Consent::TryAgain => None,
        };
        match account {
            None => Ok(Reply::Ask(Pending::GetAssertion(ready))),
            Some(account) => {
                let account = account.or(self.configuration.has_display.then_some(0));
                self.choose(now, ready, account, response)
            }
        }
    }

    /// Whether the accounts are no longer those that the user was shown: something else has changed the store since.
    /// Then they are up to date, for the user to be asked again.
    #[inline(never)]
    fn shows_others_now(&mut self, ready: &mut Ready) -> Step<bool> {
        let Candidates::Discovered(shown) = ready.candidates else { return Ok(false) };
        let (rp_id_hash, uv) = (ready.ceremony.rp_id_hash, ready.ceremony.verification.uv());
        if self.discoverable(&rp_id_hash, uv)? == shown {
            return Ok(false);
        }
        (ready.candidates, ready.user) = self.candidates(&rp_id_hash, None, uv)?;
        ready.candidates.exist()?;
        Ok(true)
    }

    /// Step 7: the credentials that apply, and the account if there is only one.
    fn candidates(
        &mut self,
        rp_id_hash: &[u8; 32],
        allowed: Option<DescriptorList<'_>>,
        uv: bool,
    ) -> Step<(Candidates, User)> {
        if let Some(list) = allowed {
            for id in list.ids() {
                if let Some(Found { credential, .. }) = self.find(rp_id_hash, id)?
                    && (uv || !credential.protection.is_required())
                {
                    return Ok((Candidates::Listed(Some(credential.id)), credential.user));
                }
            }
            return Ok((Candidates::Listed(None), User::default()));
        }
        let list = self.discoverable(rp_id_hash, uv)?;
        let only = if list.count == 1 { self.discover(rp_id_hash, u64::MAX, uv)? } else { None };
        Ok((Candidates::Discovered(list), only.map_or_else(User::default, |credential| credential.user)))
    }

    /// The credentials that may be used without naming them.
    #[inline(never)]
    fn discoverable(&mut self, rp_id_hash: &[u8; 32], uv: bool) -> Step<Discovered> {
        let mut list = Discovered { count: 0, newest: 0 };
        let mut before = u64::MAX;
        while let Some(credential) = self.store.newest_before(rp_id_hash, before)? {
            before = credential.order;
            if is_discoverable(&credential, uv) {
                list = Discovered { count: list.count + 1, newest: list.newest.max(before) };
            }
        }
        Ok(list)
    }

    /// The newest discoverable credential below this order that may be used without naming it.
    pub(crate) fn discover(
        &mut self,
        rp_id_hash: &[u8; 32],
        mut before: u64,
        uv: bool,
    ) -> Step<Option<Credential>> {
        while let Some(credential) = self.store.newest_before(rp_id_hash, before)? {
            if is_discoverable(&credential, uv) {
                return Ok(Some(credential));
            }
            before = credential.order;
        }
        Ok(None)
    }

    /// Step 11: takes the credential that is to sign, and remembers the others for getNextAssertion.
    fn choose(
        &mut self,
        now: Time,
        ready: Ready,
        account: Option<u32>,
        response: &mut Message,
    ) -> Step<Reply> {
        let Ready { ceremony, candidates, .. } = ready;
        let hash = &ceremony.rp_id_hash;
        let (found, choice) = match candidates {
            Candidates::Listed(id) => {
                let id = id.ok_or(Status::NoCredentials)?;
                (self.find(hash, &id)?.ok_or(Status::NoCredentials)?, Choice::Listed)
            }
            Candidates::Discovered(Discovered { count, .. }) => {
                let chosen = account.filter(|account| count > 1 && *account < count);
                let mut credential = self.discover(hash, u64::MAX, ceremony.verification.uv())?;
                for _ in 0..chosen.unwrap_or(0) {
                    let before = credential.as_ref().map_or(0, |credential| credential.order);
                    credential = self.discover(hash, before, ceremony.verification.uv())?;
                }
                let choice = match (count, chosen) {
                    (1, _) => Choice::Only,
                    (_, Some(_)) => Choice::User,
                    (count, None) => Choice::Platform(count),
                };
                (Found { credential: credential.ok_or(Status::NoCredentials)?, stored: true }, choice)
            }
        };
        if ceremony.up {
            self.spend_token(ceremony.verification); // step 9.4: whatever becomes of the assertion
        }
        self.assert(&ceremony, &found, choice, response)?;
        if let Choice::Platform(count) = choice {
            self.assertions =
                Some(RemainingAssertions::after(ceremony, found.credential.order, count - 1, now));
        }
        Ok(Reply::Done)
    }

    /// Steps 10, 12 and 13: the assertion.
    pub(crate) fn assert(
        &mut self,
        ceremony: &Ceremony,
        found: &Found,
        choice: Choice,
        response: &mut Message,
    ) -> Step {
        let Found { credential, stored } = found;
        let sign_count = match credential.sign_count {
            Some(_) => self.store.next_sign_count(stored.then_some(credential.id.as_slice()))?,
            None => 0,
        };
        let verification = ceremony.verification;
        let faults = &self.configuration.faults;
        let mut data = AuthenticatorData::new(
            faults.rp_id_hash(ceremony.rp_id_hash),
            faults.flags(flags(credential, ceremony.up_flag(), verification.uv()), true),
            faults.sign_count(sign_count),
        );
        data.extend(&ceremony.extensions.outputs(
            credential,
            &self.configuration,
            verification,
            &mut self.rng,
        )?)?;
        let signed = data.signed_with(&ceremony.client_data_hash)?;
        let faults = &self.configuration.faults;
        write_assertion(ceremony, found, choice, &signed, faults, response)?;
        faults.response(response);
        Ok(())
    }
}

impl Candidates {
    fn exist(&self) -> Step {
        match self {
            Candidates::Listed(None) | Candidates::Discovered(Discovered { count: 0, .. }) => {
                Err(Status::NoCredentials)
            }
            _ => Ok(()),
        }
    }
}

/// Whether a credential may be used without naming it.
fn is_discoverable(credential: &Credential, uv: bool) -> bool {
    !credential.hidden && (uv || credential.protection == CredentialProtection::Optional)
}

/// The response (§6.2.3).
fn write_assertion(
    ceremony: &Ceremony,
    Found { credential, stored }: &Found,
    choice: Choice,
    signed: &Signed,
    faults: &Faults,
    response: &mut Message,
) -> Step {
    let signature = faults.signature(credential.key.sign(signed.message()).ok_or(Status::Other)?);
    let mut writer = Writer::new(response);
    writer.counted_map(|members| {
        members
            .int(1)
            .map(2)
            .text("id")
            .bytes(faults.credential_id(&credential.id))
            .text("type")
            .text(PUBLIC_KEY);
        members.int(2).bytes(signed.authenticator_data());
        members.int(3).bytes(&signature);
        if let Some(handle) =
            faults.user_handle(&credential.user.id).filter(|_| *stored && !credential.hidden)
        {
            // Step 12.3: names only to whoever verified the user, and not where the platform named the credential.
            let names = ceremony.verification.uv() && choice != Choice::Listed;
            write_user(handle, Some(&credential.user).filter(|_| names), members.int(4))?;
        }
        match choice {
            Choice::Platform(count) => {
                members.int(5).unsigned(u64::from(count));
            }
            Choice::User => {
                members.int(6).boolean(true);
            }
            Choice::Listed | Choice::Only | Choice::Next => {}
        }
        if let Some(key) = ceremony.extensions.large_blob_key(credential) {
            members.int(7).bytes(key);
        }
        Ok(())
    })?;
    writer.finish()
}

/// PublicKeyCredentialUserEntity: the handle, and the names of this user if they are to be told.
fn write_user(handle: &[u8], named: Option<&User>, out: &mut Writer<'_>) -> Step {
    out.counted_map(|members| {
        members.text("id").bytes(handle);
        if let Some(name) = named.and_then(|user| user.name.as_deref()) {
            members.text("name").text(name);
        }
        if let Some(name) = named.and_then(|user| user.display_name.as_deref()) {
            members.text("displayName").text(name);
        }
        Ok(())
    })
}

/// The parameters (§6.2.1), checked for presence and type.
struct Request<'a> {
    rp_id: String<RP_ID_MAX>,
    client_data_hash: [u8; 32],
    allow_list: Option<Item<'a>>,
    extensions: Map<'a>,
    options: Options,
    pin_uv_auth_param: Option<Item<'a>>,
    pin_uv_auth_protocol: Option<Item<'a>>,
}

impl<'a> Request<'a> {
    fn read(parameters: Map<'a>) -> Step<Self> {
        Ok(Request {
            rp_id: ceremony::rp_id(parameters.required(0x01)?)?,
            client_data_hash: ceremony::client_data_hash(parameters.required(0x02)?)?,
            allow_list: parameters.get(0x03),
            extensions: ceremony::extension_inputs(parameters.get(0x04))?,
            options: Options::read(parameters.get(0x05))?,
            pin_uv_auth_param: ceremony::typed(parameters.get(0x06), Item::bytes)?,
            pin_uv_auth_protocol: ceremony::typed(parameters.get(0x07), Item::unsigned)?,
        })
    }
}
