//! Mail: into the outbox, to the console, or to a mail server.
//!
//! What is for a mail server waits in the database until the server has it, or five tries within six minutes have failed
//! (longer where it accepts connections and says nothing): a server that is restarted loses nothing, and neither does a
//! relying party that is restarted meanwhile. What is given up is told, and whoever waits for it can ask for it anew. Any
//! process of those that share the database sends it. It holds codes and links, of which the database otherwise keeps
//! digests only; so it is sealed under a key that the server's URL, password and all, and the shared secret give: every
//! process is told the URL, and the database is not.
//!
//! SMTP cannot say "once": of a process that dies, or a network that fails, between the server's yes and the note of it
//! nobody knows whether the mail went out, and it is sent again rather than lost. Each try sends the same octets, with the
//! same `Message-ID`, by which mail servers and programs drop the second. The window is one farewell (`QUIT`) and one
//! commit long.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};

use crate::app::App;
use crate::config::Mail;
use crate::events::{Event, Source};
use crate::secret;
use crate::store::{Mailed, StoreError, WaitingMail};

/// How long to wait before each further try, when the mail server is down: most are back within a minute, and a code
/// is worth nothing after fifteen. In milliseconds.
const PAUSES_MS: [i64; 4] = [2_000, 15_000, 60_000, 300_000];

/// How long a process has a mail in its hands before another may think that it is gone, in milliseconds.
const LEASE_MS: i64 = 120_000;

/// How often a process that is still sending says so, well before its lease ends.
const RENEWAL: Duration = Duration::from_secs(60);

/// How long a mail server may take: ten minutes to say yes to a text that it has (RFC 5321 §4.5.3.2.6), or it would get
/// the mail twice; and a minute for all that comes before.
const PATIENCE: Duration = Duration::from_secs(660);

/// How often each process looks for mail whose time has come.
const LOOK: Duration = Duration::from_secs(1);

impl App {
    /// Sends a mail. A mail that cannot be sent does not fail the request, which must look the same whether or not
    /// there is anybody to write to: it is tried again, and in the end told in the log (`fn`), without the text.
    pub(crate) async fn mail(&self, recipient: &str, subject: &str, body: &str) {
        let mail = Mailed {
            sent_at: self.now(),
            recipient: recipient.to_string(),
            subject: subject.to_string(),
            body: body.to_string(),
        };
        if self.config.dev {
            let id = self.next_event_id(mail.sent_at);
            if let Err(error) = self.database.put_mail(&id, &mail).await {
                tell("a mail could not be put into the outbox", &error);
            }
        }
        match &self.config.mail {
            Mail::Outbox => {}
            Mail::Console => tell!("mail to {recipient}: {subject}\n\n{body}\n"),
            Mail::Smtp { url, .. } => {
                // Not waited for: how long a server takes would tell whether there was a mail.
                if let Err(error) = self.put_into_queue(url, &mail).await {
                    tell("a mail could not be kept, and does not go out", &error);
                }
            }
        }
    }

    async fn put_into_queue(&self, url: &str, mail: &Mailed) -> Result<(), StoreError> {
        let id = self.next_event_id(mail.sent_at);
        let sealed = seal(&self.secret, url, &self.config.random.bytes(), &id, mail);
        self.database.put_waiting_mail(&WaitingMail { id, tries: 0, due_at: mail.sent_at, sealed }).await?;
        self.new_mail.notify_one();
        Ok(())
    }

    /// Sends the mail whose time has come, this process's and others'.
    pub(crate) async fn deliver_due_mail(&self) -> Result<(), StoreError> {
        let Mail::Smtp { url, from } = &self.config.mail else { return Ok(()) };
        for mail in self.database.due_mail(self.now()).await? {
            // Whoever takes it has it; the others leave it alone meanwhile.
            let until = self.now() + LEASE_MS;
            if self.database.take_mail(&mail, until).await? {
                let (app, url, from) = (self.clone(), url.clone(), from.clone());
                tokio::spawn(
                    async move { app.deliver(&url, &from, WaitingMail { due_at: until, ..mail }).await },
                );
            }
        }
        Ok(())
    }

    async fn deliver(&self, url: &str, from: &str, mut mail: WaitingMail) {
        let outcome = match open(&self.secret, url, &mail) {
            Some(opened) => {
                let name = message_id(&self.secret, &mail.id, from);
                self.hold_while(&mut mail, smtp::send(url, from, &opened, &name)).await
            }
            None => Err(smtp::Error::hopeless(
                "it was sealed under another mail server's URL, or a key that has been replaced",
                "if the URL is new, start with the one of before until its mail is out; whoever waits for it can ask for \
                 it anew",
            )),
        };
        let pause = usize::try_from(mail.tries).ok().and_then(|tries| PAUSES_MS.get(tries));
        let done = match (outcome, pause) {
            (Ok(()), _) => self.database.forget_waiting_mail(&mail.id).await,
            (Err(error), Some(pause)) if error.is_worth_another_try => {
                if mail.tries == 0 {
                    let (what, hint) = (error.what, error.hint);
                    tell!("warning: a mail could not be sent yet, and is tried again: {what}\nhint: {hint}");
                }
                self.database.put_mail_off(&mail, self.now() + pause).await.map(drop)
            }
            (Err(error), _) => {
                tell!("error: a mail could not be sent: {}\nhint: {}", error.what, error.hint);
                self.log(&Source::default(), Event::of("fn").error(error.what)).await;
                self.database.forget_waiting_mail(&mail.id).await
            }
        };
        if let Err(error) = done {
            // It stays in this process's hands until the lease is over, and is sent again then.
            tell("what became of a mail could not be noted, and it may go out twice", &error);
        }
    }

    /// Sends a mail, which stays in this process's hands meanwhile, for as long as a server may take.
    async fn hold_while(
        &self,
        mail: &mut WaitingMail,
        sending: impl Future<Output = Result<(), smtp::Error>>,
    ) -> Result<(), smtp::Error> {
        let mut sending = pin!(tokio::time::timeout(PATIENCE, sending));
        loop {
            match tokio::time::timeout(RENEWAL, &mut sending).await {
                Ok(ended) => return ended.unwrap_or_else(|_| Err(smtp::Error::silence())),
                Err(_) => {
                    let until = self.now() + LEASE_MS;
                    // If that fails, another process may send it, too: rather twice than not at all.
                    if self.database.put_mail_off(mail, until).await.unwrap_or(false) {
                        mail.due_at = until;
                    }
                }
            }
        }
    }
}

/// Looks for mail to send, until the application is gone.
pub(crate) async fn postman(shared: std::sync::Weak<crate::app::Shared>) {
    loop {
        let Some(app) = shared.upgrade().map(App::of) else { return };
        if let Err(error) = app.deliver_due_mail().await {
            tell("mail that waits cannot be read", &error);
        }
        let new_mail = Arc::clone(&app.new_mail);
        // While it waits it keeps nothing alive: an application that has gone sends no mail any more.
        drop(app);
        // At least now and then, for mail that failed, or that another process has left behind.
        let _ = tokio::time::timeout(LOOK, new_mail.notified()).await;
    }
}

/// Tells the operator of what the database did not do.
fn tell(what: &str, error: &StoreError) {
    tell!("error: {what}: {error}\nhint: {}", error.hint());
}

/// What names a mail in the world, `Message-ID:` without its brackets: the same at each try, so that who gets it twice
/// can tell; different for each mail; and it says nothing about this service but the domain that it writes from.
fn message_id(secret: &[u8], id: &str, from: &str) -> String {
    let name = secret::text(&secret::keyed(secret, &[b"message id", id.as_bytes()])[..15]);
    let domain = from.rsplit('@').next().unwrap_or_default().trim_end_matches('>');
    format!("{name}@{domain}")
}

fn key(secret: &[u8], url: &str) -> Aes256Gcm {
    let key = secret::keyed(secret, &[b"mail that waits", url.as_bytes()]);
    let key: [u8; 32] = key.try_into().expect("HMAC-SHA-256 gives 32 bytes");
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(key))
}

/// AES-256-GCM under a random nonce, which comes first; the id is authenticated, too.
fn seal(secret: &[u8], url: &str, nonce: &[u8; 12], id: &str, mail: &Mailed) -> Vec<u8> {
    let text = serde_json::to_vec(&(mail.sent_at, &mail.recipient, &mail.subject, &mail.body));
    let text = text.expect("texts and a number are JSON");
    let payload = Payload { msg: &text, aad: id.as_bytes() };
    let sealed =
        key(secret, url).encrypt(&Nonce::from(*nonce), payload).expect("a mail is shorter than 64 GiB");
    [&nonce[..], &sealed].concat()
}

fn open(secret: &[u8], url: &str, mail: &WaitingMail) -> Option<Mailed> {
    let (nonce, sealed) = mail.sealed.split_first_chunk::<12>()?;
    let payload = Payload { msg: sealed, aad: mail.id.as_bytes() };
    let text = key(secret, url).decrypt(&Nonce::from(*nonce), payload).ok()?;
    let (sent_at, recipient, subject, body) = serde_json::from_slice(&text).ok()?;
    Some(Mailed { sent_at, recipient, subject, body })
}

/// What is wrong with these settings, without asking the mail server.
///
/// # Errors
/// As of [`Config::check`](crate::Config::check): what, and what to do.
pub(crate) fn check(mail: &Mail) -> Result<(), (String, String)> {
    let Mail::Smtp { url, from } = mail else { return Ok(()) };
    // Neither is repeated: the URL holds a password.
    if smtp::transport(url).is_err() {
        let hint = "for example smtps://user:password@mail.example.org, or smtp://…:587?tls=required";
        return Err(("the mail server's URL cannot be read".into(), hint.into()));
    }
    if smtp::mailbox(from).is_none() {
        let hint = "for example --mail-from login@example.org";
        return Err((format!("{from} is not an address to send mail from"), hint.into()));
    }
    Ok(())
}

mod smtp {
    use std::error::Error as _;
    use std::io;
    use std::time::{Duration, SystemTime};

    use lettre::message::{Mailbox, SinglePart};
    use lettre::transport::smtp;
    use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
    use tokio_rustls::rustls;

    use crate::store::Mailed;

    /// Why a mail did not go out; holds nothing of the mail.
    pub(super) struct Error {
        pub(super) what: String,
        /// What the operator can do about it.
        pub(super) hint: &'static str,
        pub(super) is_worth_another_try: bool,
    }

    impl From<smtp::Error> for Error {
        fn from(error: smtp::Error) -> Self {
            // A server's own words may repeat the recipient: its status says enough.
            let (what, hint) = match error.status() {
                Some(code) => (
                    format!("the mail server answered {code}"),
                    "look into the mail server's log; may this sender and password send through it?",
                ),
                None if error.is_tls() || is_of_handshake(&error) => (
                    "there is no secure connection to the mail server".into(),
                    "is its certificate for the name in --smtp, of an authority that this system knows?",
                ),
                None => (
                    "the mail server cannot be reached".into(),
                    "is it running, are host and port in --smtp right?",
                ),
            };
            Self { what, hint, is_worth_another_try: !error.is_permanent() && !error.is_client() }
        }
    }

    /// Whether TLS could not be agreed on, as with a certificate that this system does not believe: to lettre that is a
    /// connection that failed, as if nobody listened.
    fn is_of_handshake(error: &smtp::Error) -> bool {
        std::iter::successors(error.source(), |cause| (*cause).source())
            .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref())
            .any(|inner| inner.is::<rustls::Error>())
    }

    impl Error {
        /// A server that has not answered for as long as it may take.
        pub(super) fn silence() -> Self {
            Self {
                what: "the mail server accepts connections and says nothing".into(),
                hint: "a port that speaks TLS at once, as 465 does, wants smtps:// in --smtp; does something on the way, \
                       a firewall perhaps, swallow what is sent?",
                is_worth_another_try: true,
            }
        }

        /// One that no further try would mend.
        pub(super) fn hopeless(what: &str, hint: &'static str) -> Self {
            Self { what: what.into(), hint, is_worth_another_try: false }
        }
    }

    pub(super) fn transport(url: &str) -> Result<AsyncSmtpTransport<Tokio1Executor>, smtp::Error> {
        Ok(AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?.build())
    }

    pub(super) fn mailbox(address: &str) -> Option<Mailbox> {
        address.parse().ok()
    }

    /// Sends it: the same octets at every try.
    pub(super) async fn send(url: &str, from: &str, mail: &Mailed, message_id: &str) -> Result<(), Error> {
        let message = message(from, mail, message_id)?;
        transport(url)?.send(message).await?;
        Ok(())
    }

    /// Text in UTF-8, and says so (RFC 2045): without that, what is not ASCII is guessed at, and a line's soft break stays
    /// in the middle of a link.
    pub(super) fn message(from: &str, mail: &Mailed, message_id: &str) -> Result<Message, Error> {
        let address = |text: &str| {
            let hint = "nothing: whoever typed it has to type another one";
            mailbox(text).ok_or_else(|| Error::hopeless("an address cannot get mail", hint))
        };
        let sent_at = Duration::from_millis(u64::try_from(mail.sent_at).unwrap_or_default());
        Message::builder()
            .message_id(Some(format!("<{message_id}>")))
            .date(SystemTime::UNIX_EPOCH + sent_at)
            .from(address(from)?)
            .to(address(&mail.recipient)?)
            .subject(&mail.subject)
            .singlepart(SinglePart::plain(mail.body.clone()))
            .map_err(|_| Error::hopeless("it could not be written", "please report this"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_has_one_name_at_every_try_and_shares_it_with_no_other() {
        let name = message_id(&[1; 32], "one", "Doppelkey <login@example.org>");
        assert_eq!(name, message_id(&[1; 32], "one", "login@example.org"));
        assert!(name.ends_with("@example.org") && name.len() == 32, "{name}");
        assert_ne!(name, message_id(&[1; 32], "two", "login@example.org"));
        assert_ne!(
            name,
            message_id(&[2; 32], "one", "login@example.org"),
            "the number of a mail does not show"
        );
    }

    #[test]
    fn a_mail_says_that_it_is_text_in_utf_8() {
        let mail = Mailed {
            sent_at: 1_750_000_000_000,
            recipient: "ada@example.org".into(),
            subject: "Dein Code für Café Größe".into(),
            body: format!("Größe: https://example.org/reset?token={}\n", "x".repeat(100)),
        };
        let message = smtp::message("login@example.org", &mail, "one@example.org").ok().expect("a mail");
        let text = String::from_utf8(message.formatted()).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let head: Vec<_> = head.lines().collect();
        for line in [
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: quoted-printable",
        ] {
            assert!(head.contains(&line), "{line}: {head:?}");
        }
        assert!(text.is_ascii() && body.starts_with("Gr=C3=B6=C3=9Fe: "), "{body}");
    }

    #[test]
    fn a_mail_that_waits_is_opened_with_the_servers_url_only() {
        let (secret, url) = ([1; 32], "smtps://user:password@mail.example.org");
        let mail = Mailed {
            sent_at: 5,
            recipient: "ada@example.org".into(),
            subject: "hello".into(),
            body: "123456 is your code".into(),
        };
        let sealed = seal(&secret, url, &[7; 12], "one", &mail);
        assert!(!sealed.windows(6).any(|part| part == b"123456" || part == b"ada@ex"));
        let waiting = |id: &str| WaitingMail { id: id.into(), tries: 0, due_at: 5, sealed: sealed.clone() };
        assert_eq!(open(&secret, url, &waiting("one")), Some(mail));
        assert_eq!(open(&secret, "smtps://user:guess@mail.example.org", &waiting("one")), None);
        assert_eq!(open(&secret, url, &waiting("another")), None);
        assert_eq!(open(&secret, url, &WaitingMail { sealed: vec![1, 2], ..waiting("one") }), None);
    }
}
