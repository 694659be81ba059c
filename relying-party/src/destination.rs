//! Where a visitor wanted to go when logging in, or confirming that it is still the user, stood in the way; and where who
//! cannot log in gets on.

use crate::policy::Policy;

/// The page of the account that a path belongs to, and the account for any other: nobody is led to where a link says.
pub(crate) fn of(path: Option<&str>) -> &'static str {
    let pages = ["/account/security", "/account/identifiers", LOST];
    pages.into_iter().find(|page| path.is_some_and(|path| path.starts_with(page))).unwrap_or(ACCOUNT)
}

/// Where whoever has confirmed to be there goes on: to the offer that was taken up too late, too.
pub(crate) fn after_confirming(path: Option<&str>) -> &'static str {
    OFFERS.into_iter().find(|offer| path == Some(*offer)).unwrap_or_else(|| of(path))
}

/// The offers of a passkey.
const OFFERS: [&str; 2] = ["/enroll", "/enroll/local"];

/// The page behind which such a destination is kept, for whoever has to log in first.
pub(crate) fn login_for(path: &str) -> String {
    match of(Some(path)) {
        ACCOUNT => "/login".into(),
        page => format!("/login?then={page}"),
    }
}

/// Where who cannot log in gets on: to a code by mail, or to a link for a new password where policy has turned codes off.
pub(crate) fn way_back(policy: &Policy) -> &'static str {
    if policy.code.enabled { "/recover" } else { "/reset-password" }
}

/// Where everybody goes who wanted nothing else.
pub(crate) const ACCOUNT: &str = "/account";

/// Where whoever has got back into an account is asked what else opens it.
pub(crate) const LOST: &str = "/account/lost";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_page_of_the_account() {
        assert_eq!(of(Some("/account/security/password")), "/account/security");
        assert_eq!(of(Some("/account/identifiers")), "/account/identifiers");
        for other in [None, Some("//elsewhere.example/account/security"), Some("/logout"), Some("")] {
            assert_eq!(of(other), ACCOUNT);
        }
        assert_eq!(after_confirming(Some("/enroll/local")), "/enroll/local");
        assert_eq!(after_confirming(Some("/account/security")), "/account/security");
        assert_eq!(after_confirming(Some("/enroll/elsewhere")), ACCOUNT);
        assert_eq!(login_for("/account/security/otp"), "/login?then=/account/security");
        assert_eq!(login_for("/account"), "/login");
    }
}
