//! The browser extensions, put into folders that browsers load them from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Server;
use crate::private_file;

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

/// Where the extensions are, with the address and token of one bridge. The token is removed when this is dropped.
pub struct Folders {
    /// For Chromium: `--load-extension`, or "Load unpacked".
    pub chromium: PathBuf,
    /// For Firefox: `about:debugging`, "Load Temporary Add-on", or WebDriver's `moz/addon/install`.
    pub firefox: PathBuf,
}

impl Folders {
    /// Writes both extensions under this folder, for this bridge. What is there already is replaced.
    ///
    /// The token is readable by this user only.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(under: &Path, server: &Server) -> io::Result<Self> {
        let folders = Folders { chromium: under.join("chromium"), firefox: under.join("firefox") };
        let url = format!("http://{}", server.address());
        let config = json!({"url": url, "token": server.token().as_str()}).to_string();
        for (folder, own) in [(&folders.chromium, &CHROMIUM[..]), (&folders.firefox, &FIREFOX[..])] {
            fs::create_dir_all(folder)?;
            for (name, text) in SHARED.iter().chain(own) {
                fs::write(folder.join(name), text)?;
            }
            write_private(&folder.join(CONFIG), &config)?;
        }
        Ok(folders)
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.chromium, &self.firefox] {
            // It may have been removed before; the token is of no use after this process anyway.
            let _ = fs::remove_file(folder.join(CONFIG));
        }
    }
}

const CONFIG: &str = "config.json";

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path);
    io::Write::write_all(&mut private_file::create_new(path)?, text.as_bytes())
}

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
    fn the_extensions_stay_small() {
        let lines = |files: &[(&str, &str)]| -> usize {
            files.iter().filter(|(name, _)| name.ends_with(".js")).map(|(_, text)| text.lines().count()).sum()
        };
        assert!(lines(&SHARED) + lines(&CHROMIUM) + lines(&FIREFOX) <= 170);
    }
}
