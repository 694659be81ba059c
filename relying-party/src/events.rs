//! The tenant log: what happened, in Auth0's type codes, for operators and for scripts.
//!
//! An event never holds a challenge, a code, a password, a token or a key. The table of codes is in the `README.md`.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::config::host_of;
use crate::store::{Changes, StoredEvent, User};
use crate::verify::{Transcript, Verdict};

/// An event to be written.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    r#type: &'static str,
    user: Option<(String, String)>,
    details: Map<String, Value>,
    transcript: Option<String>,
    correlation_id: Option<String>,
}

/// Where a request came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) ip: String,
    pub(crate) user_agent: String,
    /// Joins the events of one session.
    pub(crate) correlation_id: String,
}

impl Event {
    /// An event of a type code.
    pub(crate) fn of(r#type: &'static str) -> Self {
        Self { r#type, user: None, details: Map::new(), transcript: None, correlation_id: None }
    }

    /// About a user.
    pub(crate) fn user(mut self, user: &User) -> Self {
        self.user = Some((user.id.clone(), user.name().to_string()));
        self
    }

    /// With a detail.
    pub(crate) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_string(), value.into());
        self
    }

    /// With a reason, in plain words.
    pub(crate) fn error(self, message: impl Into<String>) -> Self {
        self.detail("error", json!({ "message": message.into() }))
    }

    /// With the verification behind it.
    pub(crate) fn transcript(mut self, transcript: &Transcript) -> Self {
        self.transcript = Some(compact(transcript));
        self
    }
}

/// What every event has.
#[derive(Serialize)]
struct Common<'a> {
    log_id: &'a str,
    date: &'a str,
    r#type: &'a str,
    description: &'a str,
    connection: &'a str,
    client_id: &'a str,
    client_name: &'a str,
    ip: &'a str,
    user_agent: &'a str,
    hostname: &'a str,
    user_id: Option<&'a str>,
    user_name: Option<&'a str>,
    is_mobile: bool,
    details: &'a Map<String, Value>,
    references: References<'a>,
}

#[derive(Serialize)]
struct References<'a> {
    correlation_id: &'a str,
}

impl App {
    /// Writes an event. A log that cannot be written stops nobody: it is told on standard error.
    pub(crate) async fn log(&self, source: &Source, event: Event) {
        let code = event.r#type;
        let stored = self.event(source, event);
        if let Err(error) = self.database.make(Changes::default().put_event(&stored)).await {
            tell!("error: the event {code} could not be written: {error}\nhint: {}", error.hint());
        }
        self.event_written();
    }

    /// Wakes the streams of events: one has been written.
    pub(crate) fn event_written(&self) {
        self.new_events.notify_waiters();
    }

    /// An event as it is stored.
    pub(crate) fn event(&self, source: &Source, event: Event) -> StoredEvent {
        let now = self.now();
        let id = self.next_event_id(now);
        let (user_id, user_name) = event.user.unzip();
        let mut details = event.details;
        if event.transcript.is_some() {
            details.insert("inspect".into(), format!("/inspect/{id}").into());
        }
        let common = Common {
            log_id: &id,
            date: &iso(now),
            r#type: event.r#type,
            description: description(event.r#type),
            connection: "Username-Password-Authentication",
            client_id: "doppelkey",
            client_name: &self.config.name,
            ip: &source.ip,
            user_agent: &source.user_agent,
            hostname: host_of(self.config.own_origin()).unwrap_or_default(),
            user_id: user_id.as_deref(),
            user_name: user_name.as_deref(),
            is_mobile: source.user_agent.contains("Mobi"),
            details: &details,
            references: References {
                correlation_id: event.correlation_id.as_deref().unwrap_or(&source.correlation_id),
            },
        };
        let data = serde_json::to_string(&common).expect("texts and JSON are JSON");
        StoredEvent {
            id,
            date: now,
            r#type: event.r#type.to_string(),
            user_id,
            data,
            transcript: event.transcript,
        }
    }
}

/// A transcript as it is kept with every login: the procedure, then of each step in order the first letter of its
/// verdict and what was found. It is a third as long as what is shown.
fn compact(transcript: &Transcript) -> String {
    let section = transcript.lines().first().map_or_else(String::new, |line| {
        let step = line.step.to_string();
        step.split('-').next().unwrap_or_default().to_string()
    });
    let lines = transcript.lines().iter().map(|line| {
        let letter = match line.verdict {
            Verdict::Pass => 'p',
            Verdict::Fail => 'f',
            Verdict::Caller => 'c',
            Verdict::Skipped => 's',
        };
        format!("{letter}{}", line.found)
    });
    let all: Vec<String> = std::iter::once(section).chain(lines).collect();
    serde_json::to_string(&all).unwrap_or_default()
}

/// A kept transcript as it is shown: a list of `{step, found, verdict}`. `None` if there is none, or it is no
/// transcript.
pub(crate) fn transcript_of(event: &StoredEvent) -> Option<Value> {
    let kept: Vec<Value> = serde_json::from_str(event.transcript.as_deref()?).ok()?;
    if kept.first()?.is_object() {
        return Some(kept.into()); // as version 1 wrote it
    }
    let mut kept = kept.iter().filter_map(Value::as_str);
    let section = kept.next()?;
    let lines = kept.enumerate().map(|(index, line)| {
        let verdict = match line.get(..1) {
            Some("p") => "pass",
            Some("f") => "fail",
            Some("c") => "caller",
            _ => "skipped",
        };
        json!({ "step": format!("{section}-{}", index + 1), "found": line.get(1..), "verdict": verdict })
    });
    Some(lines.collect())
}

/// A time in milliseconds as ISO 8601.
pub(crate) fn iso(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

/// What a type code means.
pub(crate) fn description(code: &str) -> &'static str {
    CODES.iter().find(|(known, _)| *known == code).map_or("", |(_, meaning)| meaning)
}

/// Every type code this service writes.
pub(crate) const CODES: &[(&str, &str)] = &[
    ("f", "Failed login"),
    ("fapi", "Request refused"),
    ("fcp", "Failed change of password"),
    ("fcpr", "Failed request to change the password"),
    ("fn", "A mail could not be sent"),
    ("fp", "Failed login: wrong password"),
    ("fs", "Failed sign-up"),
    ("fu", "Failed login: unknown identifier"),
    ("fv", "Failed verification of an address"),
    ("gd_auth_failed", "Second factor refused"),
    ("gd_auth_succeed", "Second factor passed, or confirmed to be there"),
    ("gd_enrollment_complete", "Enrolled a passkey or second factor"),
    ("gd_otp_rate_limit_exceed", "Too many wrong one-time codes"),
    ("gd_recovery_failed", "Recovery code refused"),
    ("gd_recovery_succeed", "Recovery code accepted"),
    ("gd_start_auth", "Second factor asked for"),
    ("gd_start_enroll", "Enrolment of a second factor started"),
    ("gd_unenroll", "Passkey or second factor removed"),
    ("gd_webauthn_challenge_failed", "Confirmation with a passkey failed"),
    ("gd_webauthn_enrollment_failed", "Enrolment of a passkey failed"),
    ("limit_mu", "Address blocked: too many failed logins, challenges or sign-ups"),
    ("limit_sul", "Account blocked for an address: too many logins in a minute"),
    ("limit_wc", "Account blocked for an address: too many failed logins"),
    ("my_account_authentication_method_failed", "My Account API: operation failed"),
    ("my_account_authentication_method_succeeded", "My Account API: operation done"),
    ("passkey_challenge_failed", "Native passkey challenge failed"),
    ("passkey_challenge_started", "Native passkey challenge started"),
    ("s", "Successful login"),
    ("sapi", "Management API: operation done"),
    ("sce", "E-mail address changed"),
    ("scp", "Password changed"),
    ("scpn", "Phone number changed"),
    ("scpr", "Change of password requested"),
    ("scu", "User name changed"),
    ("sdu", "User deleted"),
    ("sepkotpft", "Passkey and one-time code exchanged for a token"),
    ("sepkrcft", "Passkey and recovery code exchanged for a token"),
    ("slo", "Successful logout"),
    ("ss", "Successful sign-up"),
    ("sv", "Address verified"),
    ("svr", "Verification of an address requested"),
    ("too_many_records", "Too many passkeys"),
    ("ublkdu", "Block lifted by the user"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(description("s"), "Successful login");
    }

    #[test]
    fn a_transcript_is_shown_as_it_was_written() {
        use crate::verify;
        let options = verify::RegistrationOptions {
            relying_party: verify::RelyingParty::new("example.org", "https://example.org"),
            challenge: vec![0; 3],
            algorithms: vec![-7],
            user_verification: verify::UserVerification::Preferred,
            mediation: verify::Mediation::Optional,
            attestation: verify::AttestationTrust::NotRequired,
        };
        let credential = json!({ "type": "public-key", "id": "AQ", "rawId": "Ag" });
        let credential = verify::Credential::from_json(credential);
        let rejected = verify::verify_registration(&options, &credential).unwrap_err();
        let shown = Some(serde_json::to_value(&rejected.transcript).unwrap());
        let kept = compact(&rejected.transcript);
        let event = |transcript: &str| StoredEvent {
            id: String::new(),
            date: 0,
            r#type: String::new(),
            user_id: None,
            data: String::new(),
            transcript: Some(transcript.to_string()),
        };
        assert_eq!(transcript_of(&event(&kept)), shown);
        let long = serde_json::to_string(&rejected.transcript).unwrap();
        assert_eq!(transcript_of(&event(&long)), shown, "version 1 kept it whole");
        assert!(kept.len() * 2 < long.len());
        assert_eq!(transcript_of(&event("what?")), None);
    }

    #[test]
    fn times_are_iso_8601() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
    }
}
