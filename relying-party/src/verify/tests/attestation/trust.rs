//! Mutants of trust (§7.1 step 25): chains of certificates, and who is above them (RFC 5280).

use super::*;

pub(super) fn mutants() -> Vec<Mutant> {
    let at = |now_s: u64| {
        let anchors = [to_base64url(&certified::root())];
        policy(Certified::packed(|_| {}).case(), json!({ "anchors": anchors, "now_s": now_s }))
    };
    let itself = || {
        let attest = |data: &[u8], hash: &[u8]| {
            let signature = sign(&credential_key(), &[data, hash].concat());
            text_map([("alg", (-7).into()), ("sig", signature.into())])
        };
        attested("packed", attest).case()
    };
    let plain = || Registration { flags: UP | UV | AT, ..Registration::new() }.case();
    let mut all = vec![
        right("trust-packed", trusted(Certified::packed(|_| {}).case())),
        right("trust-u2f", trusted(Certified::fido_u2f(|_| {}).case())),
        right("trust-tpm", trusted(Certified::tpm(|_| {}).case())),
        right("trust-apple", trusted(Certified::apple(|_| {}).case())),
        right("trust-none-accepted", {
            policy(plain(), json!({ "anchors": [], "now_s": NOW, "accept_none": true }))
        }),
        right("trust-self-accepted", {
            policy(itself(), json!({ "anchors": [], "now_s": NOW, "accept_self": true }))
        }),
        wrong("trust-none", 25, trusted(plain())),
        wrong("trust-self", 25, trusted(itself())),
        wrong("trust-no-anchors", 25, {
            policy(Certified::packed(|_| {}).case(), json!({ "anchors": [], "now_s": NOW }))
        }),
        wrong("trust-too-early", 25, at(1_600_000_000)),
        wrong("trust-too-late", 25, at(40_000_000_000)),
        wrong("trust-issued-by-a-stranger", 25, chain(|it| it.issuer = other_key())),
        wrong(
            "trust-certificates-unrelated",
            25,
            chain(|it| {
                it.issuer = other_key();
                it.chain = |leaf| Cbor::Array(vec![leaf.to_vec().into(), certified::root().into()]);
            }),
        ),
    ];
    all.extend(critical_extensions());
    all.extend(issuers());
    all.extend(usages());
    all.extend(anchors());
    all
}

fn policy(mut case: Value, trust: Value) -> Value {
    case["policy"]["attestation"] = trust;
    case
}

fn under(anchor: &[u8], case: Value) -> Value {
    policy(case, json!({ "anchors": [to_base64url(anchor)], "now_s": NOW }))
}

/// Under the root that the vectors publish.
fn trusted(case: Value) -> Value {
    under(&certified::root(), case)
}

fn chain(change: fn(&mut Certified)) -> Value {
    trusted(Certified::packed(change).case())
}

/// Of policies nothing is asked; what would make them matter must be understood, and so must bounds of names.
fn critical_extensions() -> Vec<Mutant> {
    let with = |kind: &'static str, content: Vec<u8>| {
        trusted(Certified::packed(move |it| it.extensions.push(der::extension(kind, true, &content))).case())
    };
    let policy = || der::oid("1.3.6.1.4.1.99999.2");
    let example = der::sequence(&[der::sequence(&[der::tlv(&[0x82], b"example.org")])]);
    vec![
        right("trust-tpm-with-critical-policies", {
            trusted(Certified::tpm(|it| it.extensions.push(certified::policies())).case())
        }),
        right(
            "trust-issuer-with-critical-policies",
            chain(|it| it.through(&[certified::basic_constraints(true), certified::policies()])),
        ),
        wrong("trust-critical-extension", 25, with("1.3.6.1.4.1.99999.1", vec![5, 0])),
        // requireExplicitPolicy: 0
        wrong("trust-critical-policy-constraints", 25, {
            with("2.5.29.36", der::sequence(&[der::tlv(&[0x80], &[0])]))
        }),
        wrong("trust-critical-policy-mappings", 25, {
            with("2.5.29.33", der::sequence(&[der::sequence(&[policy(), policy()])]))
        }),
        wrong("trust-critical-inhibit-any-policy", 25, with("2.5.29.54", der::small(0))),
        // permittedSubtrees
        wrong("trust-critical-name-constraints", 25, {
            with("2.5.29.30", der::sequence(&[der::tlv(&[0xa0], &example[2..])]))
        }),
    ]
}

/// §6.1.4 (k), (l), (m): who may be above another.
fn issuers() -> Vec<Mutant> {
    vec![
        right("trust-intermediate", chain(|it| it.through(&[certified::basic_constraints(true)]))),
        wrong("trust-intermediate-no-ca", 25, chain(|it| it.through(&[certified::basic_constraints(false)]))),
        wrong("trust-intermediate-without-constraints", 25, chain(|it| it.through(&[]))),
        right("trust-path", chain(|it| it.through_two(&[certified::basic_constraints(true)]))),
        right("trust-path-as-long-as-allowed", chain(|it| it.through_two(&[certified::ca_above(1)]))),
        wrong("trust-path-too-long", 25, chain(|it| it.through_two(&[certified::ca_above(0)]))),
        right("trust-path-of-no-more", chain(|it| it.through(&[certified::ca_above(0)]))),
        wrong(
            "trust-algorithm-not-the-signed-one",
            25,
            // ecdsa-with-SHA384
            chain(|it| it.signed_algorithm = "1.2.840.10045.4.3.3"),
        ),
    ]
}

/// §4.2.1.3 and §6.1.4 (n): what a key may be used for, where its certificate says so.
fn usages() -> Vec<Mutant> {
    const SIGNS: u8 = 0x80;
    const AGREES: u8 = 0x08;
    const CERTIFIES: u8 = 0x04;
    fn issuer(usage: u8) -> [Vec<u8>; 2] {
        [certified::basic_constraints(true), certified::key_usage(usage)]
    }
    vec![
        right("trust-issuer-may-sign-certificates", chain(|it| it.through(&issuer(CERTIFIES)))),
        wrong("trust-issuer-may-not-sign-certificates", 25, chain(|it| it.through(&issuer(SIGNS)))),
        right("trust-leaf-may-sign", chain(|it| it.extensions.push(certified::key_usage(SIGNS)))),
        wrong("trust-leaf-may-not-sign", 25, chain(|it| it.extensions.push(certified::key_usage(AGREES)))),
        wrong("trust-leaf-may-sign-certificates-only", 25, {
            chain(|it| it.extensions.push(certified::key_usage(CERTIFIES)))
        }),
    ]
}

/// An anchor's time counts, too.
fn anchors() -> Vec<Mutant> {
    let until = |until| under(&certified::root_until(until), Certified::packed(|_| {}).case());
    vec![
        right("trust-anchor-of-the-same-key", until(certified::UNTIL_3024)),
        wrong("trust-anchor-expired", 25, until(certified::UNTIL_2025)),
    ]
}

const NOW: u64 = 1_800_000_000;
