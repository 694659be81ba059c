//! What can be wrong with client data, the same in both ceremonies.

use serde_json::json;

use super::workshop::ClientData;

/// Names of mutants of client data, the step of §7.1 that refuses each (§7.2 is 3 later), and the change.
///
/// `policy` members that a mutant needs are in the last place.
pub(super) type Change = (&'static str, Option<u8>, fn(&mut ClientData), serde_json::Value);

pub(super) fn changes() -> Vec<Change> {
    let mut all = Vec::new();
    for (name, step, change) in plain_changes() {
        all.push((name, step, change, json!({})));
    }
    let iframe = json!({ "cross_origin": true, "top_origins": ["https://example.com"] });
    for (name, step, change) in iframe_changes() {
        all.push((name, step, change, iframe.clone()));
    }
    all
}

type Plain = (&'static str, Option<u8>, fn(&mut ClientData));

fn plain_changes() -> Vec<Plain> {
    vec![
        ("client-data-bom", None, |it| it.raw = Some([b"\xef\xbb\xbf", it.text().as_bytes()].concat())),
        ("client-data-extra-member", None, |it| {
            it.raw = Some(it.text().replacen('{', r#"{"x":[{}],"#, 1).into())
        }),
        ("client-data-spaces", None, |it| it.raw = Some(it.text().replace(',', " ,\n ").into())),
        ("client-data-escapes", None, |it| it.raw = Some(it.text().replace("https", r"\u0068ttps").into())),
        ("cross-origin-absent", None, |it| it.cross_origin = None),
        ("client-data-not-utf8", Some(5), |it| it.raw = Some([it.text().as_bytes(), b"\xff"].concat())),
        ("client-data-utf16", Some(6), |it| {
            it.raw = Some(it.text().encode_utf16().flat_map(u16::to_le_bytes).collect());
        }),
        ("client-data-surrogate", Some(5), |it| {
            let text = it.text().into_bytes();
            it.raw = Some([&text[..text.len() - 1], b",\"x\":\"\xed\xa0\x80\"}"].concat());
        }),
        ("client-data-empty", Some(6), |it| it.raw = Some(vec![])),
        ("client-data-two-boms", Some(6), |it| {
            it.raw = Some([b"\xef\xbb\xbf\xef\xbb\xbf", it.text().as_bytes()].concat());
        }),
        ("client-data-truncated", Some(6), |it| {
            let text = it.text();
            it.raw = Some(text[..text.len() - 1].into());
        }),
        ("client-data-trailing", Some(6), |it| it.raw = Some((it.text() + "{}").into())),
        ("client-data-array", Some(6), |it| it.raw = Some(format!("[{}]", it.text()).into())),
        ("client-data-comment", Some(6), |it| it.raw = Some((it.text() + "//").into())),
        ("client-data-duplicate-type", Some(6), |it| {
            it.raw = Some(it.text().replacen('{', r#"{"type":"webauthn.get","#, 1).into());
        }),
        ("client-data-duplicate-challenge", Some(6), |it| {
            it.raw =
                Some(it.text().replacen('{', &format!(r#"{{"challenge":"{}","#, it.challenge), 1).into());
        }),
        ("client-data-duplicate-inside", Some(6), |it| {
            it.raw = Some(it.text().replacen('{', r#"{"x":{"y":1,"\u0079":1},"#, 1).into());
        }),
        ("client-data-nested-too-deeply", Some(6), |it| {
            let deep = format!(r#"{{"x":{}{},"#, "[".repeat(5000), "]".repeat(5000));
            it.raw = Some(it.text().replacen('{', &deep, 1).into());
        }),
        ("type-missing", Some(6), |it| it.raw = Some(it.text().replace("\"type\"", "\"kind\"").into())),
        ("challenge-missing", Some(6), |it| {
            it.raw = Some(it.text().replace("\"challenge\"", "\"c\"").into())
        }),
        ("origin-missing", Some(6), |it| it.raw = Some(it.text().replace("\"origin\"", "\"Origin\"").into())),
        ("cross-origin-text", Some(6), |it| {
            it.raw = Some(it.text().replace("\"crossOrigin\":false", "\"crossOrigin\":\"false\"").into());
        }),
        ("top-origin-null", Some(6), |it| {
            it.raw = Some(it.text().replacen('{', r#"{"topOrigin":null,"#, 1).into())
        }),
        ("type-case", Some(7), |it| it.kind = it.kind.to_uppercase()),
        ("type-payment", Some(7), |it| it.kind = "payment.get".into()),
        ("type-space", Some(7), |it| it.kind.push(' ')),
        ("type-empty", Some(7), |it| it.kind.clear()),
        ("challenge-other", Some(8), |it| it.challenge.replace_range(..1, "A")),
        ("challenge-padded", Some(8), |it| it.challenge.push('=')),
        ("challenge-truncated", Some(8), |it| it.challenge.truncate(22)),
        ("challenge-longer", Some(8), |it| it.challenge.push_str("AAAA")),
        ("challenge-empty", Some(8), |it| it.challenge.clear()),
        ("challenge-other-alphabet", Some(8), |it| {
            it.challenge = it.challenge.replace('-', "+").replace('_', "/");
        }),
        // the last character carries bits that no byte has
        ("challenge-spare-bits", Some(8), |it| {
            let last = it.challenge.pop().unwrap();
            it.challenge.push(char::from(last as u8 + 1));
        }),
        ("origin-other", Some(9), |it| it.origin = "https://example.com".into()),
        ("origin-http", Some(9), |it| it.origin = "http://example.org".into()),
        ("origin-port", Some(9), |it| it.origin = "https://example.org:8443".into()),
        ("origin-default-port", Some(9), |it| it.origin = "https://example.org:443".into()),
        ("origin-case", Some(9), |it| it.origin = "https://Example.org".into()),
        ("origin-slash", Some(9), |it| it.origin = "https://example.org/".into()),
        ("origin-path", Some(9), |it| it.origin = "https://example.org/login".into()),
        ("origin-user", Some(9), |it| it.origin = "https://example.org@evil.example".into()),
        ("origin-subdomain", Some(9), |it| it.origin = "https://www.example.org".into()),
        ("origin-suffix", Some(9), |it| it.origin = "https://example.org.evil.example".into()),
        ("origin-prefix", Some(9), |it| it.origin = "https://evilexample.org".into()),
        ("origin-dot", Some(9), |it| it.origin = "https://example.org.".into()),
        ("origin-null", Some(9), |it| it.origin = "null".into()),
        ("origin-empty", Some(9), |it| it.origin.clear()),
        ("origin-rp-id", Some(9), |it| it.origin = "example.org".into()),
        ("cross-origin-unexpected", Some(10), |it| it.cross_origin = Some(true)),
        ("top-origin-unexpected", Some(11), |it| it.top_origin = Some("https://example.com".into())),
    ]
}

fn iframe_changes() -> Vec<Plain> {
    vec![
        ("iframe", None, |it| {
            it.cross_origin = Some(true);
            it.top_origin = Some("https://example.com".into());
        }),
        ("iframe-without-top-origin", None, |it| it.cross_origin = Some(true)),
        ("iframe-expected-but-not-used", None, |_| {}),
        ("iframe-top-origin-other", Some(11), |it| {
            it.cross_origin = Some(true);
            it.top_origin = Some("https://example.net".into());
        }),
        ("iframe-top-origin-own", Some(11), |it| {
            it.cross_origin = Some(true);
            it.top_origin = Some("https://example.org".into());
        }),
        ("iframe-top-origin-port", Some(11), |it| {
            it.cross_origin = Some(true);
            it.top_origin = Some("https://example.com:8443".into());
        }),
    ]
}
