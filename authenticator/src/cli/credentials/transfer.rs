//! `doppelkey credentials receive`, and what `export --to` and `import --key` do: a file that only its receiver reads.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use doppelkey_sync::{Recipient, TransferKey};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use zeroize::Zeroizing;

use super::{read, write_private};
use crate::cli::{Failure, print};

/// What an encrypted file begins with.
const PREFIX: &str = "doppelkey-sealed:";

/// Make a key to receive passkeys with, and print what the sender needs for `export --to`
#[derive(Args)]
pub(super) struct Receive {
    /// Where to keep the key, for `import --key`: a file that does not exist yet
    key: PathBuf,
}

impl Receive {
    pub(super) fn run(self) -> Result<(), Failure> {
        let key = TransferKey::generate(&mut UnwrapErr(SysRng));
        write_private(&self.key, &key.to_text())?;
        print(&format!("{}\n", key.recipient().to_text()));
        log::info!("delete {} once you have imported what you were sent", self.key.display());
        Ok(())
    }
}

/// Encrypts a file's text to whoever printed this.
pub(super) fn sealed_to(recipient: &str, text: &str) -> Result<Zeroizing<String>, Failure> {
    let sealed = Recipient::parse(recipient)
        .and_then(|recipient| recipient.seal(text.as_bytes(), &mut UnwrapErr(SysRng)))
        .ok_or_else(|| {
            Failure::new(
                "this is no receiver, or a character of it is wrong",
                "copy all of what `doppelkey credentials receive` prints on the other device",
            )
        })?;
    Ok(Zeroizing::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(sealed))))
}

/// Decrypts what [`sealed_to`] made, with the key in this file. Text that is not encrypted is given back as it is if
/// there is no key.
pub(super) fn opened(text: Zeroizing<String>, key: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let sealed = text.trim().strip_prefix(PREFIX).map(|sealed| BASE64_STANDARD.decode(sealed));
    let (key, sealed) = match (key, sealed) {
        (None, None) => return Ok(text),
        (None, Some(_)) => {
            return Err(Failure::new(
                "this file is encrypted",
                "say --key FILE with the key that `doppelkey credentials receive` made",
            ));
        }
        (Some(_), None | Some(Err(_))) => {
            return Err(Failure::new("this file is not encrypted as it should be", "send it again"));
        }
        (Some(key), Some(Ok(sealed))) => (key, sealed),
    };
    let key = TransferKey::parse(&read(key)?).ok_or_else(|| {
        Failure::new(
            format_args!("{} holds no key to receive with", key.display()),
            "name the file that `doppelkey credentials receive` made",
        )
    })?;
    let plain = key.open(&sealed).and_then(|plain| String::from_utf8(plain.to_vec()).ok());
    plain.map(Zeroizing::new).ok_or_else(|| {
        Failure::new("this file was encrypted to another key, or was changed", "send it again, to this key")
    })
}
