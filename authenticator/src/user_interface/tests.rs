use std::sync::mpsc::channel;
use std::time::Duration;

use doppelkey_core::{Action, Answer, Prompt, User};

use super::terminal::{meaning, question};
use super::*;

fn prompt(action: Action, accounts: u32) -> Prompt<'static> {
    Prompt {
        action,
        rp_id: Some("example.com"),
        user_name: Some("alice"),
        user_display_name: None,
        accounts,
        verification: false,
    }
}

#[test]
fn an_external_user_sees_one_prompt_and_answers_it_once() {
    let user = External::default();
    let (sender, answers) = channel();
    user.clone().show(
        &prompt(Action::CreateCredential, 0),
        &[],
        Reply::new(move |answer| {
            let _ = sender.send(answer);
        }),
    );
    let shown = user.wait_for_prompt(0, Duration::ZERO).expect("it is shown");
    assert_eq!(
        (shown.number, shown.action, shown.rp_id.as_deref()),
        (1, Action::CreateCredential, Some("example.com"))
    );
    assert!(user.answer(Answer::Deny));
    assert_eq!(answers.recv(), Ok(Answer::Deny));
    assert!(!user.answer(Answer::Deny));
    assert_eq!(user.prompt(), None);
    assert_eq!(user.wait_for_prompt(0, Duration::from_millis(1)), None);
}

#[test]
fn a_delayed_prompt_that_is_taken_away_is_never_shown() {
    let external = External::default();
    let mut user = Delayed::new(Duration::from_secs(2), Box::new(external.clone()));
    user.show(&prompt(Action::Select, 0), &[], Reply::new(|_| {}));
    user.clear();
    user.show(&prompt(Action::UseCredential, 0), &[], Reply::new(|_| {}));
    let shown = external.wait_for_prompt(0, Duration::from_secs(10)).expect("the second is shown");
    assert_eq!((shown.number, shown.action), (1, Action::UseCredential));
}

#[test]
fn the_terminal_asks_in_words_and_shows_no_control_characters() {
    assert_eq!(
        question(&prompt(Action::CreateCredential, 0), &[]),
        "Create a passkey for example.com as alice? [y/n]"
    );
    let evil = Prompt { user_name: Some("\u{1b}[2Jroot\u{202e}"), ..prompt(Action::UseCredential, 1) };
    assert_eq!(question(&evil, &[]), "Sign in to example.com as \u{fffd}[2Jroot\u{fffd}? [y/n]");
}

#[test]
fn the_terminal_names_the_accounts_to_choose_from() {
    let account = |name: Option<&str>, display: Option<&str>| User {
        name: name.map(|name| name.try_into().unwrap()),
        display_name: display.map(|name| name.try_into().unwrap()),
        ..User::default()
    };
    let accounts = [
        account(Some("carol"), Some("Carol C.")),
        account(Some("bob"), Some("bob")),
        account(None, Some("\u{1b}[2JAlice")),
        account(None, None),
    ];
    assert_eq!(
        question(&prompt(Action::UseCredential, 6), &accounts),
        "Sign in to example.com? It has 6 accounts here:\n  1  carol (Carol C.), the newest\n  2  bob\n  \
         3  \u{fffd}[2JAlice\n  4  without a name\n  and 2 older ones, to 6\n\
         Which? [a number, y to let the site choose, n]"
    );
}

#[test]
fn the_terminal_understands_yes_no_a_number_and_a_wrong_finger() {
    let approve = |account| Some(Answer::Approve { verified: true, account });
    assert_eq!(meaning(Action::UseCredential, 1, false, " Y "), approve(None));
    assert_eq!(meaning(Action::UseCredential, 3, false, "3"), approve(Some(2)));
    assert_eq!(meaning(Action::UseCredential, 3, false, "4"), None);
    assert_eq!(meaning(Action::UseCredential, 3, false, "0"), None);
    assert_eq!(meaning(Action::Select, 0, false, "no"), Some(Answer::Deny));
    assert_eq!(meaning(Action::Select, 0, false, "w"), None);
    assert_eq!(meaning(Action::Verify, 0, true, "w"), Some(Answer::NotVerified));
    assert_eq!(meaning(Action::FingerprintSample, 0, true, "y"), Some(Answer::Sample { status: 0 }));
    assert_eq!(meaning(Action::Select, 0, false, ""), None);
}
