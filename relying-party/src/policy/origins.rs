//! Which other origins may use the RP ID (WebAuthn Level 3 §5.11, related origins).

use std::collections::BTreeSet;

use super::Policy;
use crate::config::{Config, host_of};

impl Policy {
    /// Which other origins may use this RP ID: this very service's that the RP ID does not cover, and then the policy's,
    /// since a browser may take only so many.
    pub(crate) fn all_related_origins<'a>(&'a self, config: &'a Config) -> Vec<&'a str> {
        let is_foreign = |origin: &&String| host_of(origin).is_some_and(|host| !config.covers(host));
        let own = config.origins.iter().filter(is_foreign);
        let mut origins: Vec<&str> = own.map(String::as_str).collect();
        for origin in &self.related_origins {
            if !origins.contains(&origin.as_str()) {
                origins.push(origin);
            }
        }
        origins
    }

    /// Whether browsers take them all.
    pub(super) fn warnings_about_origins(&self, config: &Config) -> Vec<String> {
        let hosts = self.all_related_origins(config).into_iter().filter_map(host_of);
        let labels: BTreeSet<_> = hosts.map(registrable_label).collect();
        if labels.len() <= LABELS_EVERY_CLIENT_TAKES {
            return Vec::new();
        }
        vec![format!(
            "related_origins, with those of --origin, have {} names before their suffixes ({}); some browsers take only the first \
             {LABELS_EVERY_CLIENT_TAKES}",
            labels.len(),
            labels.into_iter().collect::<Vec<_>>().join(", ")
        )]
    }
}

/// §5.11.1: a client takes at least so many different registrable labels.
const LABELS_EVERY_CLIENT_TAKES: usize = 5;

pub(super) fn is_web_origin(origin: &str) -> bool {
    let is_local = |host: &str| host == "localhost" || host.ends_with(".localhost");
    host_of(origin).is_some_and(|host| origin.starts_with("https://") || is_local(host))
}

/// The label before the public suffix. Without a list of suffixes this is a guess: two short labels, as in `co.uk`, are
/// one.
fn registrable_label(host: &str) -> &str {
    let mut labels = host.rsplit('.');
    let (top, second) = (labels.next().unwrap_or(host), labels.next().unwrap_or(host));
    if top.len() == 2 && second.len() <= 3 { labels.next().unwrap_or(second) } else { second }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn related_origins_beyond_what_every_browser_takes_are_warned_of() {
        let of = |hosts: &[&str]| {
            let related_origins = hosts.iter().map(|host| format!("https://{host}")).collect();
            Policy { related_origins, ..Policy::default() }
        };
        // Countries of one name are one label.
        let countries =
            of(&["a.example.de", "example.co.uk", "example.com", "b.org", "c.org", "d.org", "e.org"]);
        let mut config = Config { dev: false, ..Config::localhost(8080) };
        assert_eq!((countries.check(), countries.warnings(&config)), (Ok(()), Vec::new()));
        let six = of(&["a.org", "b.org", "c.org", "d.org", "e.org", "f.org"]);
        assert_eq!(six.check(), Ok(()));
        assert!(six.warnings(&config)[0].contains("6 names before their suffixes (a, b, c, d, e, f)"));
        // Those of this service itself count, and come first; what the RP ID covers needs no leave.
        config.origins.extend(["https://e.localhost".into(), "https://f.org".into(), "https://g.org".into()]);
        let four = of(&["a.org", "b.org", "c.org", "d.org"]);
        let served = [
            "https://f.org",
            "https://g.org",
            "https://a.org",
            "https://b.org",
            "https://c.org",
            "https://d.org",
        ];
        assert_eq!(four.all_related_origins(&config), served);
        assert!(
            four.warnings(&config)[0]
                .contains("--origin, have 6 names before their suffixes (a, b, c, d, f, g)")
        );
    }
}
