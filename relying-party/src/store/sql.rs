//! What the store says to a database, and hears from it: the seam that SQLite and PostgreSQL stand behind.

use super::{Result, StoreError};

/// One SQL statement with the values of `$1`, `$2`, …
///
/// The text serves both databases. Values are text, bytes and 64-bit numbers.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) text: &'static str,
    /// The text for PostgreSQL, where that has to be another.
    pub(super) on_postgres: &'static str,
    pub(super) values: Vec<Value>,
    /// It must change exactly one row, or nothing of its batch happens.
    pub(super) is_condition: bool,
}

/// A statement without values yet.
pub(super) fn sql(text: &'static str) -> Statement {
    Statement { text, on_postgres: text, values: Vec::new(), is_condition: false }
}

impl Statement {
    /// The next value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Says it to PostgreSQL in other words.
    pub(super) fn on_postgres(self, on_postgres: &'static str) -> Self {
        Self { on_postgres, ..self }
    }

    /// Makes the whole batch depend on this statement's changing exactly one row or, if it changes none, finding one.
    pub(super) fn or_nothing(mut self) -> Self {
        self.is_condition = true;
        self
    }

    /// Whether it changes nothing.
    fn is_query(&self) -> bool {
        self.text.starts_with("SELECT")
    }

    /// The table that it changes.
    pub(super) fn table(&self) -> &'static str {
        let words: Vec<_> = self.text.split_whitespace().take(3).collect();
        match words[..] {
            ["INSERT" | "DELETE", _, table] | ["UPDATE", table, _] => table,
            _ => "",
        }
    }

    /// Whether it adds a row, or changes, takes or finds one on condition that it still is as it was.
    fn needs_no_turn(&self) -> bool {
        if self.is_query() {
            return self.is_condition;
        }
        let is_conditional = self.is_condition && self.table() != "users";
        !self.table().is_empty() && (self.text.starts_with("INSERT") || is_conditional)
    }

    /// Whether it reads a table, apart from the row that it changes.
    fn reads(&self, table: &str) -> bool {
        let words = self.text.split_whitespace().skip(if self.is_query() { 0 } else { 3 });
        let words: Vec<_> = words.map(|word| word.trim_matches(['(', ')', ','])).collect();
        words.windows(2).any(|pair| matches!(pair[0], "FROM" | "JOIN") && pair[1] == table)
    }

    /// Whether what it does must outlive a power cut: who has an account, and what opens it. The rest (counters, sessions,
    /// challenges, events) may go back by the last moments, and costs no wait for the disk.
    pub(super) fn must_last(&self) -> bool {
        let words: Vec<_> = self.text.split_whitespace().take(4).collect();
        match words[..] {
            ["INSERT" | "DELETE", _, table, ..] => {
                LASTING.contains(&table) || matches!(table, "users" | "credentials" | "settings")
            }
            ["UPDATE", "users", _, what] => what == "generation",
            ["UPDATE", table, ..] => LASTING.contains(&table),
            _ => false,
        }
    }

    /// Whether it changed what it had to.
    pub(super) fn is_met(&self, written: &Written) -> bool {
        let count = if self.is_query() { written.rows.len() as u64 } else { written.changed };
        !self.is_condition || count == 1
    }
}

/// Several statements as one, if that does the same: rows that are added, changed, taken or found on condition that they
/// still are as they were, each in a table of its own. It does all of it or, where a condition is not met, divides by zero
/// and does nothing. Conditions are met in their order, and so are the locks that they wait for.
///
/// One statement sees the tables as they were when it began, even what it reads after it has waited for somebody's lock.
/// Hence nothing that takes turns (by the user's row), counts, or means "all of them" is joined.
///
/// `WITH a0 AS (… RETURNING 1), a1 AS (…) SELECT 1 / CASE WHEN (SELECT COUNT(*) FROM a0) = 1 … THEN 1 ELSE 0 END`
pub(super) fn joined(batch: &[Statement]) -> Option<(String, Vec<Value>)> {
    let (mut parts, mut conditions) = (Vec::new(), vec!["TRUE".to_string()]);
    let mut values = Vec::new();
    for (index, statement) in batch.iter().enumerate() {
        let table = statement.table();
        let is_alone = batch[..index].iter().all(|other| other.table() != table);
        if !statement.needs_no_turn() || !is_alone || batch.iter().any(|other| other.reads(table)) {
            return None;
        }
        let text = renumbered(statement.on_postgres, values.len());
        let returning = if statement.is_query() || text.contains("RETURNING") { "" } else { " RETURNING 1" };
        parts.push(format!("a{index} AS ({text}{returning})"));
        values.extend(statement.values.iter().cloned());
        if statement.is_condition {
            conditions.push(format!("(SELECT COUNT(*) FROM a{index}) = 1"));
        }
    }
    let text = format!(
        "WITH {} SELECT 1 / CASE WHEN {} THEN 1 ELSE 0 END",
        parts.join(", "),
        conditions.join(" AND ")
    );
    Some((text, values))
}

/// A statement's text with `$1` as the number after `before`, and so on.
fn renumbered(text: &str, before: usize) -> String {
    let mut parts = text.split('$');
    let mut renumbered = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find(|character: char| !character.is_ascii_digit()).unwrap_or(part.len());
        let number = part[..end].parse::<usize>().unwrap_or_default() + before;
        renumbered.push_str(&format!("${number}{}", &part[end..]));
    }
    renumbered
}

/// Tables of which every change must last.
const LASTING: [&str; 4] = ["identifiers", "passwords", "recovery_codes", "totp"];

/// A value of a statement or row. `None` is `NULL`; PostgreSQL wants to know of what type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_string()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(String::from))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Number(Some(i64::from(flag)))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

impl From<&Vec<u8>> for Value {
    fn from(bytes: &Vec<u8>) -> Self {
        Self::Bytes(Some(bytes.clone()))
    }
}

/// What a statement did.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// How many rows it changed.
    pub(super) changed: u64,
    /// What its `RETURNING` returned.
    pub(super) rows: Vec<Row>,
}

/// A row, read from the left to the right.
#[derive(Clone, Debug)]
pub(super) struct Row(std::vec::IntoIter<Value>);

impl Row {
    /// A row of values.
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// The next column.
    ///
    /// # Errors
    /// [`StoreError::Database`] if the column is of another type, or missing: the tables are not this program's.
    pub(super) fn next<T: Column>(&mut self) -> Result<T> {
        let value = self.0.next().and_then(T::of);
        value.ok_or_else(|| StoreError::Database("a column is not of the type it should be".into()))
    }
}

/// What a row can be read as: a structure that names its columns, or a tuple of them.
pub(super) trait FromRow: Sized {
    /// Reads the columns in their order.
    ///
    /// # Errors
    /// As [`Row::next`].
    fn from_row(row: &mut Row) -> Result<Self>;
}

macro_rules! tuples_from_rows {
    ($(($($column:ident),+))+) => {$(
        impl<$($column: Column),+> FromRow for ($($column,)+) {
            fn from_row(row: &mut Row) -> Result<Self> {
                Ok(($(row.next::<$column>()?,)+))
            }
        }
    )+};
}

tuples_from_rows!((A)(A, B)(A, B, C)(A, B, C, D));

/// What a column can be read as.
pub(super) trait Column: Sized {
    /// The value, if it is of this type.
    fn of(value: Value) -> Option<Self>;
}

impl Column for String {
    fn of(value: Value) -> Option<Self> {
        if let Value::Text(text) = value { text } else { None }
    }
}

impl Column for i64 {
    fn of(value: Value) -> Option<Self> {
        if let Value::Number(number) = value { number } else { None }
    }
}

impl Column for bool {
    fn of(value: Value) -> Option<Self> {
        i64::of(value).map(|number| number != 0)
    }
}

impl Column for Vec<u8> {
    fn of(value: Value) -> Option<Self> {
        if let Value::Bytes(bytes) = value { bytes } else { None }
    }
}

impl<T: Column> Column for Option<T> {
    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Text(None) | Value::Number(None) | Value::Bytes(None) => Some(None),
            value => T::of(value).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Changes, Claim, PasskeyUse, StoredEvent, StoredSession};
    use super::*;

    #[test]
    fn statements_about_tables_of_their_own_become_one() {
        let batch = [
            sql("UPDATE credentials SET sign_count = $2 WHERE id = $1 AND sign_count < $2")
                .bind("a")
                .bind(3)
                .or_nothing(),
            sql("INSERT INTO events (id, date) VALUES ($1, $2)").bind("e").bind(4),
        ];
        let (text, values) = joined(&batch).unwrap();
        assert_eq!(
            text,
            "WITH a0 AS (UPDATE credentials SET sign_count = $2 WHERE id = $1 AND sign_count < $2 RETURNING 1), \
             a1 AS (INSERT INTO events (id, date) VALUES ($3, $4) RETURNING 1) \
             SELECT 1 / CASE WHEN TRUE AND (SELECT COUNT(*) FROM a0) = 1 THEN 1 ELSE 0 END"
        );
        assert_eq!(values, ["a".into(), 3.into(), "e".into(), 4.into()]);
    }

    #[test]
    fn a_row_that_is_found_and_held_can_be_a_condition_of_the_rest() {
        let held = || {
            let row = sql("SELECT a FROM users WHERE id = $1");
            row.on_postgres("SELECT a FROM users WHERE id = $1 FOR SHARE").bind("a").or_nothing()
        };
        let event = || sql("INSERT INTO events (id) VALUES ($1)").bind("e");
        let (text, _) = joined(&[held(), event()]).unwrap();
        assert_eq!(
            text,
            "WITH a0 AS (SELECT a FROM users WHERE id = $1 FOR SHARE), \
             a1 AS (INSERT INTO events (id) VALUES ($2) RETURNING 1) \
             SELECT 1 / CASE WHEN TRUE AND (SELECT COUNT(*) FROM a0) = 1 THEN 1 ELSE 0 END"
        );
        let user = sql("INSERT INTO users (id) VALUES ($1)").bind("a");
        assert!(joined(&[user, held()]).is_none(), "it would not see that user");
        let written = |changed, found: usize| Written { changed, rows: vec![Row::new(Vec::new()); found] };
        assert!(held().is_met(&written(0, 1)));
        assert!(!held().is_met(&written(1, 0)), "SQLite still says what the statement before has changed");
    }

    #[test]
    fn a_sign_in_with_a_passkey_is_one_statement() {
        let claim = Claim { challenge: vec![1; 40], owner: "tok_1".into(), sealed_until: Some(9) };
        let used =
            PasskeyUse { credential_id: vec![1], previous_sign_count: 1, sign_count: 2, backup_state: false };
        let event = StoredEvent {
            id: "log_1".into(),
            date: 1,
            r#type: "s".into(),
            user_id: Some("usr_1".into()),
            data: String::new(),
            transcript: None,
        };
        let session = StoredSession {
            digest: vec![1],
            id: "ses_1".into(),
            user_id: Some("usr_1".into()),
            data: String::new(),
            user_agent: String::new(),
            ip: String::new(),
            created_at: 1,
            seen_at: 1,
            expires_at: 9,
        };
        let changes = Changes::default().if_not_blocked("usr_1").take_challenge(&claim);
        let changes = changes.use_passkey(&used, 1).put_event(&event).insert_session(&session);
        let (text, _) = joined(&changes.0).unwrap();
        // The user's row is held first: whoever changes the account writes to it before anything else.
        assert!(text.starts_with("WITH a0 AS (SELECT generation FROM users WHERE "), "{text}");
        assert!(text.contains(" FOR SHARE), a1 AS ("), "{text}");
    }

    #[test]
    fn what_takes_turns_counts_or_means_all_is_not_joined() {
        let event = || sql("INSERT INTO events (id) VALUES ($1)");
        let take = || sql("DELETE FROM challenges WHERE challenge = $1 RETURNING kind").or_nothing();
        let spend = "INSERT INTO spent_challenges (id) SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM settings)";
        assert!(joined(&[take(), event()]).is_some());
        assert!(joined(&[sql(spend).or_nothing(), event()]).is_some(), "what it reads, nobody changes");
        for statement in [
            sql("UPDATE users SET blocked = blocked WHERE id = $1").or_nothing(),
            sql("UPDATE users SET generation = generation + 1 WHERE id = $1"),
            sql("DELETE FROM sessions WHERE user_id = $1 AND id <> $2"),
            sql("DELETE FROM credentials WHERE id = $1 AND (SELECT COUNT(*) FROM credentials) > 1")
                .or_nothing(),
            sql("INSERT INTO credentials (id) SELECT $1 WHERE (SELECT COUNT(*) FROM credentials) < $2"),
            sql("INSERT INTO codes (id) SELECT id FROM events"),
            sql("INSERT INTO events (id) VALUES ($1)"),
            sql("SELECT 1"),
        ] {
            assert!(joined(&[statement.clone(), event()]).is_none(), "{}", statement.text);
            assert!(joined(&[event(), statement.clone()]).is_none(), "{}", statement.text);
        }
    }

    #[test]
    fn a_row_is_read_from_the_left_and_by_type() {
        let values = vec!["ada".into(), 7.into(), None.into(), Value::Bytes(Some(vec![1]))];
        let mut row = Row::new(values);
        assert_eq!(row.next::<String>().unwrap(), "ada");
        assert!(row.next::<bool>().unwrap());
        assert_eq!(row.next::<Option<i64>>().unwrap(), None);
        assert!(row.next::<String>().is_err(), "bytes are no text");
        assert!(row.next::<Option<String>>().is_err(), "there is no such column");
    }
}
