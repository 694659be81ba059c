//! Mail: into the outbox, to the console, or to a mail server.

use std::time::Duration;

use crate::app::App;
use crate::config::Mail;
use crate::events::{Event, Source};
use crate::store::Mailed;

/// How long to wait before each further try, when the mail server is down: most are back within a minute, and a code
/// is worth nothing after fifteen.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(300)];

impl App {
    /// Sends a mail. A mail that cannot be sent does not fail the request, which must look the same whether or not
    /// there is anybody to write to: it is tried again, and in the end told in the log (`fn`), without the text.
    ///
    /// Tries live in this process's memory only: the database never holds what a code or link is.
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
                eprintln!("error: a mail could not be put into the outbox: {error}");
            }
        }
        match &self.config.mail {
            Mail::Outbox => {}
            Mail::Console => eprintln!("mail to {recipient}: {subject}\n\n{body}\n"),
            Mail::Smtp { url, from } => {
                let (app, url, from) = (self.clone(), url.clone(), from.clone());
                // Not waited for: how long a server takes would tell whether there was a mail.
                tokio::spawn(async move { app.deliver(&url, &from, &mail).await });
            }
        }
    }

    async fn deliver(&self, url: &str, from: &str, mail: &Mailed) {
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(error) = smtp::send(url, from, mail).await else { return };
            match pauses.next() {
                Some(pause) if error.is_worth_another_try => tokio::time::sleep(pause).await,
                _ => {
                    eprintln!("error: a mail could not be sent: {}", error.what);
                    return self.log(&Source::default(), Event::of("fn").error(error.what)).await;
                }
            }
        }
    }
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
    use lettre::message::Mailbox;
    use lettre::transport::smtp;
    use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

    use crate::store::Mailed;

    /// Why a mail did not go out; holds nothing of the mail.
    pub(super) struct Error {
        pub(super) what: String,
        pub(super) is_worth_another_try: bool,
    }

    impl From<smtp::Error> for Error {
        fn from(error: smtp::Error) -> Self {
            // A server's own words may repeat the recipient: its status says enough.
            let what = match error.status() {
                Some(code) => format!("the mail server answered {code}"),
                None if error.is_tls() => "there is no secure connection to the mail server".into(),
                None => "the mail server cannot be reached".into(),
            };
            Self { what, is_worth_another_try: !error.is_permanent() && !error.is_client() }
        }
    }

    pub(super) fn transport(url: &str) -> Result<AsyncSmtpTransport<Tokio1Executor>, smtp::Error> {
        Ok(AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?.build())
    }

    pub(super) fn mailbox(address: &str) -> Option<Mailbox> {
        address.parse().ok()
    }

    pub(super) async fn send(url: &str, from: &str, mail: &Mailed) -> Result<(), Error> {
        let hopeless = |what: &str| Error { what: what.into(), is_worth_another_try: false };
        let address = |text: &str| mailbox(text).ok_or_else(|| hopeless("an address cannot get mail"));
        let message = Message::builder()
            .from(address(from)?)
            .to(address(&mail.recipient)?)
            .subject(&mail.subject)
            .body(mail.body.clone())
            .map_err(|_| hopeless("a mail could not be written"))?;
        transport(url)?.send(message).await?;
        Ok(())
    }
}
