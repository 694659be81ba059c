//! The payload of a BLOB, as far as a relying party uses it (Metadata Service 3 §3.1, Metadata Statement 3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::DateTime;
use serde::Deserialize;

use super::MetadataError;

/// What is known about one model of authenticator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The model, where it speaks FIDO2.
    pub aaguid: Option<[u8; 16]>,
    /// Identifiers of attestation certificates' keys (lower-case hex), where it speaks U2F.
    pub certificate_keys: Vec<String>,
    /// A name for people.
    pub description: String,
    /// An icon, as a `data:` URL.
    pub icon: Option<String>,
    /// Roots, or attestation certificates themselves, in DER.
    pub roots: Vec<Vec<u8>>,
    /// Whether the model vouches for itself by self attestation (`basic_surrogate`).
    pub attests_itself: bool,
    /// What was reported about it, oldest first.
    pub reports: Vec<StatusReport>,
}

/// A report about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// `FIDO_CERTIFIED_L1`, `REVOKED`, …
    pub status: String,
    /// When it takes effect, in Unix seconds; at once if absent.
    pub effective_s: Option<u64>,
}

#[derive(Deserialize)]
struct Payload {
    no: u64,
    #[serde(rename = "nextUpdate")]
    next_update: String,
    entries: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct RawEntry {
    aaguid: Option<String>,
    attestation_certificate_key_identifiers: Vec<String>,
    metadata_statement: RawStatement,
    status_reports: Vec<RawReport>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawStatement {
    description: String,
    icon: Option<String>,
    attestation_root_certificates: Vec<String>,
    attestation_types: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReport {
    status: String,
    effective_date: Option<String>,
}

type Contents = (u64, (String, u64), Vec<Entry>);

/// Number, next update and entries. Entries of UAF, which have neither identifier, are left out.
pub(super) fn read_payload(json: &[u8]) -> Result<Contents, MetadataError> {
    let payload: Payload =
        serde_json::from_slice(json).map_err(|why| MetadataError::Payload(why.to_string()))?;
    let next_update =
        day(&payload.next_update).ok_or_else(|| MetadataError::Payload("nextUpdate is not a date".into()))?;
    let entries = payload.entries.into_iter().map(Entry::try_from).collect::<Result<Vec<_>, _>>()?;
    let known = |entry: &Entry| entry.aaguid.is_some() || !entry.certificate_keys.is_empty();
    Ok((payload.no, (payload.next_update, next_update), entries.into_iter().filter(known).collect()))
}

impl TryFrom<RawEntry> for Entry {
    type Error = MetadataError;

    fn try_from(raw: RawEntry) -> Result<Self, MetadataError> {
        let wrong = |what: &str| MetadataError::Payload(what.into());
        let aaguid =
            raw.aaguid.map(|text| parse_aaguid(&text).ok_or_else(|| wrong("an AAGUID is malformed")));
        let statement = raw.metadata_statement;
        // some have line breaks in them
        let der = |text: &String| STANDARD.decode(text.split_whitespace().collect::<String>());
        let roots = statement.attestation_root_certificates.iter().map(der).collect::<Result<_, _>>();
        let reports = raw.status_reports.into_iter().map(StatusReport::try_from).collect::<Result<_, _>>()?;
        Ok(Self {
            aaguid: aaguid.transpose()?,
            certificate_keys: raw.attestation_certificate_key_identifiers,
            description: statement.description,
            icon: statement.icon.filter(|icon| icon.starts_with("data:image/")),
            roots: roots.map_err(|_| wrong("a root certificate is not base64"))?,
            attests_itself: statement.attestation_types.iter().any(|kind| kind == "basic_surrogate"),
            reports,
        })
    }
}

impl TryFrom<RawReport> for StatusReport {
    type Error = MetadataError;

    fn try_from(raw: RawReport) -> Result<Self, MetadataError> {
        let date = raw.effective_date.map(|text| {
            day(&text).ok_or_else(|| MetadataError::Payload("the date of a report is malformed".into()))
        });
        Ok(Self { status: raw.status, effective_s: date.transpose()? })
    }
}

/// The start of a day `YYYY-MM-DD`, in Unix seconds.
fn day(text: &str) -> Option<u64> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u16>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let date = DateTime::new(year, month.try_into().ok()?, day.try_into().ok()?, 0, 0, 0).ok()?;
    Some(date.unix_duration().as_secs())
}

/// An AAGUID as text, with or without hyphens.
pub(super) fn parse_aaguid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}
