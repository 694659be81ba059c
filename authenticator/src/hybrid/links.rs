//! The phones that a desktop can call without a QR code.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use p256::PublicKey;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::message::Linking;
use super::noise::point;
use crate::private_file;
use crate::text::{base64url, from_base64url};

/// A phone that this desktop can call.
#[derive(Clone)]
pub(super) struct Link {
    /// Where its tunnel server is.
    pub(super) domain: u16,
    pub(super) contact_id: Vec<u8>,
    pub(super) link_id: [u8; 8],
    pub(super) secret: Zeroizing<[u8; 32]>,
    pub(super) identity: PublicKey,
    pub(super) name: String,
}

impl Link {
    pub(super) fn new(domain: u16, linking: Linking) -> Self {
        let Linking { contact_id, link_id, secret, identity, name } = linking;
        Link { domain, contact_id, link_id, secret, identity, name }
    }
}

/// The linked phones, the one used last first; kept in a file that only this user reads, or in memory.
///
/// The file has the links' secrets: whoever reads it can call the phones, whose users are asked as ever.
pub struct Links {
    file: Option<PathBuf>,
    links: Vec<Link>,
}

impl Links {
    /// None so far, and kept as long as this is.
    pub fn in_memory() -> Self {
        Links { file: None, links: Vec::new() }
    }

    /// Those of this file, which need not exist yet.
    ///
    /// # Errors
    /// The file system's; [`InvalidData`](io::ErrorKind::InvalidData) if it is no file of ours.
    pub fn load(file: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => "[]".to_owned(),
            text => text?,
        };
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "this is no list of linked phones");
        let entries: Vec<Entry> = serde_json::from_str(&text).map_err(|_| malformed())?;
        let links: Option<Vec<Link>> = entries.iter().map(Entry::link).collect();
        Ok(Links { file: Some(file.to_owned()), links: links.ok_or_else(malformed)? })
    }

    /// The names of the phones, the one used last first.
    pub fn names(&self) -> Vec<&str> {
        self.links.iter().map(|link| link.name.as_str()).collect()
    }

    /// The phone used last.
    pub(super) fn last(&self) -> Option<&Link> {
        self.links.first()
    }

    /// Remembers a phone, in place of what was known of it before.
    pub(super) fn remember(&mut self, link: Link) -> io::Result<()> {
        self.links.retain(|known| known.identity != link.identity);
        self.links.insert(0, link);
        self.links.truncate(LINKS_MAX);
        self.save()
    }

    /// Forgets a phone.
    pub(super) fn forget(&mut self, identity: &PublicKey) -> io::Result<()> {
        self.links.retain(|known| known.identity != *identity);
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let entries: Vec<Entry> = self.links.iter().map(Entry::new).collect();
        let text = Zeroizing::new(serde_json::to_string_pretty(&entries)?);
        let fresh = file.with_extension("new");
        let _ = fs::remove_file(&fresh);
        if let Some(folder) = file.parent() {
            private_file::create_folder(folder)?;
        }
        let mut written = private_file::create_new(&fresh)?;
        io::Write::write_all(&mut written, text.as_bytes())?;
        written.sync_all()?;
        fs::rename(&fresh, file)?;
        private_file::sync_folder_of(file)
    }
}

/// So many phones are remembered, at most.
const LINKS_MAX: usize = 16;

/// A link in the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    tunnel_domain: u16,
    contact_id: String,
    link_id: String,
    secret: String,
    identity: String,
}

impl Entry {
    fn new(link: &Link) -> Self {
        Entry {
            name: link.name.clone(),
            tunnel_domain: link.domain,
            contact_id: base64url(&link.contact_id),
            link_id: base64url(&link.link_id),
            secret: base64url(&*link.secret),
            identity: base64url(&point(&link.identity)),
        }
    }

    fn link(&self) -> Option<Link> {
        Some(Link {
            domain: self.tunnel_domain,
            contact_id: from_base64url(&self.contact_id)?,
            link_id: from_base64url(&self.link_id)?.try_into().ok()?,
            secret: Zeroizing::new(Zeroizing::new(from_base64url(&self.secret)?).as_slice().try_into().ok()?),
            identity: PublicKey::from_sec1_bytes(&from_base64url(&self.identity)?).ok()?,
            name: self.name.clone(),
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}
