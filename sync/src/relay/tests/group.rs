//! Puts that wait together are committed together, and judged one by one.

use futures_util::future::join_all;
use sqlx::Executor as _;

use super::*;
use crate::relay::store::Database;

const OTHER: CircleId = CircleId([8; 16]);
const TOKEN_HASH: &str = "a token's hash";

/// On SQLite, and on PostgreSQL if there is one.
fn on_each_database(story: impl AsyncFn(Database)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let postgres = Postgres::start(false);
    let urls =
        ["memory".to_string()].into_iter().chain(postgres.as_ref().map(|postgres| postgres.url.clone()));
    for url in urls {
        runtime.block_on(async {
            let database = Database::open(&url).await.unwrap();
            for circle in [CIRCLE, OTHER] {
                database.open_circle(circle, TOKEN_HASH, 10).await.unwrap();
            }
            story(database).await;
        });
    }
}

async fn put_at_once(
    database: &Database,
    puts: &[(CircleId, &'static [u8])],
    quota: Quota,
) -> Vec<Result<bool, RelayError>> {
    let put = |(circle, bytes): &(CircleId, &'static [u8])| {
        let (circle, token, bytes) = (*circle, TOKEN_HASH.to_string(), Bytes::from_static(bytes));
        database.writer.put(Entry { circle, token, name: Name::of(&bytes), bytes, quota })
    };
    join_all(puts.iter().map(put)).await
}

#[test]
fn what_waits_together_is_kept_in_one_transaction_numbered_without_holes_and_within_the_quota() {
    on_each_database(async |database| {
        let quota = Quota { entries: 3, ..Quota::default() };
        let puts: [(CircleId, &[u8]); 7] = [
            (CIRCLE, b"one"),
            (OTHER, b"one"),
            (CIRCLE, b"two"),
            (CIRCLE, b"one"),
            (CIRCLE, b"three"),
            (CIRCLE, b"four"),
            (CIRCLE, b"two"),
        ];
        let answers = put_at_once(&database, &puts, quota).await;
        let [new, elsewhere, second, known, third, full, known_too] = answers.as_slice() else {
            panic!("{answers:?}")
        };
        for kept in [new, elsewhere, second, third] {
            assert!(matches!(kept, Ok(true)), "{answers:?}");
        }
        assert!(
            matches!((known, full, known_too), (Ok(false), Err(RelayError::Full), Ok(false))),
            "{answers:?}"
        );
        assert_eq!(database.writer.commits().load(Ordering::Relaxed), 1);
        let (listed, head) = database.list(CIRCLE, 0, (1000, 1000)).await.unwrap();
        let listed: Vec<&[u8]> = listed.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        assert_eq!((listed, head), (std::vec![&b"one"[..], b"two", b"three"], 3));
        assert_eq!(database.list(OTHER, 0, (1000, 1000)).await.unwrap().1, 1);
        // Whoever has no token of the circle is told nothing, not even that a name is there.
        let stranger = |bytes: &'static [u8]| Entry {
            circle: CIRCLE,
            token: "another".to_string(),
            name: Name::of(bytes),
            bytes: Bytes::from_static(bytes),
            quota,
        };
        let (known, new) = (database.writer.put(stranger(b"one")), database.writer.put(stranger(b"new")));
        for refused in [known.await, new.await] {
            assert!(matches!(refused, Err(RelayError::Unauthorized)), "{refused:?}");
        }
        // What is there already needs no room, and bytes are counted to the last one.
        let bytes = Quota { bytes: 3 + 3 + 5 + 4, ..Quota::default() };
        let answers =
            put_at_once(&database, &[(CIRCLE, b"three"), (CIRCLE, b"fifth"), (CIRCLE, b"four")], bytes).await;
        assert!(matches!(answers.as_slice(), [Ok(false), Err(RelayError::Full), Ok(true)]), "{answers:?}");
    });
}

#[test]
fn a_put_that_the_database_will_not_take_fails_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::open("memory").await.unwrap();
        database.open_circle(CIRCLE, TOKEN_HASH, 10).await.unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN NEW.content = x'626164' \
                      BEGIN SELECT RAISE(ABORT, 'not this one'); END";
        database.pool.execute(refuse).await.unwrap();
        let puts: [(CircleId, &[u8]); 3] = [(CIRCLE, b"good"), (CIRCLE, b"bad"), (CIRCLE, b"better")];
        let answers = put_at_once(&database, &puts, Quota::default()).await;
        assert!(
            matches!(answers.as_slice(), [Ok(true), Err(RelayError::Database(_)), Ok(true)]),
            "{answers:?}"
        );
        assert_eq!(database.list(CIRCLE, 0, (1000, 1000)).await.unwrap().1, 2, "no number was used up by it");
    });
}
