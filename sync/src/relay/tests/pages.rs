//! Pages of a list: how long they are, and what they cost.

use super::*;
use crate::relay::store::{CONTENTS, LENGTHS};

#[test]
fn a_list_reads_what_is_new_and_not_the_whole_circle_also_from_an_earlier_programs_database() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("relay.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let before = Database::open(&url).await.unwrap();
        sqlx::query("DROP INDEX entries_in_order").execute(&before.pool).await.unwrap();
        let database = Database::open(&url).await.unwrap();
        for statement in [LENGTHS, CONTENTS] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let asked = sqlx::query_as(explain).bind("circle").bind(1_i64).bind(2_i64);
            let steps: Vec<(i64, i64, i64, String)> = asked.fetch_all(&database.pool).await.unwrap();
            let steps: Vec<&str> = steps.iter().map(|(.., step)| step.as_str()).collect();
            let by_number =
                "SEARCH entries USING INDEX entries_in_order (circle=? AND number>? AND number<?)";
            assert_eq!(steps, [by_number], "of {statement}");
        }
    });
}
