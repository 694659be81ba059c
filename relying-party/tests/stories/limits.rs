//! Limits on guessing.

use axum::http::StatusCode;
use serde_json::json;

use crate::second_factor::App;
use crate::world::{Authenticator, World};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

/// Guesses a password so many times.
async fn guess(world: &World, times: u32) -> StatusCode {
    let mut browser = world.browser();
    browser.form("/login", &[("identifier", EMAIL)]).await;
    let mut last = StatusCode::OK;
    for _ in 0..times {
        last = browser.form("/login/password", &[("password", "wrong horse")]).await.status;
    }
    last
}

#[tokio::test]
async fn guessing_blocks_the_account_for_this_address_and_the_owner_lifts_it() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    assert_eq!(guess(&world, 10).await, StatusCode::UNPROCESSABLE_ENTITY);
    let mut browser = world.browser();
    browser.form("/login", &[("identifier", EMAIL)]).await;
    let blocked = browser.form("/login/password", &[("password", PASSWORD)]).await;
    assert_eq!(blocked.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        blocked.text.contains("open the link in the mail that its owner got"),
        "what next: {}",
        blocked.text
    );
    assert_eq!(blocked.headers["retry-after"], "900", "a page says when, too");
    assert!(world.codes().await.contains(&"limit_wc".to_string()));

    let outbox = world.outbox().await;
    let token =
        outbox.split("/unblock?token=").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    // Looking at the link does nothing.
    assert_eq!(browser.get(&format!("/unblock?token={token}")).await.status, StatusCode::OK);
    let still = browser.form("/login/password", &[("password", PASSWORD)]).await;
    assert_eq!(still.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(browser.form("/unblock", &[("token", token)]).await.location(), "/login");
    assert_eq!(browser.form("/login/password", &[("password", PASSWORD)]).await.location(), "/enroll");
    assert!(world.codes().await.contains(&"ublkdu".to_string()));
}

#[tokio::test]
async fn who_is_blocked_while_confirming_is_told_so_and_not_that_the_password_is_wrong() {
    let world = World::with_policy("[limits]\nbrute_force_threshold = 1").await;
    let mut browser = world.browser();
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    world.pass_minutes(6);
    for (password, expected) in
        [("wrong horse", "This is not your password."), (PASSWORD, "Too many failed logins")]
    {
        let refused = browser.form("/step-up/password", &[("password", password)]).await;
        assert!(refused.text.contains(expected), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_block_ends_by_itself_and_the_next_is_longer() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    guess(&world, 10).await;
    world.pass_minutes(16);
    assert_eq!(guess(&world, 10).await, StatusCode::UNPROCESSABLE_ENTITY);
    world.pass_minutes(16);
    assert_eq!(guess(&world, 1).await, StatusCode::TOO_MANY_REQUESTS);
    world.pass_minutes(15);
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
}

#[tokio::test]
async fn an_address_that_fails_too_often_a_day_is_blocked_for_passkeys_too() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 3").await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up(EMAIL, &mut phone).await;
    guess(&world, 3).await;
    let mut browser = world.browser();
    let blocked = browser.authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!((blocked.status, blocked.error().as_str()), (StatusCode::TOO_MANY_REQUESTS, "ip-blocked"));
    assert!(blocked.headers.contains_key("retry-after"));
    assert!(world.codes().await.contains(&"limit_mu".to_string()));
    world.pass_days(1);
    assert_eq!(browser.authenticate("/login/passkey", json!({}), &mut phone).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_that_failed_too_often_may_try_again_after_a_share_of_the_day() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 4").await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    world.browser().sign_up("bob@example.org", &mut phone).await;
    assert_eq!(guess(&world, 4).await, StatusCode::UNPROCESSABLE_ENTITY);
    // What is refused puts nothing off.
    assert_eq!(guess(&world, 3).await, StatusCode::TOO_MANY_REQUESTS);
    let blocked = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(
        (blocked.error().as_str(), &blocked.headers["retry-after"]),
        ("ip-blocked", &"21600".parse().unwrap())
    );
    world.pass_minutes(6 * 60);
    // A success takes no share of the day.
    assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
    let in_time = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!(in_time.status, StatusCode::OK, "{}", in_time.text);
    assert_eq!(guess(&world, 1).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(guess(&world, 1).await, StatusCode::TOO_MANY_REQUESTS);
    world.pass_minutes(12 * 60);
    assert_eq!(guess(&world, 2).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(guess(&world, 1).await, StatusCode::TOO_MANY_REQUESTS);
    // A clock that is set back by more than can ever be waited for keeps nobody out.
    world.pass_days(-3);
    assert_eq!(guess(&world, 1).await, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn one_account_takes_twenty_logins_a_minute_from_one_address_whatever_comes_of_them() {
    let world = World::with_policy("[limits]\nbrute_force_threshold = 100").await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let mut browser = world.browser();
    // Whether or not there is such an account.
    for (email, password) in [(EMAIL, PASSWORD), ("nobody@example.org", "wrong horse")] {
        let before = world.codes().await.len();
        for number in 0..23 {
            browser.form("/login", &[("identifier", email)]).await;
            let answer = browser.form("/login/password", &[("password", password)]).await;
            assert_eq!(
                answer.status == StatusCode::TOO_MANY_REQUESTS,
                number >= 20,
                "{number}: {}",
                answer.text
            );
            if number >= 20 {
                assert!(answer.text.contains("Too many logins to this account"), "{}", answer.text);
                assert!(answer.text.contains("data-error-code=\"same-user-login\""), "{}", answer.text);
                assert_eq!(answer.headers["retry-after"], "60");
            }
        }
        let codes = world.codes().await.split_off(before);
        assert_eq!(codes[codes.len() - 3..], ["limit_sul", "f", "f"], "once, and then failed logins");
        world.pass_minutes(1);
        assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
    }
}

#[tokio::test]
async fn sign_ups_from_one_address_are_limited() {
    let world = World::with_policy("[limits]\nsignups_per_ip_minute = 2").await;
    for number in 0..3 {
        let email = format!("user{number}@example.org");
        let answer = world.browser().json("/signup/passkey/options", &json!({ "email": email })).await;
        let expected = if number < 2 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(answer.status, expected, "{}", answer.text);
    }
    assert!(world.codes().await.contains(&"limit_mu".to_string()));
    world.pass_minutes(2);
    let answer =
        world.browser().json("/signup/passkey/options", &json!({ "email": "later@example.org" })).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn mails_to_one_address_are_limited() {
    let world = World::with_policy("[limits]\ncodes_per_hour = 2").await;
    for number in 0..3 {
        // Whether or not there is an account.
        let answer = world.browser().form("/recover", &[("email", "nobody@example.org")]).await;
        let expected = if number < 2 { StatusCode::SEE_OTHER } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(answer.status, expected);
        assert_eq!(answer.headers.contains_key("retry-after"), number == 2);
    }
    let refused = world.events().await.pop().expect("an event");
    assert_eq!((refused.0.as_str(), &refused.1["details"]["key"]), ("fv", &json!("too-many-otps")));
    for _ in 0..3 {
        world.browser().form("/reset-password", &[("email", "somebody@example.org")]).await;
    }
    assert_eq!(world.codes().await.pop().as_deref(), Some("fcpr"));
}

#[tokio::test]
async fn guesses_sent_at_once_are_counted_before_any_is_compared() {
    let world = World::with_policy("[limits]\nbrute_force_threshold = 4").await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let mut browser = world.browser();
    browser.form("/login", &[("identifier", EMAIL)]).await;
    let guesses = (0..24).map(|_| {
        let mut browser = browser.clone();
        tokio::spawn(
            async move { browser.form("/login/password", &[("password", "wrong horse")]).await.status },
        )
    });
    let mut compared = 0;
    for guess in guesses.collect::<Vec<_>>() {
        let status = guess.await.expect("it is answered");
        compared += usize::from(status == StatusCode::UNPROCESSABLE_ENTITY);
        assert!([StatusCode::UNPROCESSABLE_ENTITY, StatusCode::TOO_MANY_REQUESTS].contains(&status));
    }
    assert!((1..=4).contains(&compared), "{compared} guesses were looked at");
    let codes = world.codes().await;
    assert_eq!(codes.iter().filter(|code| *code == "fp").count(), compared);
    assert!(codes.iter().filter(|code| *code == "limit_wc").count() <= 1);
}

#[tokio::test]
async fn logins_that_succeed_are_no_failures_of_their_address() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 2").await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    for _ in 0..5 {
        assert_eq!(world.browser().log_in_with_password(EMAIL, PASSWORD).await, "/enroll");
    }
}

#[tokio::test]
async fn a_half_typed_code_costs_no_try() {
    let world = World::new().await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let mut browser = world.browser();
    browser.form("/recover", &[("email", EMAIL)]).await;
    let code = world.latest_code().await;
    for half in ["12", "", "abc", "1234567", "12", "12"] {
        let refused = browser.form("/recover/code", &[("code", half)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{half}");
        assert!(refused.text.contains("A code has six digits"), "{half}: {}", refused.text);
    }
    let (_, event) = world.events().await.pop().expect("an event");
    assert_eq!(event["details"]["key"], "invalid-otp-code-format");
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    assert_eq!(browser.form("/recover/code", &[("code", &spaced)]).await.location(), "/recover/new");
}

#[tokio::test]
async fn a_half_typed_code_while_setting_up_an_app_costs_no_try() {
    let world = World::new().await;
    let (mut browser, mut app) = (world.browser(), App::default());
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    app.scan(&browser.get("/account/security/otp").await.text);
    for half in ["12", "", "abc", "1234567", "12", "12"] {
        let refused = browser.form("/account/security/otp", &[("code", half)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{half}");
    }
    let done = browser.form("/account/security/otp", &[("code", &app.code(&world))]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
}

#[tokio::test]
async fn what_an_address_is_refused_counts_for_no_account() {
    let world = World::behind_a_proxy().await;
    let at = |address: &str| world.browser().with_header("x-forwarded-for", address);
    let (mut browser, mut app) = (at("203.0.113.7"), App::default());
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    let recovery_code = app.set_up_in_account(&world, &mut browser).await;
    let patch = json!({ "mfa": { "policy": "always" }, "limits": { "failed_logins_per_ip_day": 2 } });
    assert_eq!(world.admin("PATCH", "/api/v2/policy", Some(patch)).await.status, StatusCode::OK);
    world.pass_minutes(1);
    let mut ada = at("203.0.113.7");
    assert_eq!(ada.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    // A neighbour behind the same address uses it up.
    let mut neighbour = at("203.0.113.7");
    neighbour.form("/login", &[("identifier", "eve@example.org")]).await;
    for _ in 0..2 {
        neighbour.form("/login/password", &[("password", "wrong horse")]).await;
    }
    for _ in 0..3 {
        for (path, code) in [("/mfa/otp", &app.code(&world)), ("/mfa/recovery-code", &recovery_code)] {
            let refused = ada.form(path, &[("code", code)]).await;
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        }
    }
    let mut elsewhere = world.adopt(&ada).with_header("x-forwarded-for", "203.0.113.8");
    let done = elsewhere.form("/mfa/otp", &[("code", &app.code(&world))]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
}

/// What an account refuses is no failure of the address, either.
#[tokio::test]
async fn what_an_account_is_refused_counts_for_no_address() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 7").await;
    let (mut browser, mut app) = (world.browser(), App::default());
    browser.sign_up_with_password(EMAIL, PASSWORD).await;
    app.set_up_in_account(&world, &mut browser).await;
    world.admin("PATCH", "/api/v2/policy", Some(json!({ "mfa": { "policy": "always" } }))).await;
    let mut browser = world.browser();
    assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
    for guess in 0..10 {
        let refused = browser.form("/mfa/otp", &[("code", "000000")]).await;
        let expected =
            if guess < 5 { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(refused.status, expected, "guess {guess}");
    }
    let allowed = world.browser().log_in_with_password(EMAIL, PASSWORD).await;
    assert_eq!(allowed, "/mfa/otp", "two are left");
}

#[tokio::test]
async fn logins_at_once_that_an_account_refuses_count_for_no_address() {
    let limits = "[limits]\nbrute_force_threshold = 1\nfailed_logins_per_ip_day = 6";
    let world = World::with_policy(limits).await;
    for email in [EMAIL, "bob@example.org"] {
        world.browser().sign_up_with_password(email, PASSWORD).await;
    }
    let mut browsers = Vec::new();
    for _ in 0..6 {
        let mut browser = world.browser();
        browser.form("/login", &[("identifier", EMAIL)]).await;
        browsers.push(tokio::spawn(async move {
            browser.form("/login/password", &[("password", "wrong")]).await.status
        }));
    }
    let mut refused = 0;
    for browser in browsers {
        refused += u32::from(browser.await.expect("it ends") == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(refused, 5, "one was looked at");
    // Of the six failures that this address has, one is used.
    let mut browser = world.browser();
    for name in 1..=4 {
        browser.form("/login", &[("identifier", &format!("{name}@example.org"))]).await;
        let wrong = browser.form("/login/password", &[("password", "wrong")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
    }
    assert_eq!(world.browser().log_in_with_password("bob@example.org", PASSWORD).await, "/enroll");
}

#[tokio::test]
async fn an_expired_code_says_the_same_of_every_address() {
    let verified = "[attributes.email]\nidentifier = true\nsignup = \"required\"\nverify = true";
    let world = World::with_policy(verified).await;
    let mut owner = world.browser();
    owner.form("/signup", &[("email", EMAIL)]).await;
    let code = world.latest_code().await;
    owner.form("/signup/code", &[("code", &code)]).await;
    assert_eq!(owner.form("/signup/password", &[("password", PASSWORD)]).await.location(), "/account");
    let mut answers = Vec::new();
    for (page, next) in [("/recover", "/recover/code"), ("/signup", "/signup/code")] {
        for email in [EMAIL, "nobody@example.org"] {
            let mut browser = world.browser();
            assert_eq!(browser.form(page, &[("email", email)]).await.location(), next);
            let mut said = Vec::new();
            for minutes in [0, 0, 0, 0, 16, 0] {
                world.pass_minutes(minutes);
                let answer = browser.form(next, &[("code", "000000")]).await;
                let error = answer.text.split("id=\"error\"").nth(1).and_then(|rest| rest.split("</").next());
                said.push((answer.status, error.map(String::from)));
            }
            assert!(said.iter().all(|(_, error)| error.is_some()), "{said:?}");
            answers.push(said);
        }
    }
    assert_eq!(answers[0], answers[1], "who recovers");
    assert_eq!(answers[2], answers[3], "who signs up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_in_whose_browser_has_gone_is_counted_as_what_it_was() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 100000").await;
    world.browser().sign_up_with_password(EMAIL, PASSWORD).await;
    let log_in = |email: String, password: &'static str| {
        let mut browser = world.browser();
        async move {
            browser.form("/login", &[("identifier", &email)]).await;
            browser.form("/login/password", &[("password", password)]).await.status
        }
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let soon = std::time::Duration::from_millis(20);
    // First a wrong password, then the right one as often as would block the account, were each a failure.
    for (password, times) in [("wrong", 1), (PASSWORD, 12)] {
        // Others keep the cores busy, so that a password takes long to be compared: nobody waits for the answer.
        let mut crowd = Vec::new();
        for other in 0..12 * cores {
            crowd.push(tokio::spawn(log_in(format!("{other}@example.org"), "wrong")));
        }
        let mut gone = Vec::new();
        for _ in 0..times {
            let mut browser = world.browser();
            browser.form("/login", &[("identifier", EMAIL)]).await;
            gone.push(tokio::spawn(async move {
                let form = [("password", password)];
                let _ = tokio::time::timeout(5 * soon, browser.form("/login/password", &form)).await;
            }));
        }
        for each in gone {
            each.await.expect("it ends");
        }
        for each in crowd {
            each.await.expect("it ends");
        }
        let mut rounds = 0;
        while !world.has_event("fp").await {
            rounds += 1;
            assert!(rounds < 250, "a failure that nobody waited for is a failure");
            tokio::time::sleep(soon).await;
        }
    }
    let mut rounds = 0;
    while log_in(EMAIL.into(), PASSWORD).await != StatusCode::SEE_OTHER {
        rounds += 1;
        assert!(rounds < 250, "the account is blocked by its own password");
        tokio::time::sleep(soon).await;
    }
}

#[tokio::test]
async fn wrong_recovery_codes_count_as_failures_of_their_address() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 3").await;
    let mut phone = Authenticator::platform();
    world.browser().sign_up(EMAIL, &mut phone).await;
    // Whether or not there is an account.
    let mut browsers = [world.browser(), world.browser()];
    for (browser, email) in browsers.iter_mut().zip([EMAIL, "nobody@example.org"]) {
        assert_eq!(browser.form("/recover", &[("email", email)]).await.location(), "/recover/code");
    }
    for guess in 0..3 {
        let wrong = browsers[guess % 2].form("/recover/code", &[("code", "000000")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "guess {guess}");
    }
    for browser in &mut browsers {
        let blocked = browser.form("/recover/code", &[("code", "000000")]).await;
        assert_eq!(blocked.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(blocked.headers.contains_key("retry-after"));
    }
    let blocked = world.browser().authenticate("/login/passkey", json!({}), &mut phone).await;
    assert_eq!((blocked.status, blocked.error().as_str()), (StatusCode::TOO_MANY_REQUESTS, "ip-blocked"));
    assert_eq!(world.codes().await.iter().filter(|code| *code == "limit_mu").count(), 1);
}

#[tokio::test]
async fn a_code_that_is_right_or_has_expired_is_no_failure_of_its_address() {
    let world = World::with_policy("[limits]\nfailed_logins_per_ip_day = 2").await;
    world.browser().sign_up(EMAIL, &mut Authenticator::platform()).await;
    for _ in 0..3 {
        let mut browser = world.browser();
        browser.form("/recover", &[("email", EMAIL)]).await;
        let code = world.latest_code().await;
        assert_eq!(browser.form("/recover/code", &[("code", &code)]).await.location(), "/recover/new");
    }
    let mut browser = world.browser();
    browser.form("/recover", &[("email", EMAIL)]).await;
    world.pass_minutes(16);
    for _ in 0..3 {
        let expired = browser.form("/recover/code", &[("code", "000000")]).await;
        assert_eq!(expired.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", expired.text);
    }
}

#[tokio::test]
async fn wrong_codes_of_every_kind_count_as_failures_of_their_address() {
    let policy = "[limits]\nfailed_logins_per_ip_day = 2\n[attributes.email]\nidentifier = true\n\
                  signup = \"required\"\nverify = ";
    for path in ["/signup/code", "/account/identifiers/code", "/mfa/otp", "/mfa/recovery-code"] {
        let world = World::with_policy(&format!("{policy}{}", path == "/signup/code")).await;
        let mut browser = world.browser();
        match path {
            "/signup/code" => {
                assert_eq!(browser.form("/signup", &[("email", EMAIL)]).await.location(), path);
            }
            "/account/identifiers/code" => {
                browser.sign_up(EMAIL, &mut Authenticator::platform()).await;
                let new = [("value", "eve@example.org")];
                assert_eq!(browser.form("/account/identifiers/email", &new).await.location(), path);
            }
            _ => {
                browser.sign_up_with_password(EMAIL, PASSWORD).await;
                App::default().set_up_in_account(&world, &mut browser).await;
                let always = json!({ "mfa": { "policy": "always" } });
                world.admin("PATCH", "/api/v2/policy", Some(always)).await;
                browser = world.browser();
                assert_eq!(browser.log_in_with_password(EMAIL, PASSWORD).await, "/mfa/otp");
            }
        }
        for expected in
            [StatusCode::UNPROCESSABLE_ENTITY; 2].into_iter().chain([StatusCode::TOO_MANY_REQUESTS])
        {
            assert_eq!(browser.form(path, &[("code", "000000")]).await.status, expected, "{path}");
        }
        let blocked = world.browser().json("/login/passkey", &json!({})).await;
        assert_eq!(blocked.error(), "ip-blocked", "{path}");
    }
}
