//! The database across restarts and versions.

use axum::http::StatusCode;
use doppelkey_relying_party::policy::Policy;
use doppelkey_relying_party::{Config, Key, MetadataFiles, StartError, StoreError, app};
use serde_json::json;

use crate::second_factor;
use crate::world::{ADMIN, Authenticator, Browser, ORIGIN, Twist, World, postgres};

#[tokio::test]
async fn accounts_and_sessions_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}", folder.path().join("accounts.db").display());
    let mut phone = Authenticator::platform();
    let first = World::start(&database, "").await;
    let mut browser = first.browser();
    browser.sign_up("ada@example.org", &mut phone).await;
    let second = World::start(&database, "").await;
    let mut again = second.adopt(&browser);
    assert_eq!(again.get("/account").await.status, StatusCode::OK);
    assert_eq!(again.authenticate("/login/passkey", json!({}), &mut phone).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_database_of_version_1_is_upgraded_in_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = postgres::shared_database(folder.path());
    postgres::run(&database, include_str!("schema-1.sql"));
    let world = World::start_with(&database, None).await;
    let mut phone = Authenticator::with_passkey(vec![5; 32], &[9; 64], &[7; 32]);

    // Who was signed in still is, and sees the passkey under its name.
    let cookie = [("cookie", "session=a-token-from-before-the-upgrade")];
    let account = world.browser().send("GET", "/account", &cookie, None).await;
    assert_eq!(account.status, StatusCode::OK);
    assert!(account.text.contains("The old phone") && account.text.contains("1 of at most 3"));
    // The passkey still signs in, and the log goes on where it was.
    let mut browser = world.browser();
    assert_eq!(browser.authenticate("/login/passkey", json!({}), &mut phone).await.status, StatusCode::OK);
    assert_eq!(world.codes().await, ["s", "s"]);
    // What has come since works on it.
    let changed = browser.form("/account/identifiers/email", &[("value", "countess@example.org")]).await;
    assert_eq!(changed.location(), "/account/identifiers/code");
    // What was proved on it before can be void.
    let mut recovering = world.browser();
    recovering.form("/recover", &[("email", "ada@example.org")]).await;
    let code = world.latest_code().await;
    assert_eq!(recovering.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
    let ended = browser.form("/account/sessions/end-others", &[]).await;
    assert_eq!(ended.location(), "/account/security");
    assert_eq!(recovering.get("/recover/new").await.location(), "/recover");
    // A second start finds nothing to do.
    let again = World::start_with(&database, None).await;
    assert_eq!(again.adopt(&browser).get("/account").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_at_once_create_or_upgrade_the_tables_once() {
    for old in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let database = postgres::shared_database(folder.path());
        if old {
            postgres::run(&database, include_str!("schema-1.sql"));
        }
        let start = |_| {
            let database = database.clone();
            tokio::spawn(async move { World::start(&database, "").await })
        };
        let mut worlds = Vec::new();
        for started in (0..4).map(start).collect::<Vec<_>>() {
            worlds.push(started.await.expect("each of them starts"));
        }
        let mut phone = Authenticator::platform();
        Browser::behind_a_balancer(&worlds).sign_up("eve@example.org", &mut phone).await;
    }
}

#[tokio::test]
async fn who_has_only_asked_for_options_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("accounts.db");
    let world = World::start(&format!("sqlite:{}", path.display()), "").await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up("ada@example.org", &mut phone).await;
    let rows = |table: &str| -> i64 {
        let connection = rusqlite::Connection::open(&path).expect("the database");
        let count = format!("SELECT COUNT(*) FROM {table}");
        connection.query_row(&count, [], |row| row.get(0)).expect("a number")
    };
    let rows = || (rows("sessions"), rows("challenges"), rows("spent_challenges"));
    assert_eq!(rows(), (1, 0, 0), "who signed up is signed in");
    let mut browser = world.browser();
    assert_eq!(browser.get("/login").await.status, StatusCode::OK);
    let first = browser.json("/login/passkey/options", &json!({})).await.json();
    let second = browser.json("/login/passkey/options", &json!({})).await.json();
    assert_eq!(rows(), (1, 0, 0));
    // Both challenges are this browser's, and nobody else's.
    let stranger = phone.get(&first["publicKey"], ORIGIN, Twist::None);
    assert_eq!(world.browser().json("/login/passkey", &stranger).await.error(), "transaction-not-found");
    let answer = phone.get(&second["publicKey"], ORIGIN, Twist::None);
    assert_eq!(browser.json("/login/passkey", &answer).await.status, StatusCode::OK);
    assert_eq!(rows(), (2, 0, 1));
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("accounts.db");
    let url = format!("sqlite:{}", path.display());
    drop(World::start(&url, "").await);
    let connection = rusqlite::Connection::open(&path).expect("the database");
    connection.execute("UPDATE schema_version SET version = 99", []).expect("an update");
    drop(connection);
    let refused = app(Config { database: url, ..Config::localhost(8080) }).await.unwrap_err();
    assert!(matches!(refused, StartError::Database(StoreError::Newer { found: 99, .. })), "{refused}");
    assert!(refused.hint().contains("newer"));
}

#[tokio::test]
async fn a_changed_rp_id_is_refused_while_it_would_orphan_passkeys() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}", folder.path().join("accounts.db").display());
    let world = World::start(&database, "").await;
    world.browser().sign_up("ada@example.org", &mut Authenticator::platform()).await;
    let config = Config {
        database,
        rp_id: "example.org".into(),
        origins: vec!["https://example.org".into()],
        dev: false,
        ..Config::localhost(8080)
    };
    let refused = app(config.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::RpIdChanged { passkeys: 1, .. }), "{refused}");
    let _ = app(Config { accept_rp_id_change: true, ..config }).await.expect("the operator accepts it");
}

#[tokio::test]
async fn a_database_that_is_none_is_told_with_a_hint() {
    for url in ["mysql://x", "sqlite:", "sqlite:/nowhere/at/all.db"] {
        let refused = app(Config { database: url.into(), ..Config::localhost(8080) }).await.unwrap_err();
        assert!(matches!(refused, StartError::Database(_)), "{url}");
        assert!(!refused.hint().is_empty());
    }
}

#[tokio::test]
async fn cookies_are_host_cookies_wherever_there_is_tls() {
    let config = Config { origins: vec!["https://localhost".into()], ..Config::localhost(443) };
    let router = app(config).await.expect("it starts");
    let mut browser = crate::world::Browser::of(router);
    let answer = browser.json_from("https://localhost", "/login/passkey/options", &json!({})).await;
    let cookie = answer.headers["set-cookie"].to_str().expect("text");
    assert!(cookie.starts_with("__Host-session="), "{cookie}");
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(answer.headers.contains_key("strict-transport-security"));
}

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
async fn a_start_that_fails_has_changed_neither_policy_nor_rp_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let admin_token = ADMIN.into();
    let config = Config {
        database: postgres::shared_database(folder.path()),
        key: Some(Key::new([1; 32])),
        admin_token,
        ..Config::localhost(8080)
    };
    let with = |policy: &str| Config { policy: Policy::from_toml(policy).ok(), ..config.clone() };
    let world = World::started(with("[mfa]\npolicy = \"always\"\nafter_passkey = \"skip\"")).await;
    let world = world.expect("it starts");
    world.browser().sign_up("ada@example.org", &mut Authenticator::platform()).await;
    let before = world.admin("GET", "/api/v2/policy", None).await.json();
    drop(world);

    let new = with("[mfa]\npolicy = \"never\"");
    let elsewhere = Config {
        rp_id: "example.org".into(),
        origins: vec!["https://example.org".into()],
        dev: false,
        accept_rp_id_change: true,
        ..new.clone()
    };
    let files = MetadataFiles {
        blob: "no.BLOB.here".into(),
        root: Vec::new(),
        publisher: "mds.example.org".into(),
        revocation_lists: Vec::new(),
    };
    let list = Some(b"no list".to_vec());
    for (why, failing) in [
        ("a BLOB that cannot be read", Config { metadata: Some(files), ..new.clone() }),
        ("names that cannot be read", Config { provider_names: list.clone(), ..new.clone() }),
        ("the same, with another RP ID", Config { provider_names: list, ..elsewhere.clone() }),
        ("another key", Config { key: Some(Key::new([2; 32])), ..elsewhere }),
    ] {
        assert!(World::started(failing).await.is_err(), "{why}");
        let world = World::started(config.clone()).await;
        let world = world.unwrap_or_else(|refused| panic!("{why}: {refused}"));
        assert_eq!(world.admin("GET", "/api/v2/policy", None).await.json(), before, "{why}");
    }
    // Once that is mended, the policy is in force, and the log says so.
    let world = World::started(new).await.expect("it starts");
    let (code, event) = world.events().await.pop().expect("an event");
    let patch = json!({ "mfa": { "policy": "never", "after_passkey": "require" } });
    assert_eq!((code.as_str(), &event["details"]["patch"]), ("sapi", &patch));
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
