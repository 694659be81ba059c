//! The database across restarts and versions.

use axum::http::StatusCode;
use doppelkey_relying_party::policy::Policy;
use doppelkey_relying_party::{Config, Key, MetadataFiles, StartError, StoreError, app};
use serde_json::json;

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
