//! Very many ceremonies with one device.

use doppelkey::client::Client;
use serde_json::json;

use super::Trace;

/// So many ceremonies of one client with one device: a registration, and a hundred sign-ins with it, over and over.
///
/// # Panics
/// If one fails.
pub fn ceremonies(count: u64) -> Trace {
    let mut trace = Trace::new(format!("{count} ceremonies"));
    let mut client = Client::ephemeral();
    let create = json!({
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": "AQ", "name": "alice", "displayName": "Alice"},
        "challenge": "AAAA",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required"},
    });
    let get = json!({"challenge": "AAAA", "rpId": "example.com"});
    for number in 0..count {
        if number % count.div_ceil(100) == 0 {
            trace.sample(number);
        }
        let result = if number % 101 == 0 {
            client.create("https://example.com", &create)
        } else {
            client.get("https://example.com", &get)
        };
        result.expect("a right request succeeds");
    }
    trace
}
