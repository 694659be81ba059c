//! What only a server can get right, rule by rule, and the story that shows it.

/// A rule, and the tests that fail where it does not hold.
const RULES: [(&str, &[&str]); 25] = [
    ("a response that was used is refused", &["ceremonies::a_response_works_once"]),
    (
        "a challenge expires",
        &["ceremonies::a_challenge_expires", "challenges::every_challenge_expires_whatever_it_is_for"],
    ),
    (
        "a challenge is one session's, one ceremony's, one user's",
        &[
            "ceremonies::a_challenge_belongs_to_its_session",
            "ceremonies::a_challenge_belongs_to_its_kind_of_ceremony",
            "ceremonies::a_ceremony_for_one_user_refuses_another_users_passkey",
            "challenges::a_challenge_to_recover_one_account_gets_nobody_into_another",
            "challenges::another_users_passkey_confirms_nothing",
        ],
    ),
    ("a credential id has one user", &["ceremonies::a_credential_id_is_registered_once_for_all_users"]),
    (
        "a sign-up for a known address reveals nothing where addresses are verified",
        &["names::signing_up_with_somebodys_address_reveals_nothing_when_addresses_are_verified"],
    ),
    (
        "a log-in for an unknown address looks like one for a known one",
        &[
            "names::an_unknown_address_looks_like_a_known_one_at_login",
            "names::a_user_with_two_passkeys_looks_like_nobody",
            "names::a_wrong_password_and_an_unknown_address_look_the_same",
        ],
    ),
    (
        "a bad signature and an unknown credential look the same",
        &["ceremonies::a_bad_signature_and_an_unknown_credential_look_the_same"],
    ),
    ("the 21st passkey is refused", &["account::the_twenty_first_passkey_is_refused_and_logged"]),
    (
        "the last way to log in stays",
        &[
            "account::the_last_way_to_log_in_cannot_be_removed",
            "api::a_passkey_is_added_named_and_removed_but_not_the_last",
        ],
    ),
    (
        "of parallel registrations with one challenge, one succeeds",
        &["ceremonies::of_two_registrations_with_one_challenge_one_succeeds"],
    ),
    (
        "of parallel assertions with one counter, one succeeds",
        &[
            "ceremonies::of_two_assertions_with_one_counter_one_succeeds",
            "processes::a_challenge_is_taken_once_whichever_processes_are_asked",
        ],
    ),
    (
        "the session id changes at log-in, and log-out ends it",
        &["ceremonies::the_session_changes_at_login_and_logout_kills_it"],
    ),
    (
        "changes ask for a recent proof",
        &["account::changes_need_a_user_who_proved_it_just_now", "api::a_change_needs_a_login_of_just_now"],
    ),
    (
        "a recent proof is what a log-in would ask for",
        &[
            "account::what_policy_has_turned_off_confirms_nobody",
            "account::who_confirms_is_asked_for_a_second_factor_where_a_log_in_would_be",
        ],
    ),
    ("a foreign origin gets 403", &["bad_input::a_post_from_another_site_is_refused"]),
    (
        "the progressive offer comes after a password, and never once there is a passkey",
        &["enrollment::a_passkey_is_offered_after_a_password_and_never_once_there_is_one"],
    ),
    ("put off means thirty days", &["enrollment::the_offer_can_be_put_off_for_thirty_days_or_for_ever"]),
    (
        "the local offer comes after another device's passkey only",
        &["enrollment::a_local_passkey_is_offered_after_another_devices"],
    ),
    (
        "method, verification and policy decide about a second factor",
        &["second_factor::what_asks_for_a_second_factor_is_a_matter_of_method_and_policy"],
    ),
    (
        "one user's proof is nobody else's, and says of which kind it was",
        &[
            "second_factor::a_second_factor_that_one_user_has_set_up_lets_nobody_else_in",
            "second_factor::a_secret_that_another_session_has_seen_is_not_set_up",
            "api::a_password_and_a_code_are_no_passkey_to_the_token_endpoint",
        ],
    ),
    (
        "the record is updated last",
        &["second_factor::the_session_and_the_counter_wait_for_the_second_factor"],
    ),
    (
        "recovery: code, new passkey, old sessions end, what else opens the account is listed",
        &[
            "recovery::a_code_leads_to_a_new_passkey_and_the_old_ones_are_listed_for_removal",
            "recovery::a_recovery_offers_the_old_password_for_removal_too",
            "recovery::a_recovery_offers_the_app_and_the_recovery_code_for_removal_too",
            "recovery::a_reset_shows_what_else_opens_the_account_once_logged_in",
        ],
    ),
    (
        "what was proved or mailed is void once something has changed who gets in",
        &[
            "proofs::a_recovery_that_was_proved_before_another_one_is_void",
            "proofs::a_recovery_that_was_proved_before_the_address_or_the_password_changed_is_void",
            "proofs::a_login_that_waits_for_its_second_factor_is_void_once_the_password_is_another",
            "proofs::a_login_that_is_under_way_while_the_password_is_removed_is_void",
            "proofs::a_login_that_has_passed_a_recovery_code_is_void_once_its_owner_makes_another",
            "api::an_mfa_token_is_void_once_its_passkey_is_removed",
            "proofs::a_new_password_makes_every_link_void_that_was_mailed_for_one",
            "proofs::a_proof_that_nobody_goes_on_with_is_void_after_half_an_hour",
            "identifiers::what_was_mailed_to_the_old_address_is_void",
        ],
    ),
    (
        "each flow writes exactly its events",
        &[
            "main_job::a_user_signs_up_and_logs_in_with_a_passkey",
            "main_job::a_user_signs_up_and_logs_in_with_a_password",
            "events::a_second_factor_is_set_up_asked_for_refused_and_passed",
            "events::a_passkey_that_is_refused_says_at_which_step",
            "events::a_password_is_asked_for_anew_refused_and_changed",
            "events::a_recovery_by_passkey_a_log_out_everywhere_and_a_deletion_leave_their_trace",
            "operator::events_are_read_page_by_page_and_searched",
            "identifiers::a_new_address_counts_once_its_code_has_been_typed",
        ],
    ),
    (
        "no flow but the ceremony needs a script: every story is told by a client that runs none",
        &[
            "main_job::a_user_signs_up_and_logs_in_with_a_password",
            "names::a_user_logs_in_by_any_identifier_that_policy_allows",
        ],
    ),
];

#[test]
fn every_rule_has_its_story() {
    let listed = std::process::Command::new(std::env::current_exe().expect("a running test has a path"))
        .arg("--list")
        .output()
        .expect("the stories run");
    let listed = String::from_utf8_lossy(&listed.stdout);
    for (rule, stories) in RULES {
        for story in stories {
            assert!(
                listed.lines().any(|line| line == format!("{story}: test")),
                "{rule}: there is no story {story}"
            );
        }
    }
}
