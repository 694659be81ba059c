//! Attestation that the host makes (WebAuthn §8), and which one a request gets (CTAP §6.1.2 steps 9 and 19, §7.1).

mod wire;

use std::sync::Arc;

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::{
    Algorithm, Attestation, AttestationRequest, Attester, CertificateFault, Configuration, Fault, Members,
    PrivateKey, Statement, Status,
};
use heapless::Vec as List;
use wire::ceremony::{CLIENT_DATA_HASH, Make, verifies};
use wire::{get, get_named, status};

/// A vendor's batch key. Its "certificate" is its public key: X.509 is not what is tested here.
#[derive(Debug)]
struct Batch {
    format: &'static str,
    enterprise: bool,
    key: PrivateKey,
}

impl Batch {
    fn attestation(format: &'static str, enterprise: bool) -> Attestation {
        let key = PrivateKey::from_bytes(Algorithm::Es256, &[7; 32]).unwrap();
        Attestation::By(Arc::new(Batch { format, enterprise, key }))
    }

    fn members(&self, request: &AttestationRequest<'_>) -> Members {
        let message = [request.authenticator_data, request.client_data_hash].concat();
        let mut certificate = self.key.public_key().unwrap().to_vec();
        if request.fault == CertificateFault::Wrong {
            certificate.reverse();
        }
        Members {
            alg: Some(self.key.algorithm().cose()),
            sig: Some(self.key.sign(&message).unwrap().to_vec()),
            x5c: vec![certificate],
            ..Members::default()
        }
    }
}

impl Attester for Batch {
    fn format(&self) -> &str {
        self.format
    }

    fn is_enterprise(&self) -> bool {
        self.enterprise
    }

    fn attest(&self, request: &AttestationRequest<'_>) -> Option<Statement> {
        match self.format {
            "compound" => {
                let members = self.members(request);
                Some(Statement::Compound(vec![("packed".into(), members.clone()), ("tpm".into(), members)]))
            }
            "tpm" => Some(Statement::Members(Members {
                ver: Some("2.0".into()),
                pub_area: Some(request.public_key.to_vec()),
                cert_info: Some(request.credential_id.to_vec()),
                ..self.members(request)
            })),
            "android-key" => Some(Statement::Members(Members {
                sig: Some(request.key.sign(request.rp_id_hash)?.to_vec()),
                ..self.members(request)
            })),
            "refuses" => None,
            _ => Some(Statement::Members(self.members(request))),
        }
    }
}

fn world<const N: usize>(attestation: [Attestation; N]) -> World {
    World::new(Configuration {
        attestation: attestation.into_iter().collect(),
        enterprise_attestation: true,
        enterprise_rp_ids: List::from_array([
            "example.com".try_into().unwrap(),
            "a.example".try_into().unwrap(),
            "b.example".try_into().unwrap(),
            "c.example".try_into().unwrap(),
        ]),
        ..Configuration::default()
    })
}

#[test]
fn a_batch_certificate_signs_authenticator_data_and_client_data_hash() {
    let made = Make::new("alice").send(&mut world([Batch::attestation("packed", false)])).unwrap();
    assert_eq!(made.format(), "packed");
    let statement = made.statement();
    let certificate = &get_named(statement, "x5c").and_then(Value::as_array).unwrap()[0];
    let key: Value = ciborium::from_reader(&certificate.as_bytes().unwrap()[..]).unwrap();
    let signature = get_named(statement, "sig").and_then(Value::as_bytes).unwrap();
    assert!(verifies(&key, &[&made.data.raw, &CLIENT_DATA_HASH[..]].concat(), signature));
    assert!(!verifies(made.public_key(), &[&made.data.raw, &CLIENT_DATA_HASH[..]].concat(), signature));
}

#[test]
fn statements_are_in_canonical_order_whatever_their_members() {
    let made = Make::new("alice").send(&mut world([Batch::attestation("tpm", false)])).unwrap();
    let names: Vec<&str> =
        made.statement().as_map().unwrap().iter().filter_map(|(key, _)| key.as_text()).collect();
    assert_eq!(names, ["alg", "sig", "ver", "x5c", "pubArea", "certInfo"]);
    let of_public_key: Value =
        ciborium::from_reader(&get_named(made.statement(), "pubArea").unwrap().as_bytes().unwrap()[..])
            .unwrap();
    assert_eq!(of_public_key, *made.public_key());
    let id = get_named(made.statement(), "certInfo").and_then(Value::as_bytes).unwrap();
    assert_eq!(id.as_slice(), made.id());
}

#[test]
fn compound_is_a_list_of_formats_and_statements() {
    let made = Make::new("alice").send(&mut world([Batch::attestation("compound", false)])).unwrap();
    let parts = made.statement().as_array().unwrap();
    let formats: Vec<&Value> = parts.iter().map(|part| get_named(part, "fmt").unwrap()).collect();
    assert_eq!(formats, [&Value::from("packed"), &Value::from("tpm")]);
    assert!(parts.iter().all(|part| get_named(get_named(part, "attStmt").unwrap(), "sig").is_some()));
}

#[test]
fn an_attester_may_let_the_credential_s_key_sign() {
    let made = Make::new("alice").send(&mut world([Batch::attestation("android-key", false)])).unwrap();
    let signature = get_named(made.statement(), "sig").and_then(Value::as_bytes).unwrap();
    assert!(verifies(made.public_key(), &made.data.raw[..32], signature));
}

#[test]
fn what_cannot_be_attested_is_not_made() {
    let mut world = world([Batch::attestation("refuses", false)]);
    assert_eq!(Make::new("alice").send(&mut world), status(Status::Other));
    assert_eq!(doppelkey_core::CredentialStore::len(world.authenticator().store_mut()), Ok(0));
}

#[test]
fn section_6_1_2_step_19_a_platform_chooses_among_formats() {
    let mut world = world([Batch::attestation("tpm", false), Attestation::PackedSelf]);
    let mut format = |formats: &[&str]| {
        let preference = Value::Array(formats.iter().map(|format| (*format).into()).collect());
        Make::new("a").with(11, preference).send(&mut world).unwrap().format().to_owned()
    };
    assert_eq!(format(&[]), "tpm");
    assert_eq!(format(&["apple", "packed", "tpm"]), "packed");
    assert_eq!(format(&["none", "packed"]), "none");
    let info = wire::raw(&mut world, &[0x04]).unwrap();
    let formats = Value::Array(vec!["tpm".into(), "packed".into()]);
    assert_eq!(get(&info, 0x16), Some(&formats));
}

#[test]
fn section_7_1_enterprise_attestation_goes_to_whom_the_vendor_or_the_platform_says() {
    let mut world = world([Attestation::PackedSelf, Batch::attestation("packed", true)]);
    let enterprise = |world: &mut World, kind: u64| {
        let made = Make::new("a").with(10, kind.into()).send(world).unwrap();
        let attested = get_named(made.statement(), "x5c").is_some();
        assert_eq!(attested, get(&made.response, 4) == Some(&Value::Bool(true)), "epAtt says so");
        attested
    };
    assert!(enterprise(&mut world, 1));
    assert!(enterprise(&mut world, 2));
    assert!(Make::new("a").send(&mut world).unwrap().is_self_attested(), "only when asked for");
    world.authenticator().configuration_mut().enterprise_rp_ids.clear();
    assert!(!enterprise(&mut world, 1));
    assert!(enterprise(&mut world, 2));
}

#[test]
fn certificate_faults_reach_the_attester() {
    let mut world = world([Batch::attestation("packed", false)]);
    world.authenticator().configuration().faults.set(Fault::CertificateWrong, true);
    let made = Make::new("alice").send(&mut world).unwrap();
    let certificate = &get_named(made.statement(), "x5c").and_then(Value::as_array).unwrap()[0];
    assert_ne!(certificate.as_bytes().unwrap()[0], 0xA5);
}
