//! Codes and links that were mailed, and the outbox.

use super::sql::sql;
use super::{Changes, Database, Result};

/// What became of a typed code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeCheck {
    /// Right; it is used up now.
    Right,
    /// Wrong; there are tries left.
    Wrong,
    /// Wrong too often: it is void.
    TooOften,
    /// There is no such code, or it has expired or been used.
    Gone,
    /// What was typed is no code: nothing was compared, and it counts as no try.
    NoCode,
}

impl Changes {
    /// Uses a link's code up, on condition that it is there and has not expired.
    pub(crate) fn take_link(self, id: &str, purpose: &str, now: i64) -> Self {
        let link = sql("DELETE FROM codes WHERE id = $1 AND purpose = $2 AND expires_at > $3");
        self.and(link.bind(id).bind(purpose).bind(now).or_nothing())
    }
}

impl Database {
    /// Keeps a code's digest; an earlier one of the same id is void.
    pub(crate) async fn put_code(
        &self,
        id: &str,
        purpose: &str,
        target: &str,
        digest: &[u8],
        expires_at: i64,
    ) -> Result<()> {
        self.write(sql(
            "INSERT INTO codes (id, purpose, target, digest, tries, expires_at) VALUES ($1, $2, $3, $4, 0, $5) \
             ON CONFLICT (id) DO UPDATE SET purpose = excluded.purpose, target = excluded.target, \
             digest = excluded.digest, tries = 0, expires_at = excluded.expires_at",
        )
        .bind(id)
        .bind(purpose)
        .bind(target)
        .bind(digest)
        .bind(expires_at))
        .await?;
        Ok(())
    }

    /// Compares a code, counting the try before comparing: parallel guesses cannot share one try.
    pub(crate) async fn check_code(
        &self,
        id: &str,
        purpose: &str,
        digest: &[u8],
        at_most: u32,
        now: i64,
    ) -> Result<CodeCheck> {
        let row: Option<(Vec<u8>, i64)> = self
            .take(
                sql("UPDATE codes SET tries = tries + 1 WHERE id = $1 AND purpose = $2 AND expires_at > $3 \
             RETURNING digest, tries")
                .bind(id)
                .bind(purpose)
                .bind(now),
            )
            .await?;
        let Some((expected, tries)) = row else { return Ok(CodeCheck::Gone) };
        if tries > i64::from(at_most) {
            return Ok(CodeCheck::TooOften);
        }
        if !crate::secret::equal(&expected, digest) {
            return Ok(if tries == i64::from(at_most) { CodeCheck::TooOften } else { CodeCheck::Wrong });
        }
        let used =
            self.write(sql("DELETE FROM codes WHERE id = $1 AND digest = $2").bind(id).bind(digest)).await?;
        Ok(if used == 1 { CodeCheck::Right } else { CodeCheck::Gone })
    }

    /// The target of a link's code, without using it up.
    pub(crate) async fn peek_link(&self, id: &str, purpose: &str, now: i64) -> Result<Option<String>> {
        let row: Option<(String,)> = self
            .one(
                sql("SELECT target FROM codes WHERE id = $1 AND purpose = $2 AND expires_at > $3")
                    .bind(id)
                    .bind(purpose)
                    .bind(now),
            )
            .await?;
        Ok(row.map(|(target,)| target))
    }

    /// Uses a link's code up and gives its target; once.
    pub(crate) async fn take_link(&self, id: &str, purpose: &str, now: i64) -> Result<Option<String>> {
        let row: Option<(String, i64)> = self
            .take(
                sql("DELETE FROM codes WHERE id = $1 AND purpose = $2 RETURNING target, expires_at")
                    .bind(id)
                    .bind(purpose),
            )
            .await?;
        Ok(row.filter(|(_, expires_at)| *expires_at > now).map(|(target, _)| target))
    }
}
