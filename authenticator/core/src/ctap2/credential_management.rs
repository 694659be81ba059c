//! authenticatorCredentialManagement (CTAP §6.8).

use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::cbor::{Item, Map, Writer};
use crate::configuration::{Extension, OptionId};
use crate::credential::{Credential, truncated};
use crate::ctap2::{Command, STATE_LASTS};
use crate::pin::Permissions;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

/// An enumeration that goes on with the next command; any other command ends it, and so do 30 seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enumeration {
    next: Next,
    since: Time,
}

/// Where an enumeration goes on.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// enumerateRPsGetNextRP is to follow: `left` RPs, behind this one.
    Rp { after: [u8; 32], left: u32 },
    /// enumerateCredentialsGetNextCredential is to follow: `left` credentials, older than this one.
    Credential { rp_id_hash: [u8; 32], before: u64, left: u32 },
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// authenticatorCredentialManagement, and its prototype where that is offered.
    #[inline(never)]
    pub(crate) fn credential_management(
        &mut self,
        now: Time,
        command: Command,
        parameters: Map<'_>,
        response: &mut Message,
    ) -> Step<Reply> {
        self.must_offer(match command {
            Command::CredentialManagementPreview => OptionId::CredentialMgmtPreview,
            _ => OptionId::CredMgmt,
        })?;
        // What the command before this one left to go on with.
        let enumeration = self.enumeration.take();
        let next = enumeration.filter(|it| now.saturating_sub(it.since) <= STATE_LASTS).map(|it| it.next);
        let subcommand = parameters.required(SUBCOMMAND)?.byte()?;
        let mut writer = Writer::new(response);
        let mut left_over = None;
        match (subcommand, next) {
            (GET_CREDS_METADATA, _) => self.get_creds_metadata(now, parameters, &mut writer)?,
            (ENUMERATE_RPS_BEGIN, _) => left_over = self.enumerate_rps(now, parameters, &mut writer)?,
            (ENUMERATE_RPS_NEXT, Some(Next::Rp { after, left })) => {
                left_over = self.write_rp(Some(&after), left, false, &mut writer)?;
            }
            (ENUMERATE_CREDENTIALS_BEGIN, _) => {
                left_over = self.enumerate_credentials(now, parameters, &mut writer)?;
            }
            (ENUMERATE_CREDENTIALS_NEXT, Some(Next::Credential { rp_id_hash, before, left })) => {
                left_over = self.write_credential(&rp_id_hash, before, left, false, &mut writer)?;
            }
            (ENUMERATE_RPS_NEXT | ENUMERATE_CREDENTIALS_NEXT, _) => return Err(Status::NotAllowed),
            (DELETE_CREDENTIAL, _) => self.delete_credential(now, parameters)?,
            (UPDATE_USER_INFORMATION, _) => self.update_user_information(now, parameters)?,
            _ => return Err(Status::InvalidSubcommand),
        }
        writer.finish()?;
        self.enumeration = left_over.map(|next| Enumeration { next, since: now });
        Ok(Reply::Done)
    }

    /// getCredsMetadata (§6.8.2).
    fn get_creds_metadata(&mut self, now: Time, parameters: Map<'_>, writer: &mut Writer<'_>) -> Step {
        self.may_read(now, parameters, GET_CREDS_METADATA, None)?;
        let mut existing = 0_u32;
        let mut rp = self.next_managed_rp(None)?;
        while let Some(Credential { rp_id_hash, .. }) = rp {
            existing += self.count_managed(&rp_id_hash)?;
            rp = self.next_managed_rp(Some(&rp_id_hash))?;
        }
        let remaining = self.remaining_credentials()?;
        writer.map(2).int(EXISTING_COUNT).unsigned(existing.into());
        writer.int(REMAINING_COUNT).unsigned(remaining.into());
        Ok(())
    }

    /// enumerateRPsBegin (§6.8.3).
    fn enumerate_rps(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        writer: &mut Writer<'_>,
    ) -> Step<Option<Next>> {
        self.may_read(now, parameters, ENUMERATE_RPS_BEGIN, None)?;
        let mut total = 0;
        let mut after = None;
        while let Some(credential) = self.next_managed_rp(after.as_ref())? {
            total += 1;
            after = Some(credential.rp_id_hash);
        }
        self.write_rp(None, total, true, writer)
    }

    /// One RP of `left`, and the way to the next.
    #[inline(never)]
    fn write_rp(
        &mut self,
        after: Option<&[u8; 32]>,
        left: u32,
        first: bool,
        writer: &mut Writer<'_>,
    ) -> Step<Option<Next>> {
        let Credential { rp_id, rp_id_hash, .. } =
            &self.next_managed_rp(after)?.ok_or(Status::NoCredentials)?;
        writer.map(if first { 3 } else { 2 }).int(RP).map(1).text("id").text(rp_id);
        writer.int(RP_ID_HASH).bytes(rp_id_hash);
        if first {
            writer.int(TOTAL_RPS).unsigned(left.into());
        }
        Ok(match left {
            0 | 1 => None,
            _ => Some(Next::Rp { after: *rp_id_hash, left: left - 1 }),
        })
    }

    /// enumerateCredentialsBegin (§6.8.4).
    fn enumerate_credentials(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        writer: &mut Writer<'_>,
    ) -> Step<Option<Next>> {
        let rp_id_hash: [u8; 32] = subparameters(parameters)?
            .required(SUB_RP_ID_HASH)?
            .bytes()?
            .try_into()
            .map_err(|_| Status::InvalidParameter)?;
        self.may_read(now, parameters, ENUMERATE_CREDENTIALS_BEGIN, Some(&rp_id_hash))?;
        let total = self.count_managed(&rp_id_hash)?;
        self.write_credential(&rp_id_hash, u64::MAX, total, true, writer)
    }

    /// One credential of `left`, and the way to the next.
    #[inline(never)]
    fn write_credential(
        &mut self,
        rp_id_hash: &[u8; 32],
        before: u64,
        left: u32,
        first: bool,
        writer: &mut Writer<'_>,
    ) -> Step<Option<Next>> {
        let credential = &self.newest_managed(rp_id_hash, before)?.ok_or(Status::NoCredentials)?;
        let pays = self.configuration.extends(Extension::ThirdPartyPayment);
        let members =
            4 + [first, credential.large_blob_key.is_some(), pays].map(usize::from).iter().sum::<usize>();
        writer.map(members).int(USER);
        write_user(credential, writer);
        writer.int(CREDENTIAL_ID).map(2).text("id").bytes(&credential.id).text("type").text("public-key");
        writer.int(PUBLIC_KEY);
        credential.key.write_public(writer);
        if first {
            writer.int(TOTAL_CREDENTIALS).unsigned(left.into());
        }
        writer.int(CRED_PROTECT).unsigned(credential.protection as u64);
        if let Some(key) = &credential.large_blob_key {
            writer.int(LARGE_BLOB_KEY).bytes(&**key);
        }
        if pays {
            writer.int(THIRD_PARTY_PAYMENT).boolean(credential.third_party_payment);
        }
        Ok(match left {
            0 | 1 => None,
            _ => Some(Next::Credential { rp_id_hash: *rp_id_hash, before: credential.order, left: left - 1 }),
        })
    }

    /// deleteCredential (§6.8.5).
    fn delete_credential(&mut self, now: Time, parameters: Map<'_>) -> Step {
        let id = credential_id(subparameters(parameters)?)?;
        self.may_change(now, parameters, DELETE_CREDENTIAL)?;
        self.managed(now, id)?;
        self.store.remove(id)?;
        Ok(())
    }

    /// updateUserInformation (§6.8.6).
    fn update_user_information(&mut self, now: Time, parameters: Map<'_>) -> Step {
        let subparameters = subparameters(parameters)?;
        let id = credential_id(subparameters)?;
        let user = subparameters.required(SUB_USER)?.map()?;
        let user_id = user.required_named("id")?.bytes()?;
        self.may_change(now, parameters, UPDATE_USER_INFORMATION)?;
        let mut credential = self.managed(now, id)?;
        if credential.user.id.as_slice() != user_id {
            return Err(Status::InvalidParameter);
        }
        // A name that is absent or empty is forgotten.
        let name = |key| match user.named(key).map(|name| name.text()).transpose() {
            Ok(name) => Ok(name.filter(|name| !name.is_empty()).map(truncated)),
            Err(status) => Err(status),
        };
        credential.user.name = name("name")?;
        credential.user.display_name = name("displayName")?;
        Ok(self.store.put(&credential, None)?)
    }

    /// The discoverable credential with this id, if the token in use may touch it.
    fn managed(&mut self, now: Time, id: &[u8]) -> Step<Credential> {
        let credential =
            self.store.get(id)?.filter(|credential| !credential.hidden).ok_or(Status::NoCredentials)?;
        match self.pin.bound_to(now) {
            Some(bound) if bound != credential.rp_id_hash => Err(Status::PinAuthInvalid),
            _ => Ok(credential),
        }
    }

    /// The newest discoverable credential of this RP below this order; what is kept without being discoverable is not
    /// managed.
    fn newest_managed(&mut self, rp_id_hash: &[u8; 32], mut before: u64) -> Step<Option<Credential>> {
        while let Some(credential) = self.store.newest_before(rp_id_hash, before)? {
            if !credential.hidden {
                return Ok(Some(credential));
            }
            before = credential.order;
        }
        Ok(None)
    }

    fn count_managed(&mut self, rp_id_hash: &[u8; 32]) -> Step<u32> {
        let (mut count, mut before) = (0, u64::MAX);
        while let Some(credential) = self.newest_managed(rp_id_hash, before)? {
            count += 1;
            before = credential.order;
        }
        Ok(count)
    }

    /// The newest discoverable credential of the first RP behind this one that has any.
    fn next_managed_rp(&mut self, after: Option<&[u8; 32]>) -> Step<Option<Credential>> {
        let mut after = after.copied();
        while let Some(Credential { rp_id_hash, .. }) = self.store.next_rp(after.as_ref())? {
            if let Some(credential) = self.newest_managed(&rp_id_hash, u64::MAX)? {
                return Ok(Some(credential));
            }
            after = Some(rp_id_hash);
        }
        Ok(None)
    }

    /// The checks before anything is shown: the persistent token with pcmr, or one in use with cm that is bound to
    /// this RP or to none.
    fn may_read(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        subcommand: u8,
        rp_id_hash: Option<&[u8; 32]>,
    ) -> Step {
        let (protocol, parameter) = self.pin_uv_auth(parameters, PIN_UV_AUTH_PROTOCOL, PIN_UV_AUTH_PARAM)?;
        let raw = raw_subparameters(parameters, subcommand);
        let message = [&[subcommand][..], raw];
        match self.pin.verify_persistent(&mut self.store, protocol, &message, parameter) {
            Err(Status::PinAuthInvalid) => {}
            settled => return settled,
        }
        self.pin.verify(now, protocol, &message, parameter, Permissions::CREDENTIAL_MANAGEMENT)?;
        match self.pin.bound_to(now) {
            Some(bound) if Some(&bound) != rp_id_hash => Err(Status::PinAuthInvalid),
            _ => Ok(()),
        }
    }

    /// The checks before anything is changed: a token in use with cm.
    fn may_change(&mut self, now: Time, parameters: Map<'_>, subcommand: u8) -> Step {
        let (protocol, parameter) = self.pin_uv_auth(parameters, PIN_UV_AUTH_PROTOCOL, PIN_UV_AUTH_PARAM)?;
        let message = [&[subcommand][..], raw_subparameters(parameters, subcommand)];
        self.pin.verify(now, protocol, &message, parameter, Permissions::CREDENTIAL_MANAGEMENT)
    }
}

fn subparameters(parameters: Map<'_>) -> Step<Map<'_>> {
    parameters.required(SUBCOMMAND_PARAMETERS)?.map()
}

/// The part of the message to authenticate that follows the subcommand; the first two have none.
fn raw_subparameters(parameters: Map<'_>, subcommand: u8) -> &[u8] {
    match subcommand {
        GET_CREDS_METADATA | ENUMERATE_RPS_BEGIN => &[],
        _ => parameters.get(SUBCOMMAND_PARAMETERS).map_or(&[], Item::raw),
    }
}

/// The id in a PublicKeyCredentialDescriptor.
fn credential_id(subparameters: Map<'_>) -> Step<&[u8]> {
    subparameters.required(SUB_CREDENTIAL_ID)?.map()?.required_named("id")?.bytes()
}

fn write_user(credential: &Credential, writer: &mut Writer<'_>) {
    let user = &credential.user;
    let names = [("name", &user.name), ("displayName", &user.display_name)];
    writer.map(1 + names.iter().filter(|(_, name)| name.is_some()).count());
    writer.text("id").bytes(&user.id);
    for (key, name) in names {
        if let Some(name) = name {
            writer.text(key).text(name);
        }
    }
}

// Parameters.
const SUBCOMMAND: i32 = 1;
const SUBCOMMAND_PARAMETERS: i32 = 2;
const PIN_UV_AUTH_PROTOCOL: i32 = 3;
const PIN_UV_AUTH_PARAM: i32 = 4;
const SUB_RP_ID_HASH: i32 = 1;
const SUB_CREDENTIAL_ID: i32 = 2;
const SUB_USER: i32 = 3;

// Subcommands.
const GET_CREDS_METADATA: u8 = 1;
const ENUMERATE_RPS_BEGIN: u8 = 2;
const ENUMERATE_RPS_NEXT: u8 = 3;
const ENUMERATE_CREDENTIALS_BEGIN: u8 = 4;
const ENUMERATE_CREDENTIALS_NEXT: u8 = 5;
const DELETE_CREDENTIAL: u8 = 6;
const UPDATE_USER_INFORMATION: u8 = 7;

// Members of the response.
const EXISTING_COUNT: i32 = 1;
const REMAINING_COUNT: i32 = 2;
const RP: i32 = 3;
const RP_ID_HASH: i32 = 4;
const TOTAL_RPS: i32 = 5;
const USER: i32 = 6;
const CREDENTIAL_ID: i32 = 7;
const PUBLIC_KEY: i32 = 8;
const TOTAL_CREDENTIALS: i32 = 9;
const CRED_PROTECT: i32 = 10;
const LARGE_BLOB_KEY: i32 = 11;
const THIRD_PARTY_PAYMENT: i32 = 12;
