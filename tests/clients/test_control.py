"""WebDriver's virtual authenticators and `/v1`, over HTTP, with python-fido2 at the device."""

import base64
import hashlib
import json
import os
import urllib.error
import urllib.request

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from fido2.cose import CoseKey, ES256
from fido2.ctap import CtapError
from fido2.ctap2 import Ctap2, LargeBlobs
from fido2.ctap2.pin import ClientPin

BASE = "/session/s1/webauthn/authenticator"
CLIENT_DATA_HASH = hashlib.sha256(b"client data").digest()
USUAL = {"protocol": "ctap2_1", "transport": "usb", "hasResidentKey": True, "isUserVerified": True}


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unbase64url(text):
    return base64.urlsafe_b64decode(text + "==")


class Driver:
    def __init__(self, authenticator):
        self.authenticator = authenticator

    def __call__(self, method, path, body=None):
        return self.authenticator.control(method, path, body)["value"]

    def refused(self, method, path, body=None):
        """WebDriver's error code."""
        with pytest.raises(urllib.error.HTTPError) as failed:
            self(method, path, body)
        return json.loads(failed.value.read())["value"]["error"]

    def add(self, **options):
        """A virtual authenticator, and a python-fido2 device that is attached to it."""
        before = {device["busid"] for device in self.devices()}
        identifier = self("POST", BASE, USUAL | options)
        assert 0 < len(identifier) <= 48
        (busid,) = {device["busid"] for device in self.devices()} - before
        return f"{BASE}/{identifier}", self.authenticator.attach(busid)

    def devices(self):
        return self.authenticator.control("GET", "/v1/devices")["devices"]


@pytest.fixture
def driver(authenticator):
    return Driver(authenticator)


def make(device, **options):
    user = {"id": b"mona", "name": "mona@example.com", "displayName": "Mona"}
    parameters = [{"type": "public-key", "alg": -7}]
    return Ctap2(device).make_credential(CLIENT_DATA_HASH, {"id": "example.com"}, user, parameters, options=options)


def get(device, allow=None):
    allowed = allow and [{"type": "public-key", "id": allow}]
    return Ctap2(device).get_assertion("example.com", CLIENT_DATA_HASH, allowed)


def parameters(key, **others):
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {
        "credentialId": base64url(b"an injected credential"),
        "isResidentCredential": True,
        "rpId": "example.com",
        "privateKey": base64url(private),
        "userHandle": base64url(b"mona"),
        "signCount": 40,
    } | others


def test_a_credential_made_by_a_client_is_read_back_with_its_key(driver):
    path, device = driver.add()
    made = make(device, rk=True)
    (credential,) = driver("GET", f"{path}/credentials")
    assert unbase64url(credential["credentialId"]) == made.auth_data.credential_data.credential_id
    assert (credential["rpId"], credential["isResidentCredential"]) == ("example.com", True)
    assert (credential["userName"], credential["userDisplayName"]) == ("mona@example.com", "Mona")
    assert unbase64url(credential["userHandle"]) == b"mona"
    key = load_der_private_key(unbase64url(credential["privateKey"]), None)
    assert dict(ES256.from_cryptography_key(key.public_key())) == dict(made.auth_data.credential_data.public_key)
    assertion = get(device)
    assert driver("GET", f"{path}/credentials")[0]["signCount"] == assertion.auth_data.counter


def test_an_injected_credential_signs_and_counts_on(driver):
    path, device = driver.add()
    key = ec.generate_private_key(ec.SECP256R1())
    driver("POST", f"{path}/credential", parameters(key))
    assertion = get(device)
    assert assertion.credential["id"] == b"an injected credential" and assertion.user["id"] == b"mona"
    assert assertion.auth_data.counter > 40
    CoseKey.parse(ES256.from_cryptography_key(key.public_key())).verify(
        assertion.auth_data + CLIENT_DATA_HASH, assertion.signature
    )


def test_an_injected_credential_that_is_not_resident_needs_its_id(driver):
    path, device = driver.add(hasResidentKey=False)
    resident = parameters(ec.generate_private_key(ec.SECP256R1()))
    assert driver.refused("POST", f"{path}/credential", resident) == "invalid argument"
    driver("POST", f"{path}/credential", resident | {"isResidentCredential": False, "signCount": None})
    with pytest.raises(CtapError) as failed:
        get(device)
    assert failed.value.code == CtapError.ERR.NO_CREDENTIALS
    assert get(device, b"an injected credential").auth_data.counter == 0


def test_properties_change_what_is_signed(driver):
    path, device = driver.add(defaultBackupEligibility=True)
    identifier = base64url(make(device, rk=True).auth_data.credential_data.credential_id)
    assert not get(device).auth_data.flags & 0x10
    driver("POST", f"{path}/credentials/{identifier}/props", {"backupState": True})
    assert get(device).auth_data.flags & 0x18 == 0x18
    driver("POST", f"{path}/credentials/{identifier}/props", {"signCount": 7})
    assert get(device).auth_data.counter == 8
    assert driver.refused("POST", f"{path}/credentials/AAAA/props", {}) == "invalid argument"


def test_credentials_are_removed_one_by_one_and_all_at_once(driver):
    path, device = driver.add()
    key = ec.generate_private_key(ec.SECP256R1())
    for number in range(3):
        driver("POST", f"{path}/credential", parameters(key, credentialId=base64url(bytes([number] * 16))))
    driver("DELETE", f"{path}/credentials/{base64url(bytes([1] * 16))}")
    assert len(driver("GET", f"{path}/credentials")) == 2
    driver("DELETE", f"{path}/credentials")
    assert driver("GET", f"{path}/credentials") == []


def test_the_user_consents_and_is_verified_as_configured(driver):
    _, device = driver.add(isUserConsenting=False)
    with pytest.raises(CtapError) as failed:
        make(device)
    assert failed.value.code == CtapError.ERR.OPERATION_DENIED
    path, device = driver.add(hasUserVerification=True)
    assert make(device, uv=True).auth_data.flags & 0x04
    driver("POST", f"{path}/uv", {"isUserVerified": False})
    for _ in range(6):
        with pytest.raises(CtapError):
            make(device, uv=True)
    driver("POST", f"{path}/uv", {"isUserVerified": True})
    assert make(device, uv=True).auth_data.flags & 0x04


def test_what_is_asked_for_is_what_get_info_says(driver):
    _, device = driver.add(extensions=["prf", "largeBlob", "credProps"], hasCredBlob=True, transport="nfc")
    info = Ctap2(device).info
    assert {"hmac-secret", "largeBlobKey", "credBlob"} <= set(info.extensions)
    assert info.transports == ["nfc"] and info.options["rk"] and "uv" not in info.options
    _, device = driver.add(protocol="ctap1/u2f", hasResidentKey=False)
    with pytest.raises(Exception):
        make(device)


def test_what_webdriver_refuses(driver):
    assert driver.refused("POST", BASE, USUAL | {"favouriteColour": "red"}) == "invalid argument"
    assert driver.refused("POST", BASE, USUAL | {"protocol": "ctap9"}) == "invalid argument"
    assert driver.refused("POST", BASE, USUAL | {"transport": "pigeon"}) == "invalid argument"
    assert driver.refused("POST", BASE, USUAL | {"extensions": ["mindReading"]}) == "unsupported operation"
    assert driver.refused("GET", f"{BASE}/nobody/credentials") == "invalid argument"
    path, _ = driver.add()
    assert driver.refused("GET", f"{path.replace('s1', 's2')}/credentials") == "invalid argument"


def test_a_session_ends_with_its_authenticators(driver):
    session = driver("POST", "/session", {})["sessionId"]
    driver("POST", f"/session/{session}/webauthn/authenticator", USUAL)
    assert len(driver.devices()) == 2
    driver("DELETE", f"/session/{session}")
    assert len(driver.devices()) == 1
    path, _ = driver.add()
    driver("DELETE", path)
    assert len(driver.devices()) == 1


def test_devtools_override_bits_and_presence(driver):
    path, device = driver.add()
    made = make(device, rk=True)
    key = CoseKey.parse(made.auth_data.credential_data.public_key)
    driver("POST", f"{path}/overrides", {"isBogusSignature": True, "isBadUP": True})
    assertion = get(device)
    assert not assertion.auth_data.flags & 0x01
    with pytest.raises(Exception):
        key.verify(assertion.auth_data + CLIENT_DATA_HASH, assertion.signature)
    driver("POST", f"{path}/overrides", {})
    driver("POST", f"{path}/presence", {"enabled": False})
    number = max(device["number"] for device in driver.devices())
    driver.authenticator.control("POST", f"/v1/devices/{number}/user/press")
    assertion = get(device)
    key.verify(assertion.auth_data + CLIENT_DATA_HASH, assertion.signature)


def test_a_large_blob_is_injected_and_read_by_a_client_and_back(driver):
    path, device = driver.add(extensions=["largeBlob"])
    key = ec.generate_private_key(ec.SECP256R1())
    driver("POST", f"{path}/credential", parameters(key, largeBlob=base64url(b"a certificate, say")))
    assertion = Ctap2(device).get_assertion("example.com", CLIENT_DATA_HASH, extensions={"largeBlobKey": True})
    blobs = LargeBlobs(Ctap2(device))
    assert blobs.get_blob(assertion.large_blob_key) == b"a certificate, say"
    (listed,) = driver("GET", f"{path}/credentials")
    assert unbase64url(listed["largeBlob"]) == b"a certificate, say"
    blobs.put_blob(assertion.large_blob_key, b"another")
    (listed,) = driver("GET", f"{path}/credentials")
    assert unbase64url(listed["largeBlob"]) == b"another"
    driver("DELETE", f"{path}/credentials/{listed['credentialId']}")
    assert blobs.read_blob_array() == []


def test_a_large_blob_needs_a_resident_credential_a_place_and_room(driver):
    key, blob = ec.generate_private_key(ec.SECP256R1()), base64url(b"blob")
    without, _ = driver.add()
    assert driver.refused("POST", f"{without}/credential", parameters(key, largeBlob=blob)) == "unsupported operation"
    path, _ = driver.add(extensions=["largeBlob"])
    other = parameters(key, largeBlob=blob, isResidentCredential=False)
    assert driver.refused("POST", f"{path}/credential", other) == "unsupported operation"
    large = parameters(key, largeBlob=base64url(os.urandom(4097)))
    assert driver.refused("POST", f"{path}/credential", large) == "invalid argument"
    assert driver("GET", f"{path}/credentials") == []


def test_devtools_events_tell_what_happens_to_credentials(driver):
    path, device = driver.add()
    authenticator = path.rsplit("/", 1)[1]
    with driver.authenticator.events("/session/s1/webauthn/events") as events:
        made = make(device, rk=True)
        identifier = made.auth_data.credential_data.credential_id
        get(device)
        driver("POST", f"{path}/credentials/{base64url(identifier)}/props", {"signCount": 90})
        get(device)
        driver("DELETE", f"{path}/credentials/{base64url(identifier)}")
        told = [next(events) for _ in range(5)]
    assert [event["method"].removeprefix("WebAuthn.") for event in told] == [
        "credentialAdded",
        "credentialAsserted",
        "credentialUpdated",
        "credentialAsserted",
        "credentialDeleted",
    ]
    assert {event["params"]["authenticatorId"] for event in told} == {authenticator}
    added, asserted, updated, again, deleted = (event["params"] for event in told)
    assert base64.b64decode(added["credential"]["credentialId"]) == identifier
    assert added["credential"]["rpId"] == "example.com" and added["credential"]["userName"] == "mona@example.com"
    assert load_der_private_key(base64.b64decode(added["credential"]["privateKey"]), None)
    counts = [event["credential"]["signCount"] for event in (added, asserted, updated, again)]
    assert counts == [0, 1, 90, 91]
    assert base64.b64decode(deleted["credentialId"]) == identifier


def test_a_credential_without_a_counter_is_told_when_it_signs(driver):
    path, device = driver.add(defaultBackupEligibility=True)
    with driver.authenticator.events("/session/s1/webauthn/events") as events:
        make(device, rk=True)
        get(device)
        added, asserted = next(events), next(events)
    assert asserted["method"] == "WebAuthn.credentialAsserted"
    assert added["params"]["credential"]["signCount"] == -1


def test_a_credential_that_is_not_resident_is_listed_too(driver):
    path, device = driver.add()
    identifier = make(device).auth_data.credential_data.credential_id
    (listed,) = driver("GET", f"{path}/credentials")
    assert unbase64url(listed["credentialId"]) == identifier and listed["isResidentCredential"] is False
    assert get(device, identifier)
    with pytest.raises(CtapError):
        get(device)


def test_v1_moves_a_credential_from_one_device_to_another(authenticator, device):
    made = make(device, rk=True, uv=True)
    identifier = base64url(made.auth_data.credential_data.credential_id)
    (summary,) = authenticator.control("GET", "/v1/devices/1/credentials")["credentials"]
    assert summary["id"] == identifier and "private_key" not in summary
    record = authenticator.control("GET", f"/v1/devices/1/credentials/{identifier}?with_keys=true")
    other = authenticator.control("POST", "/v1/devices", {"user": {"manner": "auto"}})
    authenticator.control("POST", f"/v1/devices/{other['number']}/credentials", record)
    authenticator.control("DELETE", f"/v1/devices/1/credentials/{identifier}")
    assertion = get(authenticator.attach(other["busid"]))
    CoseKey.parse(made.auth_data.credential_data.public_key).verify(
        assertion.auth_data + CLIENT_DATA_HASH, assertion.signature
    )
    assert authenticator.control("GET", "/v1/devices/1")["credentials"] == 0


def test_v1_sets_and_removes_the_pin(authenticator):
    assert authenticator.control("PUT", "/v1/devices/1/pin", {"pin": "1234"})["set"] is True
    device = authenticator.attach()
    with pytest.raises(CtapError) as failed:
        ClientPin(Ctap2(device)).get_pin_token("4321", ClientPin.PERMISSION.GET_ASSERTION, "example.com")
    assert failed.value.code == CtapError.ERR.PIN_INVALID
    assert authenticator.control("GET", "/v1/devices/1/pin") == {"set": True, "retries": 7, "uv_retries": 5}
    assert ClientPin(Ctap2(device)).get_pin_token("1234", ClientPin.PERMISSION.GET_ASSERTION, "example.com")
    assert authenticator.control("DELETE", "/v1/devices/1/pin")["set"] is False
    assert Ctap2(authenticator.attach()).info.options["clientPin"] is False


def test_v1_picks_the_account(authenticator, device):
    for name in (b"first", b"second", b"third"):
        user, parameters = {"id": name, "name": name.decode()}, [{"type": "public-key", "alg": -7}]
        options = {"rk": True, "uv": True}
        Ctap2(device).make_credential(CLIENT_DATA_HASH, {"id": "example.com"}, user, parameters, options=options)
    authenticator.control("POST", "/v1/devices/1/user/pick", {"account": 2})
    picked = Ctap2(device).get_assertion("example.com", CLIENT_DATA_HASH)
    assert picked.user["id"] == b"first"


def test_v1_names_the_accounts_to_choose_from(start):
    authenticator = start("--ephemeral", "--user", "auto")
    client = Ctap2(authenticator.attach())
    for name in ("first", "second"):
        user = {"id": name.encode(), "name": name, "displayName": name.title()}
        parameters, options = [{"type": "public-key", "alg": -7}], {"rk": True, "uv": True}
        client.make_credential(CLIENT_DATA_HASH, {"id": "example.com"}, user, parameters, options=options)
    with authenticator.events("/v1/events") as events:
        first = client.get_assertion("example.com", CLIENT_DATA_HASH)
        prompted = next(event for event in events if event["event"] == "prompted")
    assert prompted["accounts"] == 2
    assert prompted["account_names"] == [
        {"user_name": "second", "user_display_name": "Second"},
        {"user_name": "first", "user_display_name": "First"},
    ]
    # Nobody chose: the platform gets them all.
    assert first.number_of_credentials == 2 and first.user["id"] == b"second"
    assert client.get_next_assertion().user["id"] == b"first"


def test_a_persona_with_a_display_gives_the_account_that_its_user_chose(start):
    authenticator = start("--ephemeral", "--user", "auto", "--persona", "icloud-keychain")
    client = Ctap2(authenticator.attach())
    for name in ("first", "second"):
        user, parameters = {"id": name.encode(), "name": name}, [{"type": "public-key", "alg": -7}]
        client.make_credential(CLIENT_DATA_HASH, {"id": "example.com"}, user, parameters, options={"uv": True})
    newest = client.get_assertion("example.com", CLIENT_DATA_HASH)
    assert newest.user["id"] == b"second" and newest.number_of_credentials is None and newest.user_selected
    authenticator.control("POST", "/v1/devices/1/user/pick", {"account": 1})
    assert client.get_assertion("example.com", CLIENT_DATA_HASH).user["id"] == b"first"


def test_v1_makes_a_device_another_persona(authenticator):
    authenticator.control("PUT", "/v1/devices/1/persona", {"persona": "yubikey-5-nfc"})
    info = Ctap2(authenticator.attach()).info
    assert str(info.aaguid) == "2fc0579f-8113-47ea-b116-bb5a8db9202a" and info.max_msg_size == 1200
    assert authenticator.control("GET", "/v1/devices/1/metadata")["aaguid"] == str(info.aaguid)
    with pytest.raises(urllib.error.HTTPError):
        authenticator.control("PUT", "/v1/devices/1/persona", {"persona": "/etc/passwd.toml"})


def test_v1_resets_and_replugs(authenticator, device):
    make(device, rk=True, uv=True)
    assert authenticator.control("POST", "/v1/devices/1/reset")["credentials"] == 0
    with pytest.raises(CtapError):
        get(authenticator.attach())
