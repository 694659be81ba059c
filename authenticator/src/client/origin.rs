//! Who calls, and for which relying party: origins, RP IDs, related origins (WebAuthn §5.1.3 steps 7 and 8, §5.11).

use super::Error;

/// At least this many registrable labels of related origins are honoured (WebAuthn §5.11.1).
const RELATED_LABELS: usize = 5;

/// An origin in its serialized form: scheme, host, port (HTML §7.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: String,
    scheme_end: usize,
    host_end: usize,
}

impl Origin {
    /// The origin with this serialization, exactly: `https://login.example.com`, `http://localhost:8080`.
    ///
    /// # Errors
    /// [`Error::InsecureOrigin`] for anything that is not the origin of a secure context.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = || Error::InsecureOrigin(text.to_owned());
        let (scheme, authority) = text.split_once("://").ok_or_else(refuse)?;
        let host = match authority.rsplit_once(':') {
            Some((host, port)) => {
                let canonical = !port.starts_with('0') && port.parse::<u16>().is_ok();
                if canonical { host } else { return Err(refuse()) }
            }
            None => authority,
        };
        // An IPv6 address in brackets fails here too: it is no domain (§5.1.3 step 7).
        if !is_domain(host) {
            return Err(refuse());
        }
        let local = host == "localhost" || host.ends_with(".localhost");
        if scheme != "https" && !(scheme == "http" && local) {
            return Err(refuse());
        }
        let scheme_end = scheme.len();
        Ok(Origin { scheme_end, host_end: scheme_end + 3 + host.len(), text: text.to_owned() })
    }

    /// The serialization.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, without the port.
    pub fn host(&self) -> &str {
        &self.text[self.scheme_end + 3..self.host_end]
    }
}

/// Fetches `https://{RP ID}/.well-known/webauthn`: the body of a 200 answer of type `application/json`, got without
/// credentials and without a referrer. `None` for anything else.
pub type FetchRelatedOrigins = Box<dyn Fn(&str) -> Option<String> + Send>;

/// Who says which origins are related to an RP ID.
#[derive(Clone, Copy)]
pub(crate) enum Related<'a> {
    /// Its site, where there is a way to ask it.
    ListedBy(Option<&'a FetchRelatedOrigins>),
    /// A browser, and it has said that this one is, to this RP ID.
    Checked(&'a str),
}

/// The RP ID that the caller may use: the one asked for, or else the origin's own host.
///
/// # Errors
/// [`Error::RpId`], with the rule that is broken.
pub(crate) fn rp_id(origin: &Origin, asked: Option<&str>, related: Related<'_>) -> Result<String, Error> {
    let rp_id = asked.unwrap_or(origin.host());
    let refuse = |why| Error::RpId { origin: origin.as_str().to_owned(), rp_id: rp_id.to_owned(), why };
    if is_ip_address(origin.host()) {
        return Err(refuse("an IP address is not a domain; use localhost"));
    }
    if rp_id == origin.host() || is_registrable_suffix(rp_id, origin.host()) {
        return Ok(rp_id.to_owned());
    }
    if psl::suffix_str(rp_id) == Some(rp_id) {
        return Err(refuse("it is a public suffix, which belongs to nobody"));
    }
    let fetch = match related {
        Related::Checked(checked) if checked != rp_id => {
            return Err(refuse("the browser has not checked it"));
        }
        Related::Checked(_) if is_domain(rp_id) && !is_ip_address(rp_id) => return Ok(rp_id.to_owned()),
        Related::Checked(_) => return Err(refuse("it is no domain")),
        Related::ListedBy(fetch) => fetch,
    };
    match fetch.and_then(|fetch| fetch(rp_id)) {
        Some(document) if is_related(origin, &document) => Ok(rp_id.to_owned()),
        Some(_) => Err(refuse("its /.well-known/webauthn does not list this origin")),
        None => Err(refuse("it is neither the origin's domain nor a suffix of it")),
    }
}

/// Whether it is made of labels as the host parser leaves them: lower case, in ASCII.
fn is_domain(text: &str) -> bool {
    let in_label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    text.split('.').all(|label| !label.is_empty() && label.bytes().all(in_label))
}

/// HTML's "is a registrable domain suffix of": a suffix at a dot, and not itself a public suffix.
fn is_registrable_suffix(suffix: &str, host: &str) -> bool {
    let at_a_dot = host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    let registrable = psl::domain_str(host);
    at_a_dot && registrable.is_some_and(|domain| suffix == domain || suffix.ends_with(&format!(".{domain}")))
}

/// Whether the last label is a number: the host parser makes such a host an IPv4 address.
fn is_ip_address(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether this document lists the origin, within the labels that are honoured (§5.11.1).
fn is_related(origin: &Origin, document: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Document {
        origins: Vec<String>,
    }
    let Ok(Document { origins }) = serde_json::from_str(document) else { return false };
    let mut labels: Vec<String> = Vec::new();
    for listed in origins.iter().filter_map(|listed| Origin::parse(listed).ok()) {
        let Some(domain) = psl::domain_str(listed.host()) else { continue };
        let label = domain.split('.').next().unwrap_or_default().to_owned();
        if !labels.contains(&label) {
            if labels.len() == RELATED_LABELS {
                continue;
            }
            labels.push(label);
        }
        if listed == *origin {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str, asked: Option<&str>) -> bool {
        rp_id(&Origin::parse(origin).unwrap(), asked, Related::ListedBy(None)).is_ok()
    }

    #[test]
    fn an_rp_id_is_the_host_or_a_registrable_suffix_of_it() {
        assert!(allowed("https://login.example.com", None));
        assert!(allowed("https://login.example.com", Some("login.example.com")));
        assert!(allowed("https://login.example.com:8443", Some("example.com")));
        assert!(allowed("http://localhost:8080", Some("localhost")));
        assert!(!allowed("https://login.example.com", Some("com")));
        assert!(!allowed("https://login.example.com", Some("ample.com")));
        assert!(!allowed("https://example.com", Some("login.example.com")));
        assert!(!allowed("https://example.com", Some("")));
    }

    #[test]
    fn a_public_suffix_belongs_to_nobody() {
        assert!(!allowed("https://www.example.co.uk", Some("co.uk")));
        assert!(allowed("https://www.example.co.uk", Some("example.co.uk")));
        assert!(!allowed("https://alice.github.io", Some("github.io")));
        assert!(allowed("https://alice.github.io", Some("alice.github.io")));
        assert!(!allowed("http://a.localhost", Some("localhost")));
    }

    #[test]
    fn an_address_is_no_domain() {
        assert!(!allowed("https://192.0.2.1", None));
        assert!(Origin::parse("https://[::1]").is_err());
    }

    #[test]
    fn only_secure_contexts_are_origins_here() {
        for text in [
            "http://example.com",
            "null",
            "https://",
            "https://EXAMPLE.com",
            "https://example.com/",
            "https://user@example.com",
            "https://example.com:",
            "https://example.com:0443",
            "file://example",
            "http://notlocalhost",
            "https://a..b",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
        assert!(Origin::parse("http://a.localhost:80").is_ok());
    }

    #[test]
    fn what_a_browser_has_checked_is_a_domain_all_the_same() {
        let origin = Origin::parse("https://example.de").unwrap();
        let allowed = |asked| rp_id(&origin, Some(asked), Related::Checked(asked)).is_ok();
        assert!(allowed("example.com") && allowed("example.de"));
        for no_domain in ["", "com", "co.uk", "Example.com", "example.com/", "a b", "192.0.2.1", "[::1]"] {
            assert!(!allowed(no_domain), "{no_domain}");
        }
        let by_address = Origin::parse("https://192.0.2.1").unwrap();
        assert!(rp_id(&by_address, Some("example.com"), Related::Checked("example.com")).is_err());
        assert!(
            rp_id(&origin, Some("example.com"), Related::Checked("example.fr")).is_err(),
            "it is another"
        );
    }

    #[test]
    fn a_related_origin_is_one_that_the_rp_lists_within_five_labels() {
        let origin = Origin::parse("https://example.de").unwrap();
        let ask = |document: &'static str| {
            let fetch: FetchRelatedOrigins = Box::new(move |rp_id| {
                assert_eq!(rp_id, "example.com");
                Some(document.to_owned())
            });
            rp_id(&origin, Some("example.com"), Related::ListedBy(Some(&fetch))).is_ok()
        };
        assert!(ask(r#"{"origins":["https://example.co.uk","https://example.de"]}"#));
        assert!(!ask(r#"{"origins":["https://example.co.uk","https://example.de:8443"]}"#));
        assert!(!ask(r#"{"origins":"https://example.de"}"#));
        let mut five =
            vec!["https://a.com", "https://b.com", "https://c.com", "https://d.com", "https://e.com"];
        five.push("https://example.de");
        assert!(!is_related(&origin, &serde_json::json!({ "origins": five }).to_string()));
        // A known label in another place of the world costs nothing.
        five[4] = "https://example.fr";
        assert!(is_related(&origin, &serde_json::json!({ "origins": five }).to_string()));
    }
}
