//! Mail: what waits for its server, and what the outbox shows.

use super::sql::{FromRow, Row, sql};
use super::{Changes, Database, Result};

/// A mail in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mailed {
    pub(crate) sent_at: i64,
    pub(crate) recipient: String,
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// A mail that waits for its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitingMail {
    pub(crate) id: String,
    /// How often it has been tried.
    pub(crate) tries: i64,
    /// When it is tried next; in the hands of a process, when that process is given up.
    pub(crate) due_at: i64,
    /// Recipient, subject and text, under a key that is not in the database.
    pub(crate) sealed: Vec<u8>,
}

impl FromRow for WaitingMail {
    fn from_row(row: &mut Row) -> Result<Self> {
        Ok(Self { id: row.next()?, tries: row.next()?, due_at: row.next()?, sealed: row.next()? })
    }
}

impl Changes {
    /// Forgets every mail that waits.
    pub(crate) fn forget_all_waiting_mail(self) -> Self {
        self.and(sql("DELETE FROM waiting_mail"))
    }
}

impl Database {
    /// How many mails wait.
    pub(crate) async fn count_waiting_mail(&self) -> Result<i64> {
        let row = self.one(sql("SELECT COUNT(*) FROM waiting_mail")).await?;
        Ok(row.map_or(0, |(count,)| count))
    }

    /// Keeps a mail until it has gone out.
    pub(crate) async fn put_waiting_mail(&self, mail: &WaitingMail) -> Result<()> {
        let statement = sql("INSERT INTO waiting_mail (id, tries, due_at, sealed) VALUES ($1, $2, $3, $4)");
        self.write(statement.bind(&mail.id).bind(mail.tries).bind(mail.due_at).bind(&mail.sealed)).await?;
        Ok(())
    }

    /// Some mails whose time has come, the longest due first.
    pub(crate) async fn due_mail(&self, now: i64) -> Result<Vec<WaitingMail>> {
        let query = sql("SELECT id, tries, due_at, sealed FROM waiting_mail WHERE due_at <= $1 \
             ORDER BY due_at, id LIMIT 16");
        self.all(query.bind(now)).await
    }

    /// Takes a mail to try it once more: false if another process has done so meanwhile, and has it in its hands.
    pub(crate) async fn take_mail(&self, mail: &WaitingMail, until: i64) -> Result<bool> {
        let statement =
            sql("UPDATE waiting_mail SET tries = tries + 1, due_at = $3 WHERE id = $1 AND due_at = $2");
        Ok(self.write(statement.bind(&mail.id).bind(mail.due_at).bind(until)).await? == 1)
    }

    /// Puts off when a mail that was taken is due: false if another process has it by now.
    pub(crate) async fn put_mail_off(&self, mail: &WaitingMail, until: i64) -> Result<bool> {
        let statement = sql("UPDATE waiting_mail SET due_at = $3 WHERE id = $1 AND due_at = $2");
        Ok(self.write(statement.bind(&mail.id).bind(mail.due_at).bind(until)).await? == 1)
    }

    /// Forgets a mail that has gone out, or never will.
    pub(crate) async fn forget_waiting_mail(&self, id: &str) -> Result<()> {
        self.write(sql("DELETE FROM waiting_mail WHERE id = $1").bind(id)).await?;
        Ok(())
    }

    /// Keeps a mail for the outbox page.
    pub(crate) async fn put_mail(&self, id: &str, mail: &Mailed) -> Result<()> {
        self.write(
            sql("INSERT INTO outbox (id, sent_at, recipient, subject, body) VALUES ($1, $2, $3, $4, $5)")
                .bind(id)
                .bind(mail.sent_at)
                .bind(&mail.recipient)
                .bind(&mail.subject)
                .bind(&mail.body),
        )
        .await?;
        Ok(())
    }

    /// The latest mails of the outbox, the latest first.
    pub(crate) async fn outbox(&self, at_most: i64) -> Result<Vec<Mailed>> {
        let rows: Vec<(i64, String, String, String)> = self
            .all(
                sql("SELECT sent_at, recipient, subject, body FROM outbox ORDER BY id DESC LIMIT $1")
                    .bind(at_most),
            )
            .await?;
        let mails = rows.into_iter();
        Ok(mails
            .map(|(sent_at, recipient, subject, body)| Mailed { sent_at, recipient, subject, body })
            .collect())
    }
}
