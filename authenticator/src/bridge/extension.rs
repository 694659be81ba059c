//! The browser extensions, put into folders that browsers load them from.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::Server;
use crate::private_file;
use crate::token::Token;

/// The origin of the extension in Chromium: its key is in the manifest, and fixes it.
pub const CHROMIUM_ORIGIN: &str = "chrome-extension://hobkallklihhfficgpclfggelmflbedd";

/// The files of both extensions.
const SHARED: [(&str, &str); 3] = [
    ("background.js", include_str!("../../browser/background.js")),
    ("relay.js", include_str!("../../browser/relay.js")),
    ("page.js", include_str!("../../browser/page.js")),
];
const CHROMIUM: [(&str, &str); 2] = [
    ("manifest.json", include_str!("../../browser/chromium/manifest.json")),
    ("worker.js", include_str!("../../browser/chromium/worker.js")),
];
const FIREFOX: [(&str, &str); 1] = [("manifest.json", include_str!("../../browser/firefox/manifest.json"))];

/// Where the extensions are, with the address and token of one bridge. The token is removed when this is dropped,
/// unless another bridge's is there by then.
pub struct Folders {
    /// For Chromium: `--load-extension`, or "Load unpacked".
    pub chromium: PathBuf,
    /// For Firefox: `about:debugging`, "Load Temporary Add-on", or WebDriver's `moz/addon/install`.
    pub firefox: PathBuf,
    /// What [`CONFIG`] holds, if it is ours.
    config: String,
    /// What both are in, if it goes with this.
    temporary: Option<PathBuf>,
}

impl Folders {
    /// Writes both extensions under this folder, for this bridge. What is there already is replaced.
    ///
    /// They are for this user only: nobody else reads the token, or puts code of their own into the extensions. If another
    /// bridge is there and listens still, the extensions lead to this one from now on, and that is logged.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(under: &Path, server: &Server) -> io::Result<Self> {
        let folders = Folders::under(under, server);
        if let Some(other) = listening(&folders.chromium.join(CONFIG)) {
            log::warn!("the bridge at {other} runs still: from now on, the extensions lead to this one");
        }
        folders.fill()?;
        Ok(folders)
    }

    /// Writes both extensions for this bridge, as [`Folders::write`] does, into a new folder among the temporary files. It
    /// is removed when this is dropped.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_for_now(server: &Server) -> io::Result<Self> {
        // Nobody can have guessed the name, and be there already.
        let name = Token::random().ok_or_else(|| io::Error::other("no random bytes"))?;
        let under = std::env::temp_dir().join(format!("doppelkey-{}", name.as_str()));
        let mut folders = Folders::under(&under, server);
        folders.temporary = Some(under);
        folders.fill()?;
        Ok(folders)
    }

    fn under(under: &Path, server: &Server) -> Self {
        let url = format!("http://{}", server.address());
        let config = json!({"url": url, "token": server.token().as_str()}).to_string();
        let (chromium, firefox) = (under.join("chromium"), under.join("firefox"));
        Folders { chromium, firefox, config, temporary: None }
    }

    fn fill(&self) -> io::Result<()> {
        for (folder, own) in [(&self.chromium, &CHROMIUM[..]), (&self.firefox, &FIREFOX[..])] {
            private_file::create_folder(folder)?;
            for (name, text) in SHARED.iter().chain(own) {
                private_file::replace(&folder.join(name), text.as_bytes())?;
            }
            private_file::replace(&folder.join(CONFIG), self.config.as_bytes())?;
        }
        Ok(())
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.chromium, &self.firefox] {
            let config = folder.join(CONFIG);
            if fs::read_to_string(&config).is_ok_and(|found| found == self.config) {
                // It may be removed meanwhile; the token is of no use after this process anyway.
                let _ = fs::remove_file(config);
            }
        }
        if let Some(folder) = &self.temporary {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// The address in this file, if something listens there: a bridge that ended without a word leaves it, too.
fn listening(config: &Path) -> Option<SocketAddr> {
    let config: serde_json::Value = serde_json::from_str(&fs::read_to_string(config).ok()?).ok()?;
    let address = config["url"].as_str()?.strip_prefix("http://")?.parse().ok()?;
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok().then_some(address)
}

const CONFIG: &str = "config.json";

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_origin_in_chromium_is_the_one_that_the_manifests_key_fixes() {
        let manifest: serde_json::Value = serde_json::from_str(CHROMIUM[0].1).unwrap();
        let key = BASE64_STANDARD.decode(manifest["key"].as_str().unwrap()).unwrap();
        let nibbles = Sha256::digest(key).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let id: String = nibbles.take(32).map(|nibble| char::from(b'a' + nibble)).collect();
        assert_eq!(CHROMIUM_ORIGIN, format!("chrome-extension://{id}"));
    }

    #[test]
    fn the_configuration_of_a_later_bridge_outlives_an_earlier_one() {
        let under = tempfile::tempdir().unwrap();
        let start = || {
            let clock: crate::device::Clock = std::sync::Arc::new(|| Duration::ZERO);
            let nowhere = crate::bridge::Source::usbip(clock, "127.0.0.1:1".parse().unwrap(), "1-1".into());
            let server = Server::bind("127.0.0.1:0".parse().unwrap(), nowhere).unwrap();
            let folders = Folders::write(under.path(), &server).unwrap();
            (server, folders)
        };
        let config = under.path().join("firefox").join(CONFIG);
        let earlier = start();
        assert_eq!(listening(&config), Some(earlier.0.address()));
        let later = start();
        drop(earlier);
        assert!(fs::read_to_string(&config).unwrap().contains(later.0.token().as_str()));
        assert_eq!(listening(&config), Some(later.0.address()));
        drop(later);
        assert!(!config.exists());
        // One that ended without a word is listened to by nobody.
        fs::write(&config, r#"{"url": "http://127.0.0.1:1", "token": ""}"#).unwrap();
        assert_eq!(listening(&config), None);
    }

    #[test]
    fn the_extensions_stay_small() {
        let lines = |files: &[(&str, &str)]| -> usize {
            files.iter().filter(|(name, _)| name.ends_with(".js")).map(|(_, text)| text.lines().count()).sum()
        };
        assert!(lines(&SHARED) + lines(&CHROMIUM) + lines(&FIREFOX) <= 400);
    }
}
