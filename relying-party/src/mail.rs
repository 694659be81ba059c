//! Mail: into the outbox, to the console, or to a mail server.

use crate::app::App;
use crate::config::Mail;
use crate::store::Mailed;

impl App {
    /// Sends a mail. A mail that cannot be sent does not fail the request, which must look the same whether or not
    /// there is anybody to write to; it is told on standard error, without the text.
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
                let (url, from) = (url.clone(), from.clone());
                // Not waited for: how long a server takes would tell whether there was a mail.
                tokio::spawn(async move {
                    if let Err(error) = smtp::send(&url, &from, mail).await {
                        eprintln!("error: a mail could not be sent: {error}");
                    }
                });
            }
        }
    }
}

mod smtp {
    use lettre::message::Mailbox;
    use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

    use crate::store::Mailed;

    pub(super) async fn send(
        url: &str,
        from: &str,
        mail: Mailed,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let message = Message::builder()
            .from(from.parse::<Mailbox>()?)
            .to(mail.recipient.parse::<Mailbox>()?)
            .subject(mail.subject)
            .body(mail.body)?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?.build();
        transport.send(message).await?;
        Ok(())
    }
}
