use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};

use super::{
    Assessment, Metadata, MetadataError, MetadataPolicy, Providers, Publisher, RevocationLists, Treatment,
};
use crate::verify::tests::attestation::certified::{self, Certified};
use crate::verify::tests::der;
use crate::verify::tests::workshop::{self, CHALLENGE};
use crate::verify::{
    AttestationTrust, CertificateError, Credential, Mediation, Registration, RegistrationOptions,
    RelyingParty, SUPPORTED_ALGORITHMS, UserVerification, verify_registration,
};

const NOW: u64 = 1_800_000_000; // 2027-01-15
const MODEL: &str = "07070707-0707-0707-0707-070707070707";

fn to_base64url(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// The key that signs BLOBs, under the published root.
fn signer() -> SigningKey {
    workshop::other_key()
}

fn signer_certificate() -> Vec<u8> {
    certificate_for(Publisher::FIDO)
}

fn certificate_for(dns_name: &str) -> Vec<u8> {
    let names = der::sequence(&[der::tlv(&[0x82], dns_name.as_bytes())]);
    let name = der::name(&[("2.5.4.3", der::utf8("Metadata"))]);
    let (issuer, key) = (certified::root_name(), certified::public_key(&signer()));
    certified::certificate(
        Some(2),
        &issuer,
        &certified::ca_key(),
        &name,
        &key,
        &[certified::basic_constraints(false), der::extension("2.5.29.17", false, &names)],
    )
}

fn signed(header: &Value, payload: &Value) -> String {
    let signed = format!(
        "{}.{}",
        to_base64url(header.to_string().as_bytes()),
        to_base64url(payload.to_string().as_bytes())
    );
    let signature: Signature = signer().sign(signed.as_bytes());
    format!("{signed}.{}", to_base64url(&signature.to_bytes()))
}

fn header() -> Value {
    json!({ "alg": "ES256", "typ": "JWT", "x5c": [STANDARD.encode(signer_certificate())] })
}

fn payload(reports: Value) -> Value {
    json!({
        "legalHeader": "…",
        "no": 7,
        "nextUpdate": "2027-02-01",
        "entries": [
            { "aaid": "1234#5678", "statusReports": [] },
            {
                "aaguid": MODEL,
                "metadataStatement": {
                    "description": "A model",
                    "icon": "data:image/png;base64,AAAA",
                    "attestationTypes": ["basic_full"],
                    "attestationRootCertificates": [STANDARD.encode(certified::root())],
                },
                "statusReports": reports,
                "timeOfLastStatusChange": "2026-01-01",
            },
            { "attestationCertificateKeyIdentifiers": [u2f_key_identifier()], "metadataStatement": {
                "description": "A U2F model", "attestationRootCertificates": [STANDARD.encode(certified::root())],
            }, "statusReports": [] },
        ],
    })
}

fn u2f_key_identifier() -> String {
    use sha1::Digest as _;
    let key = workshop::key("ec2804b222552b4b277d1f58f8c4343c0b0b0db5474eb55365c89d66a2bc96be");
    let point = key.verifying_key().to_sec1_point(false);
    sha1::Sha1::digest(point.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn publisher(root: &[u8]) -> Publisher<'_> {
    Publisher { root, name: Publisher::FIDO }
}

fn read(blob: &str) -> Result<Metadata, MetadataError> {
    Metadata::read(blob, &publisher(&certified::root()), RevocationLists::default(), NOW, None)
}

fn metadata(reports: Value) -> Metadata {
    read(&signed(&header(), &payload(reports))).unwrap()
}

fn verified(registration: &workshop::Registration) -> Registration {
    let options = RegistrationOptions {
        relying_party: RelyingParty::new("example.org", "https://example.org"),
        challenge: CHALLENGE.to_vec(),
        algorithms: SUPPORTED_ALGORITHMS.to_vec(),
        user_verification: UserVerification::Preferred,
        mediation: Mediation::Optional,
        attestation: AttestationTrust::NotRequired,
    };
    verify_registration(&options, &Credential::from_json(registration.case()["credential"].clone())).unwrap()
}

fn assess(registration: &workshop::Registration, reports: Value) -> Assessment {
    metadata(reports).assess(&verified(registration), &MetadataPolicy::default(), NOW)
}

fn packed() -> workshop::Registration {
    Certified::packed(|_| {}).registration()
}

#[test]
fn a_blob_under_the_root_is_read_and_models_are_found_by_aaguid() {
    let metadata = metadata(json!([{ "status": "FIDO_CERTIFIED_L1", "effectiveDate": "2026-01-01" }]));
    assert_eq!((metadata.number(), metadata.next_update()), (7, "2027-02-01"));
    let entry = metadata.entry(&[7; 16]).unwrap();
    assert_eq!(entry.description, "A model");
    assert_eq!(entry.icon.as_deref(), Some("data:image/png;base64,AAAA"));
    assert_eq!(entry.reports[0].effective_s, Some(1_767_225_600));
    assert!(metadata.entry(&[8; 16]).is_none());
    assert_eq!(metadata.entries().len(), 2, "an entry of UAF alone is of no use here");
}

#[test]
fn the_root_may_be_pem() {
    let lines: Vec<_> =
        STANDARD.encode(certified::root()).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
    let body = String::from_utf8(lines.join(&b'\n')).unwrap();
    let pem = format!("# a comment\n-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let blob = signed(&header(), &payload(json!([])));
    assert!(Metadata::read(&blob, &publisher(pem.as_bytes()), RevocationLists::default(), NOW, None).is_ok());
}

#[test]
fn a_blob_that_was_changed_is_refused() {
    let blob = signed(&header(), &payload(json!([{ "status": "REVOKED" }])));
    let honest = payload(json!([])).to_string();
    let parts: Vec<_> = blob.split('.').collect();
    let changed = format!("{}.{}.{}", parts[0], to_base64url(honest.as_bytes()), parts[2]);
    assert_eq!(read(&changed).unwrap_err(), MetadataError::SignatureInvalid);
}

#[test]
fn a_blob_by_somebody_else_is_refused() {
    let blob = signed(&header(), &payload(json!([])));
    let own = signer_certificate();
    // the signer itself named as root is fine; another root is not
    assert!(Metadata::read(&blob, &publisher(&own), RevocationLists::default(), NOW, None).is_ok());
    let mut header = header();
    let another = certified::root_until(certified::UNTIL_3024);
    header["x5c"] = json!([STANDARD.encode(&another)]);
    let forged = signed(&header, &payload(json!([])));
    let error = Metadata::read(&forged, &publisher(&another), RevocationLists::default(), NOW, None);
    assert_eq!(error.unwrap_err(), MetadataError::SignatureInvalid);
    // The published root's key signs certificates and nothing else.
    header["x5c"] = json!([STANDARD.encode(certified::root())]);
    let error = read(&signed(&header, &payload(json!([])))).unwrap_err();
    assert_eq!(error, MetadataError::Chain(CertificateError::NotForSignatures));
    let stranger = certified::certificate(
        Some(2),
        &der::name(&[("2.5.4.3", der::utf8("Stranger"))]),
        &signer(),
        &der::name(&[("2.5.4.3", der::utf8("Stranger"))]),
        &certified::public_key(&signer()),
        &[certified::basic_constraints(true)],
    );
    header["x5c"] = json!([STANDARD.encode(stranger)]);
    assert!(matches!(read(&signed(&header, &payload(json!([])))).unwrap_err(), MetadataError::Chain(_)));
}

#[test]
fn a_blob_signed_by_anothers_certificate_under_the_root_is_refused() {
    let mut header = header();
    header["x5c"] = json!([STANDARD.encode(certificate_for("shop.example.org"))]);
    let blob = signed(&header, &payload(json!([])));
    assert_eq!(read(&blob).unwrap_err(), MetadataError::Signer);
    let root = certified::root();
    let named = Publisher { root: &root, name: "shop.example.org" };
    assert!(Metadata::read(&blob, &named, RevocationLists::default(), NOW, None).is_ok());
}

#[test]
fn a_blob_is_not_read_with_expired_certificates() {
    let blob = signed(&header(), &payload(json!([])));
    let error = Metadata::read(
        &blob,
        &publisher(&certified::root()),
        RevocationLists::default(),
        40_000_000_000,
        None,
    )
    .unwrap_err();
    assert!(matches!(error, MetadataError::Chain(_)), "{error}");
}

#[test]
fn a_header_that_asks_for_something_else_is_refused() {
    for (member, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("x5c", json!([])),
        ("x5c", Value::Null),
        ("x5c", json!(["!"])),
        ("crit", json!(["exp"])),
    ] {
        let mut header = header();
        header[member] = value.clone();
        let error = read(&signed(&header, &payload(json!([])))).unwrap_err();
        assert!(matches!(error, MetadataError::NotSigned(_)), "{member} {value}: {error}");
    }
    for blob in ["", ".", "..", "a.b.c.d", "e30.e30.AAAA"] {
        assert!(matches!(read(blob).unwrap_err(), MetadataError::NotSigned(_)), "{blob}");
    }
}

#[test]
fn a_blob_older_than_one_seen_is_refused() {
    let blob = signed(&header(), &payload(json!([])));
    let with = |seen| {
        Metadata::read(&blob, &publisher(&certified::root()), RevocationLists::default(), NOW, Some(seen))
    };
    assert!(with(7).is_ok());
    assert_eq!(with(8).unwrap_err(), MetadataError::Older { seen: 8, found: 7 });
}

#[test]
fn a_payload_of_another_shape_is_refused() {
    for change in [
        json!({ "no": "7" }),
        json!({ "nextUpdate": "2027-13-01" }),
        json!({ "nextUpdate": "soon" }),
        json!({ "entries": {} }),
        json!({ "entries": [{ "aaguid": "07" }] }),
        json!({ "entries": [{ "metadataStatement": { "attestationRootCertificates": ["!"] } }] }),
        json!({ "entries": [{ "statusReports": [{ "status": "REVOKED", "effectiveDate": "01.01.2026" }] }] }),
    ] {
        let mut payload = payload(json!([]));
        payload.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let error = read(&signed(&header(), &payload)).unwrap_err();
        assert!(matches!(error, MetadataError::Payload(_)), "{change}: {error}");
    }
}

#[test]
fn a_model_with_the_right_roots_and_good_reports_is_accepted() {
    let reports = json!([{ "status": "FIDO_CERTIFIED_L2" }, { "status": "FIPS140_CERTIFIED_L3" }]);
    let assessment = assess(&packed(), reports);
    assert_eq!(assessment.treatment, Treatment::Accept, "{:?}", assessment.reasons);
    assert_eq!(assessment.description.as_deref(), Some("A model"));
}

#[test]
fn grave_reports_refuse_whatever_came_later_and_lesser_ones_warn() {
    for (status, treatment) in [
        ("REVOKED", Treatment::Refuse),
        ("USER_VERIFICATION_BYPASS", Treatment::Refuse),
        ("ATTESTATION_KEY_COMPROMISE", Treatment::Refuse),
        ("USER_KEY_REMOTE_COMPROMISE", Treatment::Refuse),
        ("USER_KEY_PHYSICAL_COMPROMISE", Treatment::Refuse),
        ("UPDATE_AVAILABLE", Treatment::Warn),
        ("NOT_FIDO_CERTIFIED", Treatment::Warn),
        ("SOMETHING_NEW", Treatment::Warn),
    ] {
        let reports = json!([
            { "status": status, "effectiveDate": "2026-01-01" },
            { "status": "FIDO_CERTIFIED_L1", "effectiveDate": "2026-06-01" },
        ]);
        assert_eq!(assess(&packed(), reports).treatment, treatment, "{status}");
    }
}

#[test]
fn a_report_counts_from_its_day_on() {
    let reports = json!([{ "status": "REVOKED", "effectiveDate": "2027-01-16" }]);
    let metadata = metadata(reports);
    let registration = verified(&packed());
    let at = |now_s| metadata.assess(&registration, &MetadataPolicy::default(), now_s).treatment;
    assert_eq!(at(NOW), Treatment::Accept);
    assert_eq!(at(NOW + 24 * 60 * 60), Treatment::Refuse);
}

#[test]
fn what_is_not_proven_or_not_known_is_the_operators_to_decide() {
    let plain = workshop::Registration::new();
    assert_eq!(assess(&plain, json!([])).treatment, Treatment::Refuse);
    let mut unknown = workshop::Registration::new();
    unknown.aaguid = [9; 16];
    assert_eq!(assess(&unknown, json!([])).treatment, Treatment::Refuse);
    let lenient =
        MetadataPolicy { unproven: Treatment::Warn, unknown: Treatment::Accept, overdue: Treatment::Accept };
    let metadata = metadata(json!([]));
    assert_eq!(metadata.assess(&verified(&plain), &lenient, NOW).treatment, Treatment::Warn);
    assert_eq!(metadata.assess(&verified(&unknown), &lenient, NOW).treatment, Treatment::Accept);
}

#[test]
fn an_attestation_under_another_root_is_refused_however_lenient_the_policy() {
    let stranger = Certified::packed(|it| it.issuer = workshop::other_key()).registration();
    let lenient = MetadataPolicy {
        unproven: Treatment::Accept,
        unknown: Treatment::Accept,
        overdue: Treatment::Accept,
    };
    let assessment = metadata(json!([])).assess(&verified(&stranger), &lenient, NOW);
    assert_eq!(assessment.treatment, Treatment::Refuse);
}

#[test]
fn a_u2f_model_is_found_by_the_key_of_its_certificate() {
    let mut registration = Certified::fido_u2f(|_| {}).registration();
    registration.aaguid = [0; 16];
    let assessment = assess(&registration, json!([]));
    assert_eq!(assessment.description.as_deref(), Some("A U2F model"));
    assert_eq!(assessment.treatment, Treatment::Accept, "{:?}", assessment.reasons);
}

#[test]
fn a_u2f_statement_does_not_prove_the_aaguid_that_it_comes_with() {
    let registration = Certified::fido_u2f(|_| {}).registration();
    assert_eq!(registration.aaguid, [7; 16], "which is the other model's");
    let assessment = assess(&registration, json!([]));
    assert_eq!(assessment.description.as_deref(), Some("A U2F model"), "what its certificate says");
    // And nothing at all where that is not known, although the chain is that of the other model's maker.
    let mut payload = payload(json!([]));
    payload["entries"].as_array_mut().unwrap().pop();
    let metadata = read(&signed(&header(), &payload)).unwrap();
    let assessment = metadata.assess(&verified(&registration), &MetadataPolicy::default(), NOW);
    assert_eq!((assessment.treatment, assessment.description), (Treatment::Refuse, None));
}

#[test]
fn overdue_metadata_is_told_from_the_day_after_it_was_due() {
    let metadata = metadata(json!([]));
    let due = 1_801_440_000; // 2027-02-01
    assert!(!metadata.is_overdue(due + 24 * 60 * 60 - 1));
    assert!(metadata.is_overdue(due + 24 * 60 * 60));
    let assessment = metadata.assess(&verified(&packed()), &MetadataPolicy::default(), due + 24 * 60 * 60);
    assert_eq!(assessment.treatment, Treatment::Warn);
}

#[test]
fn providers_have_names_and_the_communitys_list_adds_to_them() {
    let mut providers = Providers::default();
    assert_eq!(providers.name_of("ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4"), Some("Google Password Manager"));
    assert_eq!(providers.name_of("d099e14e-591c-4b0c-9e5a-f1d020260226"), Some("Doppelkey"));
    assert_eq!(providers.name(&[0; 16]), None);
    providers
        .extend(format!(r#"{{"{MODEL}": {{"name": "A model", "icon_dark": "…"}}}}"#).as_bytes())
        .unwrap();
    assert_eq!(providers.name(&[7; 16]), Some("A model"));
    assert!(providers.extend(br#"{"nobody": {"name": "x"}}"#).is_err());
}

#[test]
fn every_line_of_the_table_is_an_aaguid_and_a_name() {
    let lines = include_str!("providers.tsv").lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let (aaguid, name) = line.split_once('\t').unwrap();
        assert!(super::statement::parse_aaguid(aaguid).is_some() && !name.is_empty(), "{line}");
    }
}
