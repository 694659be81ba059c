"""FIDO metadata from a file: a BLOB that a test root vouches for decides which models of authenticators may register."""

import base64
import hashlib
import json

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from relying_party import Authority, RelyingParty, Visitor, base64url

AAGUID = bytes.fromhex("d0bbe15e" + "11" * 12)
AAGUID_TEXT = "d0bbe15e-1111-1111-1111-111111111111"
ICON = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
POLICY = '[passkey]\nattestation = "direct"\nmetadata = "required"\n'


def der(certificate):
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


class Model:
    """A model of security keys, whose keys are attested under its maker's root."""

    def __init__(self):
        self.maker = Authority("The maker's root")
        self.key = ec.generate_private_key(ec.SECP256R1())
        names = [
            (NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "A maker"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "Authenticator Attestation"), (NameOID.COMMON_NAME, "A batch"),
        ]
        aaguid = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4"), b"\x04\x10" + AAGUID)
        self.batch = self.maker.issue(self.key, names, [(aaguid, False)])

    def register(self, options, origin, aaguid=AAGUID):
        """What `navigator.credentials.create()` gives: packed attestation with a certificate."""
        key = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: key.x.to_bytes(32, "big"), -3: key.y.to_bytes(32, "big")}
        identifier = hashlib.sha256(cose[-2]).digest()
        data = hashlib.sha256(options["rp"]["id"].encode()).digest() + b"\x45" + bytes(4)
        data += aaguid + len(identifier).to_bytes(2, "big") + identifier + cbor2.dumps(cose)
        client_data = {"type": "webauthn.create", "challenge": options["challenge"], "origin": origin}
        client_data = json.dumps(client_data | {"crossOrigin": False}).encode()
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        statement = {"alg": -7, "sig": signature, "x5c": [self.batch.public_bytes(Encoding.DER)]}
        attestation = cbor2.dumps({"fmt": "packed", "attStmt": statement, "authData": data})
        identifier = base64url(identifier)
        return {
            "id": identifier, "rawId": identifier, "type": "public-key", "clientExtensionResults": {},
            "authenticatorAttachment": "cross-platform",
            "response": {
                "clientDataJSON": base64url(client_data), "attestationObject": base64url(attestation),
                "transports": ["usb"],
            },
        }


class Publisher:
    """Who signs BLOBs, under a root of their own."""

    def __init__(self):
        self.root = Authority("The publisher's root")
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.certified("mds.fidoalliance.org")

    def certified(self, name):
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self.root.issue(self.key, [(NameOID.COMMON_NAME, "Metadata")], [(names, False)])

    def blob(self, model, reports, number=1, next_update="2036-01-01"):
        statement = {
            "description": "A model of the test", "icon": ICON, "attestationTypes": ["basic_full"],
            "attestationRootCertificates": [der(model.maker.certificate)],
        }
        entry = {
            "aaguid": AAGUID_TEXT, "metadataStatement": statement,
            "statusReports": [{"status": status, "effectiveDate": "2026-01-01"} for status in reports],
            "timeOfLastStatusChange": "2026-01-01",
        }
        return self.sign([entry], number, next_update)

    def sign(self, entries, number=1, next_update="2036-01-01"):
        header = {"alg": "ES256", "typ": "JWT", "x5c": [der(self.certificate)]}
        payload = {"legalHeader": "", "no": number, "nextUpdate": next_update, "entries": entries}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, payload))
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class World:
    def __init__(self, folder):
        self.folder, self.model, self.publisher = folder, Model(), Publisher()

    def start(self, *reports, root=None, more=(), number=1, next_update="2036-01-01"):
        files = {
            "blob.jwt": self.publisher.blob(self.model, reports, number, next_update),
            "root.pem": (root or self.publisher.root).pem().decode(),
            "policy.toml": POLICY,
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)
        return RelyingParty(
            "--mds", self.folder / "blob.jwt", "--mds-root", self.folder / "root.pem",
            "--policy", self.folder / "policy.toml", *more,
        )


def sign_up(party, model, **wrong):
    visitor = Visitor(party)
    status, options = visitor.json("/signup/passkey/options", {"email": "ada@example.org"})
    assert (status, options["publicKey"]["attestation"]) == (200, "direct")
    status, answer = visitor.json("/signup/passkey", model.register(options["publicKey"], party.url, **wrong))
    return visitor, status, answer


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_model_of_the_list_registers_and_shows_its_name(world):
    names = world.folder / "names.json"
    names.write_text(json.dumps({AAGUID_TEXT: {"name": "The community's name"}}))
    with world.start("FIDO_CERTIFIED_L1", more=("--aaguids", names)) as party:
        visitor, status, answer = sign_up(party, world.model)
        assert (status, answer) == (200, {"next": "/account"})
        assert "The community" in visitor.get("/account")[2]
        assert party.codes() == ["ss", "s"]
        assert "metadata" not in party.events()[0]["details"]["webauthn"], "there is nothing to look at"
    assert "overdue" not in party.complaints


def test_a_card_shows_what_the_list_calls_a_model_and_its_icon(world):
    with world.start("FIDO_CERTIFIED_L1") as party:
        visitor, status, _ = sign_up(party, world.model)
        page = visitor.get("/account")[2]
        assert status == 200 and "<h2>A model of the test" in page
        assert f'<img src="{ICON}" alt=""' in page


def test_an_overdue_blob_is_told(world):
    with world.start("FIDO_CERTIFIED_L1", next_update="2025-01-01") as party:
        _, status, _ = sign_up(party, world.model)
        assert status == 200, "it is better than none"
        event = party.events()[0]
        told = " ".join(event["details"]["webauthn"]["metadata"])
        assert event["type"] == "ss" and "overdue: the next was expected on 2025-01-01" in told
    assert "warning: the metadata BLOB is overdue, the next was expected on 2025-01-01: get the newest" in party.complaints


@pytest.mark.parametrize("report", ["UPDATE_AVAILABLE", "SOMETHING_NEW"])
def test_a_report_to_look_at_is_in_the_event(world, report):
    with world.start("FIDO_CERTIFIED_L1", "FIPS140_CERTIFIED_L3", report) as party:
        _, status, _ = sign_up(party, world.model)
        assert status == 200
        assert f"reported: {report}" in party.events()[0]["details"]["webauthn"]["metadata"]


def test_a_policy_that_requires_metadata_is_warned_of_at_the_start_where_none_was_loaded(tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)
    with RelyingParty("--policy", tmp_path / "policy.toml") as party:
        _, status, answer = sign_up(party, Model())
        assert (status, answer["error"], party.codes()) == (400, "passkey-enrollment-failure", ["fs"])
    assert "warning: passkey.metadata is required, and no metadata was loaded (--mds)" in party.complaints


@pytest.mark.parametrize("report", ["REVOKED", "USER_VERIFICATION_BYPASS", "ATTESTATION_KEY_COMPROMISE"])
def test_a_model_that_a_report_speaks_against_is_refused_with_one_event(world, report):
    with world.start("FIDO_CERTIFIED_L1", report) as party:
        _, status, answer = sign_up(party, world.model)
        assert (status, answer["error"]) == (400, "passkey-enrollment-failure")
        (event,) = party.events()
        assert event["type"] == "fs" and report in event["details"]["error"]["message"]
        told = event["details"]["webauthn"]
        assert (told["aaguid"], told["transports"], told["uv"]) == (AAGUID_TEXT, ["usb"], True), "which model it was"


def test_another_makers_key_that_claims_to_be_the_model_is_refused(world):
    with world.start("FIDO_CERTIFIED_L1") as party:
        _, status, _ = sign_up(party, Model())
        assert (status, party.codes()) == (400, ["fs"])


def test_a_model_that_is_not_in_the_list_is_refused(world):
    with world.start("FIDO_CERTIFIED_L1") as party:
        stranger = Model()
        aaguid = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4"), b"\x04\x10" + bytes(16))
        names = [
            (NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "A maker"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "Authenticator Attestation"), (NameOID.COMMON_NAME, "A batch"),
        ]
        stranger.batch = stranger.maker.issue(stranger.key, names, [(aaguid, False)])
        _, status, _ = sign_up(party, stranger, aaguid=bytes(16))
        assert (status, party.codes()) == (400, ["fs"])


def test_a_blob_that_the_operators_root_does_not_vouch_for_stops_the_start(world):
    with pytest.raises(RuntimeError, match="(?s)error: .*hint: get the newest BLOB, and name the root"):
        world.start("FIDO_CERTIFIED_L1", root=Authority("Another root"))


def test_a_blob_by_somebody_else_under_the_root_is_refused_unless_the_operator_names_them(world):
    world.publisher.certificate = world.publisher.certified("metadata.example.org")
    with pytest.raises(RuntimeError, match="(?s)error: .*is not the publisher.*hint: .*--mds-publisher"):
        world.start("FIDO_CERTIFIED_L1")
    with world.start("FIDO_CERTIFIED_L1", more=("--mds-publisher", "metadata.example.org")) as party:
        assert sign_up(party, world.model)[1] == 200


def test_an_older_blob_than_the_newest_seen_stops_the_start(world):
    database = ("--db", f"sqlite:{world.folder / 'accounts.db'}")
    with world.start("FIDO_CERTIFIED_L1", more=database, number=9):
        pass
    with pytest.raises(RuntimeError, match="(?s)error: .*hint: "):
        world.start("FIDO_CERTIFIED_L1", more=database, number=8)
    with world.start("FIDO_CERTIFIED_L1", more=database, number=10):
        pass


def crl(world, *lists):
    """The options for these lists, all in one file."""
    path = world.folder / "lists.pem"
    path.write_bytes(b"".join(lists))
    return "--mds-crl", path


@pytest.mark.parametrize("days", [(-1, 30), (-30, -1)], ids=["in time", "overdue"])
def test_a_key_whose_certificate_has_been_revoked_is_refused_with_one_event(world, days):
    model = world.model
    with world.start(more=crl(world, world.publisher.root.revokes(), model.maker.revokes(model.batch, days=days))) as party:
        _, status, answer = sign_up(party, model)
        assert (status, answer["error"]) == (400, "passkey-enrollment-failure")
        (event,) = party.events()
        assert event["type"] == "fs" and "revoked by its issuer" in event["details"]["error"]["message"]
    assert ("is overdue" in party.complaints) == (days[1] < 0)


def test_only_its_issuer_revokes_a_certificate(world):
    model, namesake = world.model, Authority("The maker's root")
    others = model.maker.issue(model.key, [(NameOID.COMMON_NAME, "Another batch")])
    with world.start(more=crl(world, namesake.revokes(model.batch), model.maker.revokes(others))) as party:
        _, status, _ = sign_up(party, model)
        assert (status, party.codes()) == (200, ["ss", "s"])


def test_a_blob_whose_signers_certificate_has_been_revoked_stops_the_start(world):
    revoked = crl(world, world.publisher.root.revokes(world.publisher.certificate))
    with pytest.raises(RuntimeError, match="(?s)error: .*revoked by its issuer.*hint: "):
        world.start(more=revoked)


@pytest.mark.parametrize("extension, what", [
    (x509.DeltaCRLIndicator(1), "only says what has changed"),
    (x509.IssuingDistributionPoint(None, None, False, False, None, True, False), "other authorities"),
    (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0"), "critical extension"),
    (None, "neither DER nor PEM"),
])
def test_a_list_that_cannot_be_used_stops_the_start(world, extension, what):
    lists = crl(world, b"no list" if extension is None else world.model.maker.revokes(extensions=[(extension, True)]))
    with pytest.raises(RuntimeError, match=f"(?s)error: .*{what}.*hint: name whole lists"):
        world.start(more=lists)
