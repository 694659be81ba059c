//! The key that is not in the database: what is sealed under it, by whom, and what is left when it is lost.

use axum::http::StatusCode;
use doppelkey_relying_party::policy::Policy;
use doppelkey_relying_party::{Config, Key, StartError};

use crate::second_factor;
use crate::world::{ADMIN, World, postgres};

/// A TOTP secret or the secret that all processes share, as it would lie in the database.
fn holds(folder: &std::path::Path, part: &[u8]) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    files.into_iter().any(|file| {
        std::fs::read(file).expect("it can be read").windows(part.len()).any(|window| window == part)
    })
}

/// Whoever copies the database, but not the key beside it.
#[tokio::test]
async fn a_copy_of_the_database_opens_no_account() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}", folder.path().join("accounts.db").display());
    let start = async |key: Option<[u8; 32]>, policy: &str| {
        let policy = Policy::from_toml(policy).ok();
        let config = Config { database: database.clone(), policy, ..Config::localhost(8080) };
        World::started(Config { key: key.map(Key::new), ..config }).await
    };
    let (email, password) = ("ada@example.org", "correct horse battery");
    // It begins without a key, as every database did, with an app that is set up and another one that is about to be.
    let mut app = second_factor::App::default();
    let before = start(None, "").await.expect("it starts");
    let mut browser = before.browser();
    browser.sign_up_with_password(email, password).await;
    app.set_up_in_account(&before, &mut browser).await;
    let setting = |name: &str| -> String {
        let connection = rusqlite::Connection::open(folder.path().join("accounts.db")).expect("the database");
        let query = format!("SELECT value FROM settings WHERE name = '{name}'");
        connection.query_row(&query, [], |row| row.get(0)).expect("a setting")
    };
    let clear = setting("secret");
    let keys = before.browser().get("/.well-known/jwks.json").await.text;
    assert!(holds(folder.path(), clear.as_bytes()) && holds(folder.path(), app.secret()));
    drop((before, browser));

    // With a key, what was in clear is sealed, and goes on.
    let sealed = start(Some([1; 32]), "[mfa]\npolicy = \"always\"").await.expect("it starts");
    assert!(!holds(folder.path(), clear.as_bytes()), "the shared secret is in the file");
    assert!(!holds(folder.path(), app.secret()), "an app's secret is in the file");
    assert_eq!(sealed.browser().get("/.well-known/jwks.json").await.text, keys, "tokens stay valid");
    sealed.pass_minutes(1);
    let mut browser = sealed.browser();
    assert_eq!(browser.log_in_with_password(email, password).await, "/mfa/otp");
    assert_eq!(browser.form("/mfa/otp", &[("code", &app.code(&sealed))]).await.location(), "/enroll");
    // Whoever comes now leaves no secret there either, not even while setting up.
    let (mut eve, mut eves) = (sealed.browser(), second_factor::App::default());
    assert_eq!(eve.sign_up_with_password("eve@example.org", password).await, "/mfa/setup");
    eves.scan(&eve.get("/mfa/setup").await.text);
    let in_json = format!("{:?}", eves.secret()).replace(' ', "");
    assert!(!holds(folder.path(), &in_json.as_bytes()[1..in_json.len() - 1]), "a session holds it");
    assert_eq!(eve.form("/mfa/setup", &[("code", &eves.code(&sealed))]).await.status, StatusCode::OK);
    assert!(!holds(folder.path(), eves.secret()));
    drop((sealed, browser, eve));

    // Nobody starts on it without the key, and the hint says what to do; with it, everything is there.
    for key in [None, Some([2; 32])] {
        let refused = start(key, "").await.err().expect("another key");
        assert!(matches!(refused, StartError::Key { is_given } if is_given == key.is_some()), "{refused}");
        assert!(
            refused.hint().contains("backup") && refused.hint().contains("--key-file"),
            "{}",
            refused.hint()
        );
    }
    let again = start(Some([1; 32]), "").await.expect("it starts");
    assert_eq!(again.browser().get("/.well-known/jwks.json").await.text, keys);
}

#[tokio::test]
async fn a_lost_key_is_replaced_and_only_what_it_sealed_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let start = async |key: [u8; 32], replace_lost_key: bool| {
        let policy = Policy::from_toml("[mfa]\npolicy = \"always\"").ok();
        let admin_token = ADMIN.into();
        let config = Config { database: database.clone(), policy, admin_token, ..Config::localhost(8080) };
        World::started(Config { key: Some(Key::new(key)), replace_lost_key, ..config }).await
    };
    let (email, password) = ("ada@example.org", "correct horse battery");
    let before = start([1; 32], false).await.expect("it starts");
    let (mut browser, mut app) = (before.browser(), second_factor::App::default());
    assert_eq!(browser.sign_up_with_password(email, password).await, "/mfa/setup");
    app.scan(&browser.get("/mfa/setup").await.text);
    assert_eq!(browser.form("/mfa/setup", &[("code", &app.code(&before))]).await.status, StatusCode::OK);
    let keys = before.browser().get("/.well-known/jwks.json").await.text;
    // Where the key is there, nothing is replaced.
    drop((before, browser));
    let same = start([1; 32], true).await.expect("it starts");
    assert_eq!(same.browser().get("/.well-known/jwks.json").await.text, keys);
    assert_eq!(same.browser().log_in_with_password(email, password).await, "/mfa/otp");
    drop(same);

    let lost = start([2; 32], false).await.err().expect("another key");
    assert!(lost.hint().contains("--replace-lost-key"), "{}", lost.hint());
    let replaced = start([2; 32], true).await.expect("it starts");
    assert_ne!(replaced.browser().get("/.well-known/jwks.json").await.text, keys, "tokens are void");
    let (code, event) = replaced.events().await.pop().expect("an event");
    assert_eq!(
        (code.as_str(), event["user_name"].as_str()),
        ("gd_unenroll", Some(email)),
        "the log says whose"
    );
    assert_eq!(event["details"]["by"], "--replace-lost-key");
    let (mut browser, mut app) = (replaced.browser(), second_factor::App::default());
    assert_eq!(browser.log_in_with_password(email, password).await, "/mfa/setup");
    app.scan(&browser.get("/mfa/setup").await.text);
    assert_eq!(browser.form("/mfa/setup", &[("code", &app.code(&replaced))]).await.status, StatusCode::OK);
    drop((replaced, browser));
    // Whoever had the old key in memory still may have sealed another one: the operator says it again.
    postgres::run(&database, "UPDATE totp SET secret = (SELECT handle FROM users LIMIT 1)");
    let again = start([2; 32], true).await.expect("it starts");
    let mut browser = again.browser();
    assert_eq!(browser.log_in_with_password(email, password).await, "/mfa/setup");
    app.scan(&browser.get("/mfa/setup").await.text);
    assert_eq!(browser.form("/mfa/setup", &[("code", &app.code(&again))]).await.status, StatusCode::OK);
    drop((again, browser));
    // From now on it is the key, and the one that was lost opens nothing any more.
    let again = start([2; 32], false).await.expect("it starts");
    assert_eq!(again.browser().log_in_with_password(email, password).await, "/mfa/otp");
    assert!(start([1; 32], false).await.is_err());
}

#[tokio::test]
async fn processes_that_start_at_once_with_one_key_seal_one_secret() {
    for old in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let database = postgres::shared_database(folder.path());
        if old {
            drop(World::start(&database, "").await);
        }
        let starts = (0..4).map(|_| {
            let config = Config { database: database.clone(), ..Config::localhost(8080) };
            tokio::spawn(World::started(Config { key: Some(Key::new([1; 32])), ..config }))
        });
        let mut keys = std::collections::BTreeSet::new();
        for started in starts.collect::<Vec<_>>() {
            let world = started.await.expect("it ends").expect("each of them starts");
            keys.insert(world.browser().get("/.well-known/jwks.json").await.text);
        }
        assert_eq!(keys.len(), 1, "on a database that was there: {old}");
    }
}

/// It is in clear in whatever was copied of the database before.
#[tokio::test]
async fn a_secret_shown_before_there_was_a_key_is_not_set_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    let start = async |key: Option<[u8; 32]>| {
        let config = Config { database: database.clone(), ..Config::localhost(8080) };
        World::started(Config { key: key.map(Key::new), ..config }).await.expect("it starts")
    };
    let old = start(None).await;
    let (mut browser, path) = (old.browser(), "/account/security/otp");
    browser.sign_up_with_password("ada@example.org", "correct horse battery").await;
    let (mut shown, mut again) = (second_factor::App::default(), second_factor::App::default());
    shown.scan(&browser.get(path).await.text);
    let new = start(Some([1; 32])).await;
    let mut browser = new.adopt(&browser);
    let refused = browser.form(path, &[("code", &shown.code(&new))]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    again.scan(&refused.text);
    assert_ne!(again.secret(), shown.secret());
    let done = browser.form(path, &[("code", &again.code(&new))]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
}

/// Processes that share a database get the key one after the other; and one may be killed while it seals.
#[tokio::test]
async fn an_app_that_a_process_without_the_key_has_kept_is_sealed_by_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("accounts.db");
    let start = async |key: Option<[u8; 32]>| {
        let config = Config { database: format!("sqlite:{}", file.display()), ..Config::localhost(8080) };
        World::started(Config { key: key.map(Key::new), ..config }).await.expect("it starts")
    };
    let old = start(None).await;
    let mut browser = old.browser();
    browser.sign_up_with_password("ada@example.org", "correct horse battery").await;
    let new = start(Some([1; 32])).await;
    let mut app = second_factor::App::default();
    app.set_up_in_account(&old, &mut browser).await;
    assert!(holds(folder.path(), app.secret()), "the old process has no key");
    drop((old, browser, new));
    drop(start(Some([1; 32])).await);
    assert!(!holds(folder.path(), app.secret()), "the next start seals it");

    // Killed before the file was written anew: what has been replaced is in its free pages still.
    let connection = rusqlite::Connection::open(&file).expect("the database");
    let remains = "what-was-in-clear";
    connection
        .execute_batch(&format!(
            "INSERT INTO settings (name, value) VALUES ('remains', '{remains}');
             DELETE FROM settings WHERE name = 'remains';
             UPDATE settings SET value = 'begun' WHERE name = 'sealing'"
        ))
        .expect("it is SQLite's");
    drop(connection);
    assert!(holds(folder.path(), remains.as_bytes()));
    drop(start(Some([1; 32])).await);
    assert!(!holds(folder.path(), remains.as_bytes()), "the next start writes it anew");
}

/// The key is lost, and an app's secret was never under it.
#[tokio::test]
async fn an_app_in_clear_outlives_a_lost_key_and_is_sealed_by_the_start_that_replaces_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}", folder.path().join("accounts.db").display());
    let start = async |key: Option<[u8; 32]>, replace_lost_key: bool| {
        let policy = Policy::from_toml("[mfa]\npolicy = \"always\"").ok();
        let config = Config { database: database.clone(), policy, ..Config::localhost(8080) };
        let config = Config { key: key.map(Key::new), replace_lost_key, ..config };
        World::started(config).await.expect("it starts")
    };
    let (email, password) = ("ada@example.org", "correct horse battery");
    let old = start(None, false).await;
    let (mut browser, mut app) = (old.browser(), second_factor::App::default());
    assert_eq!(browser.sign_up_with_password(email, password).await, "/mfa/setup");
    let new = start(Some([1; 32]), false).await;
    app.scan(&browser.get("/mfa/setup").await.text);
    assert_eq!(browser.form("/mfa/setup", &[("code", &app.code(&old))]).await.status, StatusCode::OK);
    assert!(holds(folder.path(), app.secret()), "the old process has no key");
    drop((old, browser, new));

    let replaced = start(Some([2; 32]), true).await;
    assert!(!holds(folder.path(), app.secret()), "it is sealed at once");
    replaced.pass_minutes(1);
    let mut browser = replaced.browser();
    assert_eq!(browser.log_in_with_password(email, password).await, "/mfa/otp");
    assert_eq!(browser.form("/mfa/otp", &[("code", &app.code(&replaced))]).await.location(), "/enroll");
    drop((replaced, browser));
    let again = start(Some([2; 32]), false).await;
    assert_eq!(again.browser().log_in_with_password(email, password).await, "/mfa/otp", "under the new key");
}
