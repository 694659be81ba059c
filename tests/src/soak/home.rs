//! An authenticator's files in one folder, and who makes passkeys with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use doppelkey::client::{Client, Error, system_clock};
use doppelkey::packets;
use doppelkey_core::testing::SeededRng;
use serde_json::{Value, json};

/// A vault, its key and, in a circle, its journal, in one folder.
pub struct Home {
    folder: PathBuf,
    doors: PathBuf,
}

impl Home {
    /// All of it in this folder.
    pub fn at(folder: &Path) -> Self {
        Home::with_doors(folder, folder)
    }

    /// The socket and the mailbox in another folder, which no disk should keep from working.
    pub fn with_doors(folder: &Path, doors: &Path) -> Self {
        Home { folder: folder.to_owned(), doors: doors.to_owned() }
    }

    /// The path of its file of this name: `vault`, `key`.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn custody(&self) -> String {
        format!("file:{}", self.path("key"))
    }

    /// `doppelkey run …` with a door for packets and a user who agrees.
    pub fn arguments(&self) -> Vec<String> {
        let (vault, key, socket) =
            (self.path("vault"), self.custody(), format!("unix:{}", self.doors.join("socket").display()));
        let all = ["run", "--vault", &vault, "--custody", &key, "--user", "auto", "--usbip", "off"];
        all.into_iter().chain(["--packets", &socket]).map(String::from).collect()
    }

    /// `doppelkey sync …` on its vault.
    pub fn sync_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::doppelkey());
        command.arg("sync").args(arguments).args(["--vault", &self.path("vault")]);
        command.args(["--custody", &self.custody()]);
        command
    }

    /// `doppelkey sync init`, with a folder beside the socket as mailbox.
    pub fn init_command(&self) -> Command {
        let mailbox = format!("folder:{}", self.doors.join("mailbox").display());
        self.sync_command(&["init", "--name", "test", "--mailbox", &mailbox])
    }

    /// Begins a circle.
    ///
    /// # Panics
    /// If that fails.
    pub fn init(&self) {
        printed(self.init_command()).unwrap_or_else(|said| panic!("{said}"));
    }

    /// How many passkeys its circle shares.
    ///
    /// # Errors
    /// With what `sync status` said instead.
    pub fn shared(&self) -> Result<usize, String> {
        let status = printed(self.sync_command(&["status"]))?;
        let count =
            status.split_once("passkeys: ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        count.ok_or(status)
    }

    /// A client at its door.
    ///
    /// # Errors
    /// If nobody is there.
    pub fn client(&self) -> Result<Client, String> {
        let door = packets::Address::Unix(self.doors.join("socket"));
        let connection = packets::client::connect(&door).map_err(|error| error.to_string())?;
        Client::new(connection, system_clock(), SeededRng::new(7)).map_err(|error| error.to_string())
    }
}

/// What a program that ends well prints.
fn printed(mut command: Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Makes a passkey of example.com for the user of this number; its ID.
///
/// # Errors
/// If the authenticator refuses, or is gone.
pub fn create(client: &mut Client, user: usize) -> Result<Value, Error> {
    let user = format!("user{user:04}");
    let options = json!({
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": user, "name": user, "displayName": user},
        "challenge": "AAAA",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required"},
    });
    client.create("https://example.com", &options).map(|response| response["id"].clone())
}

/// Signs in to example.com with this passkey.
///
/// # Errors
/// If the authenticator refuses, or is gone.
pub fn sign(client: &mut Client, id: &Value) -> Result<Value, Error> {
    let allowed = json!([{"type": "public-key", "id": id}]);
    let options = json!({"challenge": "AAAA", "rpId": "example.com", "allowCredentials": allowed});
    client.get("https://example.com", &options)
}
