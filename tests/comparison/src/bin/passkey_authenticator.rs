//! `passkey-authenticator` of crates.io (passkey-rs), in process, with a store in memory. It is called with its own
//! types; they are read and written as CBOR here, by the means that its Linux transport uses.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use comparison::{Peer, run};
use passkey_authenticator::extensions::HmacSecretConfig;
use passkey_authenticator::{
    Authenticator, CredentialStore, DiscoverabilitySupport, StoreInfo, UiHint, UserCheck,
    UserValidationMethod,
};
use passkey_crypto::AvailableBackend;
use passkey_types::Passkey;
use passkey_types::ctap2::make_credential::{
    Options, PublicKeyCredentialRpEntity, PublicKeyCredentialUserEntity,
};
use passkey_types::ctap2::{Aaguid, Ctap2Error, StatusCode};
use passkey_types::webauthn::PublicKeyCredentialDescriptor;

fn main() {
    let authenticator =
        Authenticator::new(Aaguid::new_empty(), Store::default(), Approving, AvailableBackend);
    let extension = HmacSecretConfig::new_with_uv_only().enable_on_make_credential();
    run(PasskeyRs(authenticator.hmac_secret(extension)));
}

struct PasskeyRs(Authenticator<Store, Approving, AvailableBackend>);

impl Peer for PasskeyRs {
    fn ctap2(&mut self, request: &[u8]) -> Vec<u8> {
        let Some((command, body)) = request.split_first() else { return vec![0x03] };
        match command {
            0x01 => match ciborium::from_reader(body) {
                Ok(request) => answer(now(self.0.make_credential(request))),
                Err(_) => vec![0x12],
            },
            0x02 => match ciborium::from_reader(body) {
                Ok(request) => answer(now(self.0.get_assertion(request))),
                Err(_) => vec![0x12],
            },
            0x04 => answer(Ok(*now(self.0.get_info()))),
            // It has no other command.
            _ => vec![0x01],
        }
    }
}

fn answer<T: serde::Serialize>(result: Result<T, StatusCode>) -> Vec<u8> {
    match result {
        Ok(response) => {
            let mut bytes = vec![0];
            ciborium::into_writer(&response, &mut bytes).expect("memory can be written");
            bytes
        }
        Err(status) => vec![status.into()],
    }
}

/// The result of what never waits: store and user here are at hand.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing waits for anything"),
    }
}

struct Approving;

#[async_trait]
impl UserValidationMethod for Approving {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _: UiHint<'a, Passkey>,
        presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence, verification })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// One that keeps accounts apart, which the crate's own `MemoryStore` does not.
#[derive(Default)]
struct Store(Vec<Passkey>);

#[async_trait]
impl CredentialStore for Store {
    type PasskeyItem = Passkey;

    async fn find_credentials(
        &self,
        ids: Option<&[PublicKeyCredentialDescriptor]>,
        rp_id: &str,
        _: Option<&[u8]>,
    ) -> Result<Vec<Passkey>, StatusCode> {
        let allowed = |one: &&Passkey| ids.is_none_or(|ids| ids.iter().any(|id| id.id == one.credential_id));
        let found: Vec<_> = self.0.iter().filter(|one| one.rp_id == rp_id).filter(allowed).cloned().collect();
        if found.is_empty() { Err(Ctap2Error::NoCredentials.into()) } else { Ok(found) }
    }

    async fn save_credential(
        &mut self,
        passkey: Passkey,
        _: PublicKeyCredentialUserEntity,
        _: PublicKeyCredentialRpEntity,
        _: Options,
    ) -> Result<(), StatusCode> {
        self.0.retain(|one| (&one.rp_id, &one.user_handle) != (&passkey.rp_id, &passkey.user_handle));
        self.0.push(passkey);
        Ok(())
    }

    async fn update_credential(&mut self, passkey: &Passkey) -> Result<(), StatusCode> {
        if let Some(one) = self.0.iter_mut().find(|one| one.credential_id == passkey.credential_id) {
            *one = passkey.clone();
        }
        Ok(())
    }

    async fn get_info(&self) -> StoreInfo {
        StoreInfo { discoverability: DiscoverabilitySupport::Full }
    }
}
