//! New passwords: what the page with the field says of the rules, and of whom.

use crate::world::World;

const EVERYTHING: &str = "[attributes.phone]\nidentifier = true\nsignup = \"optional\"\n\
                          [attributes.username]\nidentifier = true\nsignup = \"optional\"";

/// The personal data on a page, and whether there is no more.
fn personal(page: &str) -> (&str, bool) {
    let rule = page
        .split("data-rule=\"personal\"")
        .nth(1)
        .and_then(|rest| rest.split('>').next())
        .expect("the rule");
    let parts = rule.split("data-parts=\"").nth(1).and_then(|rest| rest.split('"').next());
    (parts.expect("the parts"), rule.contains("data-is-all"))
}

#[tokio::test]
async fn the_page_for_a_new_password_knows_the_names_that_must_not_be_in_it() {
    let world = World::with_policy(EVERYTHING).await;
    let mut browser = world.browser();
    let names = [("email", "Lovelace@example.org"), ("phone", "+49 30 123456"), ("username", "ada")];
    browser.form("/signup", &names).await;
    let page = browser.get("/signup/password").await.text;
    let all = ("[&quot;lovelace&quot;,&quot;+4930123456&quot;]", true);
    assert_eq!(personal(&page), all, "three letters stand in many words");
    browser.form("/signup/password", &[("password", "correct horse battery")]).await;
    assert_eq!(personal(&browser.get("/account/security").await.text), all);
    assert_eq!(page.matches("(checked when you continue)").count(), 2, "what the server's lists say");
}

#[tokio::test]
async fn who_follows_a_link_to_a_new_password_learns_no_other_name_of_the_user() {
    let world = World::with_policy(EVERYTHING).await;
    let mut browser = world.browser();
    let names = [("email", "lovelace@example.org"), ("phone", "+4930123456"), ("username", "countess")];
    browser.form("/signup", &names).await;
    browser.form("/signup/password", &[("password", "correct horse battery")]).await;
    world.browser().form("/reset-password", &[("email", "lovelace@example.org")]).await;
    let outbox = world.outbox().await;
    let token = outbox.split("/reset-password/new?token=").nth(1).and_then(|rest| rest.split('"').next());
    let page =
        world.browser().get(&format!("/reset-password/new?token={}", token.expect("a link"))).await.text;
    assert_eq!(personal(&page), ("[&quot;lovelace&quot;]", false));
    assert!(!page.contains("4930123456") && !page.contains("countess"), "{page}");
    assert_eq!(
        page.matches("(checked when you continue)").count(),
        3,
        "the page cannot know that none is in it"
    );
}
