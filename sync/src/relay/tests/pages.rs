//! Pages of a list: how long they are, and what they cost.

use super::*;
use crate::relay::store::{CONTENTS, LENGTHS};

/// Does this with an open circle on SQLite, and on PostgreSQL where there is one.
fn on_each_database(with: impl AsyncFn(&str, Database)) {
    let postgres = Postgres::start(false);
    let urls = ["memory"].into_iter().chain(postgres.as_ref().map(|postgres| postgres.url.as_str()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for url in urls {
        runtime.block_on(async {
            let database = Database::open(url).await.unwrap();
            assert!(database.open_circle(CIRCLE, "hash", 1).await.unwrap());
            with(url, database).await;
        });
    }
}

fn entry(bytes: Bytes) -> Entry {
    Entry { circle: CIRCLE, token: "hash".into(), name: Name::of(&bytes), bytes, quota: Quota::default() }
}

/// How many names each page has of a list to its end.
async fn pages(database: &Database, names_max: usize) -> Vec<usize> {
    let (mut pages, mut since) = (Vec::new(), 0);
    while pages.last() != Some(&0) {
        let (items, head) = database.list(CIRCLE, since, (PAGE_MAX, names_max)).await.unwrap();
        let page = encode_page(head, items.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
        assert!(page.len() <= PAGE_HEADER + PAGE_MAX, "{} bytes", page.len());
        since += items.len() as u64;
        assert!(since == head || !items.is_empty(), "the head counts what is listed");
        pages.push(items.len());
    }
    pages
}

#[test]
fn a_circle_full_of_tiny_entries_is_listed_to_its_end() {
    on_each_database(async |url, database| {
        let puts = (0..700_u32).map(|number| {
            let writer = database.writer.clone();
            let entry = entry(Bytes::copy_from_slice(&number.to_be_bytes()));
            tokio::spawn(async move { writer.put(entry).await.unwrap() })
        });
        for put in puts.collect::<Vec<_>>() {
            assert!(put.await.unwrap());
        }
        assert_eq!(pages(&database, 300).await, [256, 256, 188, 0], "{url}");
    });
}

#[test]
fn a_page_of_long_entries_ends_after_four_megabytes() {
    on_each_database(async |url, database| {
        for number in 0..11 {
            let bytes = std::vec![number; if number == 10 { 9 } else { ENTRY_MAX }];
            assert!(database.writer.put(entry(bytes.into())).await.unwrap());
        }
        assert_eq!(pages(&database, PAGE_NAMES_MAX).await, [3, 3, 3, 2, 0], "{url}");
        // What is longer than a page comes alone.
        let (alone, _) = database.list(CIRCLE, 0, (1000, PAGE_NAMES_MAX)).await.unwrap();
        assert_eq!(alone.len(), 1, "{url}");
    });
}

#[test]
fn a_page_of_more_names_than_any_honest_one_has_is_nonsense() {
    let item = |number: usize| (Name::of(&number.to_be_bytes()), &b""[..]);
    assert!(decode_page(&encode_page(0, (0..PAGE_NAMES_MAX).map(item))).is_some());
    assert!(decode_page(&encode_page(0, (0..=PAGE_NAMES_MAX).map(item))).is_none());
}

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
