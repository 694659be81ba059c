//! What the programs promise by their answers, in short stories. Each is told again and again, with its program killed
//! at another step each time; when the program is back, what was promised must be so.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use doppelkey::client::Client;
use doppelkey_sync::relay::{RelayClient, RelayUrl};
use doppelkey_sync::{CircleId, Mailbox as _, Name};
use serde_json::Value;

use super::home::{Home, create};
use super::site::Site;
use super::steps::Steps;

/// Which program it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// `doppelkey sync init` and `doppelkey run`: vault and key, the journal of a circle, its mailbox in a folder.
    Vault,
    /// `doppelkey relying-party` on SQLite.
    RelyingParty,
    /// `doppelkey relay` on SQLite.
    Relay,
}

/// What an answer promised.
#[derive(Clone, Debug)]
pub struct Promise {
    what: What,
    /// After how many steps it was given.
    pub since: u64,
    /// After how many steps the program was asked to undo it, and either is right.
    pub until: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// The vault has this passkey.
    Passkey(String),
    /// The vault has it no more.
    NoPasskey(String),
    /// The user of this address can log in.
    User(String),
    /// The relay has an entry of these bytes.
    Entry(Vec<u8>),
}

impl Story {
    /// All of them.
    pub const ALL: [Story; 3] = [Story::Vault, Story::RelyingParty, Story::Relay];

    /// Tells it with its programs' steps counted; ends where a program does. `client` has the passkeys of the relying
    /// party's users.
    pub fn tell(self, steps: &Steps, client: &mut Client) -> Vec<Promise> {
        let mut teller = Teller { story: self, steps, promises: Vec::new() };
        // Nothing is told any more once a program is gone.
        let _gone = match self {
            Story::Vault => teller.vault(),
            Story::RelyingParty => teller.relying_party(client),
            Story::Relay => teller.relay(),
        };
        teller.promises
    }

    /// Starts its program with what is in this folder, and looks for what was promised.
    ///
    /// # Errors
    /// With what is not so, or what the program said instead of starting.
    pub fn keeps(self, folder: &Path, promises: &[&Promise], client: &mut Client) -> Result<(), String> {
        let program = Running::start(self, folder, None)?;
        let passkeys = if self == Story::Vault { program.passkeys() } else { String::new() };
        for promise in promises {
            let kept = match &promise.what {
                What::Passkey(id) => passkeys.contains(id),
                What::NoPasskey(id) => !passkeys.contains(id),
                What::User(email) => Site::new(program.text("url")).log_in(client, email),
                What::Entry(bytes) => {
                    program.mailbox().get(Name::of(bytes)).is_ok_and(|found| found.as_ref() == Some(bytes))
                }
            };
            if !kept {
                return Err(format!("promised, and not so: {:?}", promise.what));
            }
        }
        Ok(())
    }

    /// Starts its program on the folder of these steps, which are counted: whether it lives until it is ready.
    pub fn comes_up(self, steps: &Steps) -> bool {
        Running::start(self, steps.folder(), Some(steps)).is_ok()
    }

    fn arguments(self, folder: &Path) -> Vec<String> {
        let database = format!("sqlite:{}", folder.join("database").display());
        let listening =
            |what: &str| [what, "--listen", "127.0.0.1:0", "--db", &database].map(String::from).to_vec();
        match self {
            Story::Vault => Home::at(folder).arguments(),
            Story::RelyingParty => listening("relying-party"),
            Story::Relay => listening("relay"),
        }
    }
}

/// A story on its way. What it is told by is `None` as soon as a program is gone.
struct Teller<'a> {
    story: Story,
    steps: &'a Steps,
    promises: Vec<Promise>,
}

impl Teller<'_> {
    fn begin(&self) -> Option<Running> {
        Running::start(self.story, self.steps.folder(), Some(self.steps)).ok()
    }

    fn promise(&mut self, what: What) {
        self.promises.push(Promise { what, since: self.steps.count(), until: None });
    }

    /// All that was promised of what this is true of is about to be undone.
    fn undo(&mut self, of: impl Fn(&What) -> bool) {
        let now = self.steps.count();
        for promise in self.promises.iter_mut().filter(|promise| of(&promise.what)) {
            promise.until.get_or_insert(now);
        }
    }

    /// A circle, passkeys, one of them deleted, another start, a reset, and a passkey after it.
    fn vault(&mut self) -> Option<()> {
        let home = Home::at(self.steps.folder());
        let mut init = home.init_command();
        self.steps.watch(&mut init);
        if !init.output().expect("doppelkey runs").status.success() {
            return None;
        }
        let program = self.begin()?;
        let mut ids: Vec<_> = (0..3).map_while(|user| self.passkey(&home, user)).collect();
        let deleted = ids.pop()?;
        self.undo(|what| *what == What::Passkey(deleted.clone()));
        program.asks("DELETE", &format!("credentials/{deleted}"))?;
        self.promise(What::NoPasskey(deleted));
        drop(program);
        let program = self.begin()?;
        ids.push(self.passkey(&home, 3)?);
        self.undo(|what| matches!(what, What::Passkey(_)));
        program.asks("POST", "reset")?;
        ids.into_iter().for_each(|id| self.promise(What::NoPasskey(id)));
        self.passkey(&home, 4)?;
        Some(())
    }

    fn passkey(&mut self, home: &Home, user: usize) -> Option<String> {
        let id = create(&mut home.client().ok()?, user).ok()?.as_str()?.to_owned();
        self.promise(What::Passkey(id.clone()));
        Some(id)
    }

    /// Users who sign up and in, before and after another start.
    fn relying_party(&mut self, client: &mut Client) -> Option<()> {
        for part in 0..2 {
            let program = self.begin()?;
            for user in 0..2 {
                let email = format!("user-{part}-{user}@example.org");
                Site::new(program.text("url")).sign_up(client, &email).then_some(())?;
                self.promise(What::User(email.clone()));
                Site::new(program.text("url")).log_in(client, &email).then_some(())?;
            }
        }
        Some(())
    }

    /// Entries, before and after another start.
    fn relay(&mut self) -> Option<()> {
        for part in 0..2 {
            let program = self.begin()?;
            let mut mailbox = program.mailbox();
            mailbox.open().ok()?;
            for number in 0..3 {
                let bytes = vec![10 * part + number; 5000];
                mailbox.put(Name::of(&bytes), &bytes).ok()?;
                self.promise(What::Entry(bytes));
            }
        }
        Some(())
    }
}

/// A program that is ready. Killed when dropped.
struct Running {
    child: Child,
    ready: Value,
}

impl Running {
    /// What it said if it ends before it is ready.
    fn start(story: Story, folder: &Path, steps: Option<&Steps>) -> Result<Self, String> {
        let mut command = Command::new(crate::doppelkey());
        command.args(story.arguments(folder)).arg("--json").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(steps) = steps {
            steps.watch(&mut command);
        }
        let mut child = command.spawn().expect("doppelkey runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        match serde_json::from_str(&line) {
            Ok(ready) => Ok(Running { child, ready }),
            Err(_) => {
                let output = child.wait_with_output().expect("it ends");
                Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
            }
        }
    }

    fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("the ready line has no {key}: {}", self.ready))
    }

    fn mailbox(&self) -> RelayClient {
        RelayClient::new(RelayUrl::new(self.text("url"), "a token of the test"), CircleId([7; 16]))
    }

    /// Asks the control port something about the device; its answer, if it does not refuse.
    fn asks(&self, method: &str, path: &str) -> Option<String> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/devices/1/{path}", self.text("control")))
            .header("authorization", format!("Bearer {}", self.text("token")))
            .body(())
            .expect("a right request");
        ureq::run(request).ok()?.body_mut().read_to_string().ok()
    }

    /// What the control port lists.
    fn passkeys(&self) -> String {
        self.asks("GET", "credentials").expect("a running program answers")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
