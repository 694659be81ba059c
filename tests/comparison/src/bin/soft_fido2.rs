//! `soft-fido2` of crates.io, in process, with a store in memory as its examples have it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use comparison::{Peer, run};
use soft_fido2::{
    Authenticator, AuthenticatorCallbacks, AuthenticatorConfig, AuthenticatorOptions, Credential,
    CredentialRef, CtapCommand, Result, UpResult, UvResult,
};

fn main() {
    let options = AuthenticatorOptions::new()
        .with_user_verification(Some(true))
        .with_client_pin(Some(false))
        .with_pin_uv_auth_token(Some(true))
        .with_credential_management(Some(true))
        .with_large_blobs(Some(true));
    // Everything that it has a name for.
    let commands = (0..=0xff).filter_map(CtapCommand::from_u8).collect();
    let extensions = ["credProtect", "hmac-secret", "credBlob", "largeBlobKey", "minPinLength"];
    let config = AuthenticatorConfig::builder()
        .commands(commands)
        .options(options)
        .extensions(extensions.map(String::from).to_vec())
        .max_credentials(10_000)
        .build();
    let authenticator = Authenticator::with_config(Store::default(), config).expect("it can be made");
    run(SoftFido2(authenticator));
}

struct SoftFido2(Authenticator<Store>);

impl Peer for SoftFido2 {
    fn ctap2(&mut self, request: &[u8]) -> Vec<u8> {
        let mut response = Vec::new();
        match self.0.handle(request, &mut response) {
            Ok(_) if !response.is_empty() => response,
            // As its example of an authenticator answers then.
            _ => vec![0x01],
        }
    }
}

#[derive(Default)]
struct Store(Mutex<HashMap<Vec<u8>, Credential>>);

impl Store {
    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Credential>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuthenticatorCallbacks for Store {
    fn request_up(&self, _: &str, _: Option<&str>, _: &str) -> Result<UpResult> {
        Ok(UpResult::Accepted)
    }

    fn request_uv(&self, _: &str, _: Option<&str>, _: &str) -> Result<UvResult> {
        Ok(UvResult::Accepted)
    }

    fn write_credential(&self, credential: &CredentialRef) -> Result<()> {
        self.lock().insert(credential.id.to_vec(), credential.to_owned());
        Ok(())
    }

    fn read_credential(&self, id: &[u8]) -> Result<Option<Credential>> {
        Ok(self.lock().get(id).cloned())
    }

    fn delete_credential(&self, id: &[u8]) -> Result<()> {
        self.lock().remove(id);
        Ok(())
    }

    fn list_credentials(&self, rp_id: &str, user_id: Option<&[u8]>) -> Result<Vec<Credential>> {
        let of_user = |one: &&Credential| one.rp.id == rp_id && user_id.is_none_or(|id| id == one.user.id);
        Ok(self.lock().values().filter(of_user).cloned().collect())
    }

    fn enumerate_rps(&self) -> Result<Vec<(String, Option<String>, usize)>> {
        let mut found: HashMap<String, (Option<String>, usize)> = HashMap::new();
        for one in self.lock().values() {
            found.entry(one.rp.id.clone()).or_insert((one.rp.name.clone(), 0)).1 += 1;
        }
        Ok(found.into_iter().map(|(id, (name, count))| (id, name, count)).collect())
    }

    fn credential_count(&self) -> Result<usize> {
        Ok(self.lock().len())
    }

    fn get_timestamp_ms(&self) -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        now.as_millis() as u64
    }
}
