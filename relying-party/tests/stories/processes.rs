//! Several processes of one service, behind a balancer that hands each request to the next of them.

use axum::http::StatusCode;
use serde_json::json;

use crate::world::{Authenticator, Browser, ORIGIN, Twist, World, postgres};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn every_step_of_a_flow_may_meet_another_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let worlds = World::processes(3, &postgres::shared_database(folder.path())).await;
    let mut browser = Browser::behind_a_balancer(&worlds);
    let mut phone = Authenticator::platform();
    browser.sign_up(EMAIL, &mut phone).await;
    for _ in 0..3 {
        assert_eq!(browser.get("/account").await.status, StatusCode::OK, "each knows the session");
    }
    assert_eq!(browser.form("/logout", &[]).await.location(), "/login");
    for _ in 0..3 {
        assert_eq!(browser.get("/account").await.location(), "/login", "each knows that it has ended");
    }
    assert_eq!(browser.authenticate("/login/passkey", json!({}), &mut phone).await.status, StatusCode::OK);
    // Recovery: the code comes from one, is typed at another, and the user's sessions end at all.
    let mut elsewhere = Browser::behind_a_balancer(&worlds);
    assert_eq!(elsewhere.form("/recover", &[("email", EMAIL)]).await.location(), "/recover/code");
    let code = worlds[2].latest_code().await;
    assert_eq!(elsewhere.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
    let recovered = elsewhere.form("/recover/password", &[("password", PASSWORD)]).await;
    assert_eq!(recovered.location(), "/account/lost");
    for _ in 0..3 {
        assert_eq!(browser.get("/account").await.location(), "/login");
    }
    // The log is one: each process tells all of it.
    let codes = sorted(worlds[0].codes().await);
    assert_eq!(codes, ["s", "s", "s", "scp", "slo", "ss", "sv", "svr"]);
    for world in &worlds[1..] {
        assert_eq!(sorted(world.codes().await), codes);
    }
}

/// Events of one millisecond are in order within a process only.
fn sorted(mut codes: Vec<String>) -> Vec<String> {
    codes.sort();
    codes
}

#[tokio::test]
async fn a_challenge_is_taken_once_whichever_processes_are_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let worlds = World::processes(3, &postgres::shared_database(folder.path())).await;
    let mut phone = Authenticator::platform();
    Browser::behind_a_balancer(&worlds).sign_up(EMAIL, &mut phone).await;
    let mut browser = Browser::behind_a_balancer(&worlds);
    let options = browser.json("/login/passkey/options", &json!({})).await.json();
    let credential = phone.get(&options["publicKey"], ORIGIN, Twist::None);
    let path = "/login/passkey";
    let [mut a, mut b, mut c] = [0, 1, 2].map(|process| worlds[process].adopt(&browser));
    let answers =
        tokio::join!(a.json(path, &credential), b.json(path, &credential), c.json(path, &credential));
    let mut statuses = [answers.0.status, answers.1.status, answers.2.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::BAD_REQUEST]);
}

#[tokio::test]
async fn limits_count_what_all_processes_saw() {
    let folder = tempfile::tempdir().expect("a folder");
    let worlds = World::processes(3, &postgres::shared_database(folder.path())).await;
    worlds[0].browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let mut browser = Browser::behind_a_balancer(&worlds);
    browser.form("/login", &[("identifier", EMAIL)]).await;
    for guess in 1..=10 {
        let wrong = browser.form("/login/password", &[("password", "wrong horse")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "guess {guess}");
    }
    for _ in 0..3 {
        let blocked = browser.form("/login/password", &[("password", PASSWORD)]).await;
        assert_eq!(blocked.status, StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(worlds[1].codes().await.iter().filter(|code| *code == "limit_wc").count(), 1);
}

#[tokio::test]
async fn a_policy_holds_in_every_process_within_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let worlds = World::processes(3, &postgres::shared_database(folder.path())).await;
    worlds[0].admin("PATCH", "/api/v2/policy", Some(json!({ "passkey": { "max_per_user": 3 } }))).await;
    for world in &worlds {
        world.pass_minutes(1);
        assert_eq!(world.admin("GET", "/api/v2/policy", None).await.json()["passkey"]["max_per_user"], 3);
    }
}

#[tokio::test]
async fn a_policy_changed_elsewhere_is_seen_also_after_the_clock_went_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let worlds = World::processes(2, &postgres::shared_database(folder.path())).await;
    let most = async |world: &World| {
        world.admin("GET", "/api/v2/policy", None).await.json()["passkey"]["max_per_user"].clone()
    };
    worlds[1].pass_days(1);
    assert_eq!(most(&worlds[1]).await, 20);
    worlds[1].pass_days(-1);
    worlds[0].admin("PATCH", "/api/v2/policy", Some(json!({ "passkey": { "max_per_user": 3 } }))).await;
    worlds[1].pass_seconds(1);
    assert_eq!(most(&worlds[1]).await, 3);
}
