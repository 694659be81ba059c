//! `doppelkey credentials`: the vault from outside.

pub(super) mod ids;
mod transfer;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use doppelkey_core::{Credential, CredentialStore, StoreError};
use zeroize::Zeroizing;

use super::vault_options::{ExistingVault, KeptVault};
use super::{Failure, hand_over, pin, print};
use crate::device::SharedStore;
use crate::private_file;
use crate::replicate::{ReplicateError, Replication};
use crate::user_interface::visible;
use crate::vault::Vault;
use crate::vault::exchange::cxf::Imported;
use crate::vault::exchange::{ExchangeError, Summary, bitwarden, cxf, json, keepassxc};

/// List, show, delete, import and export the passkeys of a vault
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Delete(Delete),
    Import(Import),
    Export(Export),
    Receive(transfer::Receive),
}

/// List the passkeys, without their secrets
#[derive(Args)]
struct List {
    #[command(flatten)]
    vault: ExistingVault,
    /// Only those of this relying party
    #[arg(long, value_name = "ID")]
    rp_id: Option<String>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Show one passkey, without its secrets
#[derive(Args)]
struct Show {
    /// The credential id, or as much of its beginning as tells it from the others
    id: String,
    #[command(flatten)]
    vault: ExistingVault,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Delete passkeys, for good
#[derive(Args)]
struct Delete {
    /// The credential ids, or as much of their beginnings as tells them from the others
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    vault: ExistingVault,
}

/// Import passkeys from a file
#[derive(Args)]
struct Import {
    /// The file, or - for standard input
    file: PathBuf,
    #[command(flatten)]
    vault: KeptVault,
    /// What the file is
    #[arg(long, value_enum, default_value_t = Source::Json)]
    format: Source,
    /// The key it is encrypted to, as `doppelkey credentials receive` made it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Replace passkeys that are here already; else they stay as they are
    #[arg(long)]
    replace: bool,
}

/// Export passkeys; with their private keys only if you say so, and prove who you are by the PIN
#[derive(Args)]
struct Export {
    /// The file, made readable by you only; standard output if left out
    file: Option<PathBuf>,
    #[command(flatten)]
    vault: ExistingVault,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Only those of this relying party
    #[arg(long, value_name = "ID")]
    rp_id: Option<String>,
    /// Write the private keys too: whoever reads the file can sign in as you
    #[arg(long)]
    with_keys: bool,
    /// Encrypt the file to whoever printed this with `doppelkey credentials receive`
    #[arg(long, value_name = "DOPPELKEY-TO:…", requires = "with_keys")]
    to: Option<String>,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Doppelkey's own: keeps everything
    Json,
    /// FIDO Credential Exchange Format 1.0: for other credential managers
    Cxf,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// Doppelkey's own: keeps everything
    Json,
    /// FIDO Credential Exchange Format 1.0: from other credential managers
    Cxf,
    /// Bitwarden's export as JSON, not encrypted
    Bitwarden,
    /// KeePassXC's passkey file, or its export of a database as XML
    Keepassxc,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Delete(delete) => delete.run(),
            Command::Import(import) => import.run(),
            Command::Export(export) => export.run(),
            Command::Receive(receive) => receive.run(),
        }
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let credentials = all(&mut self.vault.open()?, self.rp_id.as_deref())?;
        let summaries = Vec::from_iter(credentials.iter().map(Summary::of));
        if self.json {
            print_json(&summaries);
            return Ok(());
        }
        if summaries.is_empty() {
            log::info!("there are no passkeys here");
        }
        for summary in &summaries {
            let account = summary.user_name.as_deref().or(summary.user_display_name.as_deref()).unwrap_or("");
            print(&format!("{}  {}  {}\n", short(&summary.id), visible(&summary.rp_id), visible(account)));
        }
        Ok(())
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let credentials = all(&mut self.vault.open()?, None)?;
        let summary = Summary::of(find(&credentials, &self.id)?);
        if self.json {
            print_json(&summary);
            return Ok(());
        }
        let yes_no = |set: bool| if set { "yes" } else { "no" };
        let name = |name: &Option<String>| visible(name.as_deref().unwrap_or("-"));
        let counter = summary.sign_count.map_or_else(|| "none".into(), |count| format!("above {count}"));
        print(&format!(
            "id               {}\nrelying party    {}\nuser name        {}\ndisplay name     {}\n\
             user handle      {}\nalgorithm        {}\nsynced           {}\nsignature count  {counter}\n\
             credProtect      {}\nPRF              {}\nlarge blob       {}\nhidden           {}\n",
            summary.id,
            visible(&summary.rp_id),
            name(&summary.user_name),
            name(&summary.user_display_name),
            summary.user_id,
            summary.algorithm,
            yes_no(summary.backup_eligible),
            summary.cred_protect,
            yes_no(summary.hmac_secret),
            yes_no(summary.large_blob_key),
            yes_no(summary.hidden),
        ));
        Ok(())
    }
}

impl Delete {
    fn run(self) -> Result<(), Failure> {
        let mut vault = self.vault.open()?;
        let credentials = all(&mut vault, None)?;
        // All of them are looked for before the first one goes.
        let found =
            self.ids.iter().map(|id| find_to_delete(&credentials, id)).collect::<Result<Vec<_>, _>>()?;
        let mut circle = self.circle(&mut vault);
        for credential in found {
            vault.remove(&credential.id).map_err(store_failure)?;
            let summary = Summary::of(credential);
            log::info!("deleted {}  {}", short(&summary.id), visible(&summary.rp_id));
            if let Some(circle) = &mut circle {
                // The others hear of it by the next `doppelkey run` or `doppelkey sync`.
                circle.note_removed(&credential.id, &mut vault)?;
            }
        }
        Ok(())
    }

    /// The circle that the vault takes part in. Without it, what is deleted here is deleted here.
    fn circle(&self, vault: &mut Vault) -> Option<Replication> {
        let path = self.vault.place().ok().filter(|path| Replication::is_set_up(path))?;
        Replication::load(vault, &path)
            .inspect_err(|error| {
                log::warn!("{error}: the other devices do not hear of this; {}", error.hint())
            })
            .ok()
    }
}

impl Import {
    fn run(self) -> Result<(), Failure> {
        let text = transfer::opened(read(&self.file)?, self.key.as_deref())?;
        let imported = match self.format {
            Source::Json => json::read(&text).map(|credentials| Imported { credentials, left_out: 0 }),
            Source::Cxf => cxf::read(&text),
            Source::Bitwarden => bitwarden::read(&text),
            Source::Keepassxc => keepassxc::read(&text),
        };
        let Imported { credentials, left_out } = imported.map_err(|error| self.malformed(&error))?;
        if left_out > 0 {
            log::info!("left out because they are no passkeys: {left_out}");
        }
        let mut vault = self.vault.open()?;
        self.refuse_deleted(&mut vault, &credentials)?;
        let (mut added, mut replaced, mut kept) = (0, 0, 0);
        for credential in &credentials {
            let is_here = vault.get(&credential.id).map_err(store_failure)?.is_some();
            if is_here && !self.replace {
                kept += 1;
                continue;
            }
            vault.put(credential, None).map_err(store_failure)?;
            if is_here { replaced += 1 } else { added += 1 }
        }
        log::info!("imported {added}, replaced {replaced}, left {kept} as they were");
        Ok(())
    }

    /// A circle forgets no delete: what comes back would go again at the next start.
    fn refuse_deleted(&self, vault: &mut Vault, credentials: &[Credential]) -> Result<(), Failure> {
        if !Replication::is_set_up(&self.vault.place()?) {
            return Ok(());
        }
        let now_ms = 1000 * seconds_since_1970();
        let circle = match Replication::load_unless_reset(vault, &self.vault.place()?, now_ms) {
            Err(ReplicateError::NotSetUp) => return Ok(()),
            loaded => loaded?,
        };
        let deleted = credentials.iter().filter(|credential| circle.has_deleted(&credential.id));
        let names: Vec<String> = deleted
            .map(|credential| {
                format!("{} ({})", short(&Summary::of(credential).id), visible(&credential.rp_id))
            })
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            format_args!("deleted on the devices of this circle, for good: {}", names.join(", ")),
            "import into another vault (--vault PATH), or leave the circle first: `doppelkey sync leave`",
        ))
    }

    fn malformed(&self, error: &ExchangeError) -> Failure {
        let other = match self.format {
            Source::Json => "if it is another manager's export, say --format cxf, bitwarden or keepassxc",
            _ => "if it is a `doppelkey credentials export`, say --format json",
        };
        Failure::new(format_args!("cannot import {}: {error}", self.file.display()), other)
    }
}

impl Export {
    fn run(self) -> Result<(), Failure> {
        let mut vault = self.vault.open()?;
        let mut credentials = all(&mut vault, self.rp_id.as_deref())?;
        for credential in &mut credentials {
            // Elsewhere it goes on where it is now: a counter that falls back is taken for a clone's.
            credential.sign_count = vault.last_sign_count(&credential.id).map_err(store_failure)?;
        }
        let text = match (self.with_keys, self.format) {
            (false, Format::Json) => pretty(&Vec::from_iter(credentials.iter().map(Summary::of))),
            (false, Format::Cxf) => {
                let hint =
                    "say --with-keys if they are to leave the vault, or --format json for a list without";
                return Err(Failure::new("a CXF file is made of private keys", hint));
            }
            (true, format) => {
                pin::verify_user(&SharedStore::new(vault))?;
                let written = match format {
                    Format::Json => json::write(&credentials),
                    Format::Cxf => cxf::write(&credentials, seconds_since_1970()),
                };
                let hint = "export the others with --rp-id";
                Zeroizing::new(
                    written.map_err(|error| Failure::new(format_args!("cannot export: {error}"), hint))?,
                )
            }
        };
        let text = match &self.to {
            Some(recipient) => transfer::sealed_to(recipient, &text)?,
            None => text,
        };
        match &self.file {
            Some(file) => write_private(file, &text),
            None => {
                hand_over(&text)?;
                hand_over("\n")
            }
        }
    }
}

/// Every credential, by relying party, newest first.
fn all(store: &mut impl CredentialStore, rp_id: Option<&str>) -> Result<Vec<Credential>, Failure> {
    let mut credentials = Vec::new();
    let mut after = None;
    while let Some(newest) = store.next_rp(after.as_ref()).map_err(store_failure)? {
        let rp = newest.rp_id_hash;
        after = Some(rp);
        if rp_id.is_some_and(|rp_id| rp_id != newest.rp_id.as_str()) {
            continue;
        }
        let mut before = u64::MAX;
        while let Some(credential) = store.newest_before(&rp, before).map_err(store_failure)? {
            before = credential.order;
            credentials.push(credential);
        }
    }
    Ok(credentials)
}

/// The one credential whose id begins so; a slip of the finger names none.
fn find_to_delete<'a>(credentials: &'a [Credential], id: &str) -> Result<&'a Credential, Failure> {
    let credential = find(credentials, id)?;
    if id.trim_end_matches('…').len() < 4 {
        return Err(Failure::new(
            format_args!("{id} is too little of an id to delete a passkey by"),
            "say four characters of it at least",
        ));
    }
    Ok(credential)
}

/// The one credential whose id begins so.
fn find<'a>(credentials: &'a [Credential], id: &str) -> Result<&'a Credential, Failure> {
    let id = id.trim_end_matches('…');
    if id.is_empty() {
        return Err(Failure::new(
            "an empty id names no passkey",
            "say the id, or its beginning; `doppelkey credentials list` lists them",
        ));
    }
    let begins = |credential: &&Credential| Summary::of(credential).id.starts_with(id);
    let mut found = credentials.iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(credential), None) => Ok(credential),
        (Some(_), Some(_)) => Err(Failure::new(
            format_args!("more than one passkey's id begins with {id}"),
            "say more of the id; `doppelkey credentials list --json` has them whole",
        )),
        (None, _) => Err(Failure::new(
            format_args!("there is no passkey whose id begins with {id}"),
            "`doppelkey credentials list` lists them",
        )),
    }
}

pub(super) fn store_failure(error: StoreError) -> Failure {
    match error {
        StoreError::Full => {
            Failure::new("the vault is full", "delete passkeys, or free some space on its disk")
        }
        StoreError::Fault => {
            Failure::new("the vault's file cannot be read or written", "check its disk; nothing was changed")
        }
    }
}

fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::File::open(file).and_then(|mut opened| opened.read_to_string(&mut text)).map(drop)
    };
    match read {
        Ok(()) => Ok(text),
        Err(error) => Err(Failure::new(
            format_args!("cannot read {}: {error}", file.display()),
            "name a file that you may read, or - for standard input",
        )),
    }
}

fn write_private(file: &Path, text: &str) -> Result<(), Failure> {
    let written = private_file::create_new(file).and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        opened.write_all(b"\n")?;
        opened.sync_all()
    });
    written.map_err(|error| {
        let hint = "name a file that does not exist yet, in a folder that you may write to";
        Failure::new(format_args!("cannot write {}: {error}", file.display()), hint)
    })
}

fn print_json(value: &impl serde::Serialize) {
    print(&pretty(value));
    print("\n");
}

fn pretty(value: &impl serde::Serialize) -> Zeroizing<String> {
    Zeroizing::new(serde_json::to_string_pretty(value).expect("summaries are plain data"))
}

/// The beginning of an id: enough to tell it from others, and to type.
fn short(id: &str) -> String {
    match id.char_indices().nth(ids::SHOWN) {
        Some((end, _)) => format!("{}…", &id[..end]),
        None => id.into(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of an export is for people")]
fn seconds_since_1970() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
