"""python-fido2, unmodified, over the USB/IP socket."""

import os
import threading

import pytest
from fido2.client import (
    ClientError,
    DefaultClientDataCollector,
    Fido2Client,
    UserInteraction,
)
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin, Ctap2
from fido2.ctap2.extensions import HmacSecretExtension
from fido2.ctap2.pin import PinProtocolV1, PinProtocolV2
from fido2.server import Fido2Server
from fido2.webauthn import AttestationObject, PublicKeyCredentialRpEntity

import usbip

ORIGIN = "https://example.com"
USER = {"id": b"a-user-handle", "name": "alice@example.com", "displayName": "Alice"}
PIN = "a1b2c3d4"


class Interaction(UserInteraction):
    def __init__(self, pin=PIN):
        self.pin = pin

    def request_pin(self, permissions, rp_id):
        return self.pin

    def request_uv(self, permissions, rp_id):
        return True


def client_for(device, pin=PIN):
    return Fido2Client(
        device,
        client_data_collector=DefaultClientDataCollector(ORIGIN),
        user_interaction=Interaction(pin),
        extensions=[HmacSecretExtension(allow_hmac_secret=True)],
    )


def server():
    return Fido2Server(PublicKeyCredentialRpEntity(id="example.com", name="Example"), attestation="direct")


def sign_up(client, relying_party, user=USER, **options):
    request, state = relying_party.register_begin(user, **options)
    answer = client.make_credential(request.public_key)
    return relying_party.register_complete(state, answer), answer


def sign_in(client, relying_party, credentials, allow=None, **options):
    request, state = relying_party.authenticate_begin(allow, **options)
    selection = client.get_assertion(request.public_key)
    answer = selection.get_response(0)
    relying_party.authenticate_complete(state, credentials, answer)
    return answer


def refused(error, call, *arguments, **options):
    with pytest.raises(CtapError) as raised:
        call(*arguments, **options)
    assert raised.value.code == error, raised.value


# -- the USB side


def test_is_listed_as_a_hid_device(authenticator):
    (device,) = usbip.devices(authenticator.usbip)
    assert device["busid"] == "1-1"
    assert device["interface_classes"] == [(3, 0, 0)]


def test_is_listed_while_attached_too(authenticator):
    authenticator.attach()
    assert [device["busid"] for device in usbip.devices(authenticator.usbip)] == ["1-1"]


def test_refuses_a_second_attachment_until_the_first_has_gone(authenticator):
    first = authenticator.attach()
    with pytest.raises(OSError):
        usbip.UsbIpConnection(authenticator.usbip)
    assert first.ping(b"still here") == b"still here"
    first.close()
    assert authenticator.attach().ping(b"again") == b"again"


def test_refuses_a_bus_id_that_is_not_here(authenticator):
    with pytest.raises(usbip.AttachError):
        usbip.UsbIpConnection(authenticator.usbip, "9-9")


def test_takes_back_the_outstanding_transfer(authenticator):
    connection = usbip.UsbIpConnection(authenticator.usbip)
    assert connection.unlink() == -usbip.ECONNRESET
    connection.close()


def test_several_devices_are_apart(start):
    authenticator = start("--ephemeral", "--user", "auto", "--devices", "2")
    first, second = authenticator.attach("1-1"), authenticator.attach("1-2")
    sign_up(client_for(first), server(), resident_key_requirement="required")
    refused(CtapError.ERR.NO_CREDENTIALS, Ctap2(second).get_assertion, "example.com", b"\0" * 32)
    assert len(Ctap2(first).get_assertion("example.com", b"\0" * 32).signature) > 60


def test_survives_fifty_replugs(authenticator):
    for _ in range(50):
        device = authenticator.attach()
        assert device.ping(b"x" * 100) == b"x" * 100
        device.close()


# -- CTAPHID


@pytest.mark.parametrize("size", [0, 1, 57, 58, 59, 116, 117, 1024, 7608, 7609])
def test_pings_of_every_shape(device, size):
    payload = os.urandom(size)
    assert device.ping(payload) == payload


def test_winks_and_locks(device):
    device.wink()
    device.lock(1)
    assert device.ping() == b"Hello FIDO"
    device.lock(0)


# -- registration and assertion


@pytest.mark.parametrize("algorithm", [-7, -8])
def test_signs_up_and_in(device, algorithm):
    relying_party, client = server(), client_for(device)
    relying_party.allowed_algorithms = [a for a in relying_party.allowed_algorithms if a.alg == algorithm]
    data, answer = sign_up(client, relying_party, resident_key_requirement="required")
    assert data.credential_data.public_key[3] == algorithm
    assert answer.response.attestation_object.fmt in ("packed", "none")
    answer = sign_in(client, relying_party, [data.credential_data])
    assert answer.response.user_handle == USER["id"]


def test_packed_self_attestation_verifies(device):
    from fido2.attestation import PackedAttestation

    response = Ctap2(device).make_credential(
        b"\x01" * 32, {"id": "example.com", "name": "Example"}, USER, [{"type": "public-key", "alg": -7}]
    )
    assert response.fmt == "packed" and "x5c" not in response.att_stmt
    PackedAttestation().verify(response.att_stmt, response.auth_data, b"\x01" * 32)


def test_a_non_discoverable_credential_works_only_with_its_id(device):
    relying_party, client = server(), client_for(device)
    data, _ = sign_up(client, relying_party, resident_key_requirement="discouraged")
    sign_in(client, relying_party, [data.credential_data], allow=[data.credential_data])
    refused(CtapError.ERR.NO_CREDENTIALS, Ctap2(device).get_assertion, "example.com", b"\0" * 32)
    allow = [{"type": "public-key", "id": data.credential_data.credential_id}]
    refused(CtapError.ERR.NO_CREDENTIALS, Ctap2(device).get_assertion, "example.org", b"\0" * 32, allow)


def test_an_excluded_credential_is_not_made_twice(device):
    relying_party, client = server(), client_for(device)
    data, _ = sign_up(client, relying_party, resident_key_requirement="required")
    with pytest.raises(ClientError) as raised:
        sign_up(client, relying_party, credentials=[data.credential_data], resident_key_requirement="required")
    assert raised.value.code == ClientError.ERR.DEVICE_INELIGIBLE


def test_lists_of_fifty_ids_are_read_to_their_end(device):
    relying_party, client = server(), client_for(device)
    data, _ = sign_up(client, relying_party, resident_key_requirement="required")
    own = {"type": "public-key", "id": data.credential_data.credential_id}
    others = [{"type": "public-key", "id": os.urandom(64)} for _ in range(50)]
    assert Ctap2(device).get_assertion("example.com", b"\0" * 32, others + [own]).credential["id"] == own["id"]


def test_gives_all_accounts_newest_first(device):
    relying_party, client = server(), client_for(device)
    for number in range(3):
        user = {"id": bytes([number]), "name": f"user{number}", "displayName": f"User {number}"}
        sign_up(client, relying_party, user=user, resident_key_requirement="required")
    found = Ctap2(device).get_assertions("example.com", b"\0" * 32)
    assert [assertion.user["id"] for assertion in found] == [b"\x02", b"\x01", b"\x00"]


def test_a_second_credential_of_an_account_replaces_the_first(device):
    relying_party, client = server(), client_for(device)
    first, _ = sign_up(client, relying_party, resident_key_requirement="required")
    second, _ = sign_up(client, relying_party, resident_key_requirement="required")
    (found,) = Ctap2(device).get_assertions("example.com", b"\0" * 32)
    assert found.credential["id"] == second.credential_data.credential_id != first.credential_data.credential_id


def test_what_was_made_is_there_after_a_replug(authenticator):
    relying_party = server()
    device = authenticator.attach()
    data, _ = sign_up(client_for(device), relying_party, resident_key_requirement="required")
    device.close()
    sign_in(client_for(authenticator.attach()), relying_party, [data.credential_data])


# -- PIN


@pytest.mark.parametrize("protocol", [PinProtocolV1, PinProtocolV2])
def test_a_pin_is_set_changed_wrong_and_locked(authenticator, protocol):
    device = authenticator.attach()
    ctap = Ctap2(device)
    pin = ClientPin(ctap, protocol())
    pin.set_pin(PIN)
    assert ctap.get_info().options["clientPin"] is True
    pin.change_pin(PIN, "e5f6g7h8")
    assert pin.get_pin_token("e5f6g7h8", ClientPin.PERMISSION.GET_ASSERTION, "example.com")
    retries, _ = pin.get_pin_retries()
    assert retries == 8
    for _ in range(2):
        refused(CtapError.ERR.PIN_INVALID, pin.get_pin_token, "wrong")
    refused(CtapError.ERR.PIN_AUTH_BLOCKED, pin.get_pin_token, "wrong")
    refused(CtapError.ERR.PIN_AUTH_BLOCKED, pin.get_pin_token, "e5f6g7h8")
    assert pin.get_pin_retries()[0] == 5

    # A power cycle gives three more tries, never more than eight in all.
    for left in (2, 0):
        device.close()
        device = authenticator.attach()
        pin = ClientPin(Ctap2(device), protocol())
        for number in range(3):
            if pin.get_pin_retries()[0] == 0:
                break
            with pytest.raises(CtapError):
                pin.get_pin_token("wrong")
        assert pin.get_pin_retries()[0] == left
    device.close()
    pin = ClientPin(Ctap2(authenticator.attach()), protocol())
    refused(CtapError.ERR.PIN_BLOCKED, pin.get_pin_token, "e5f6g7h8")


def test_a_right_pin_gives_the_tries_back(device):
    pin = ClientPin(Ctap2(device))
    pin.set_pin(PIN)
    refused(CtapError.ERR.PIN_INVALID, pin.get_pin_token, "wrong")
    pin.get_pin_token(PIN)
    assert pin.get_pin_retries()[0] == 8


@pytest.mark.parametrize("short", ["abc", "ab"])
def test_a_short_pin_is_refused(device, short):
    with pytest.raises((CtapError, ValueError)):
        ClientPin(Ctap2(device)).set_pin(short)


def test_signs_in_with_a_pin_and_says_so(device):
    ClientPin(Ctap2(device)).set_pin(PIN)
    relying_party, client = server(), client_for(device)
    data, answer = sign_up(
        client, relying_party, resident_key_requirement="required", user_verification="required"
    )
    assert data.is_user_verified()
    answer = sign_in(client, relying_party, [data.credential_data], user_verification="required")
    assert answer.response.authenticator_data.is_user_verified()


# -- hmac-secret


@pytest.mark.parametrize("protocol", [PinProtocolV1, PinProtocolV2])
def test_hmac_secret_is_stable_and_depends_on_salt_and_verification(device, protocol):
    protocols, ClientPin.PROTOCOLS = ClientPin.PROTOCOLS, [protocol]
    try:
        ClientPin(Ctap2(device)).set_pin(PIN)
        relying_party, client = server(), client_for(device)
        request, state = relying_party.register_begin(
            USER, resident_key_requirement="required", user_verification="required"
        )
        options = dict(request.public_key) | {"extensions": {"hmacCreateSecret": True}}
        answer = client.make_credential(options)
        assert answer.client_extension_results.hmac_create_secret is True
        data = relying_party.register_complete(state, answer)

        def secrets(salt1, salt2=None, **chosen):
            inputs = {"salt1": salt1} | ({"salt2": salt2} if salt2 else {})
            begin, _ = relying_party.authenticate_begin([data.credential_data], **chosen)
            options = dict(begin.public_key) | {"extensions": {"hmacGetSecret": inputs}}
            result = client.get_assertion(options).get_response(0).client_extension_results.hmac_get_secret
            return (result.output1, result.output2) if salt2 else result.output1

        salt1, salt2 = b"\x01" * 32, b"\x02" * 32
        one = secrets(salt1, user_verification="required")
        assert len(one) == 32
        assert secrets(salt1, salt2, user_verification="required") == (one, secrets(salt2, user_verification="required"))
    finally:
        ClientPin.PROTOCOLS = protocols


# -- the user


def test_ends_when_the_platform_cancels(start):
    device = start("--ephemeral", "--user", "control").attach()
    cancel, statuses = threading.Event(), []

    def on_keepalive(status):
        statuses.append(status)
        cancel.set()

    refused(CtapError.ERR.KEEPALIVE_CANCEL, Ctap2(device).selection, event=cancel, on_keepalive=on_keepalive)
    assert statuses == [2], "UPNEEDED while waiting for the user"
    assert device.ping(b"alive") == b"alive"


def test_a_second_channel_is_told_to_wait(start):
    authenticator = start("--ephemeral", "--user", "control")
    first = authenticator.attach()
    second = usbip.CtapHidDevice(first.descriptor, first._connection)
    cancel, seen = threading.Event(), threading.Event()

    # Both channels share one report stream, so the second's packets are sent raw while the first waits.
    def on_keepalive(_):
        if not seen.is_set():
            seen.set()
            cancel.set()

    refused(CtapError.ERR.KEEPALIVE_CANCEL, Ctap2(first).selection, event=cancel, on_keepalive=on_keepalive)
    assert second.ping(b"mine") == b"mine"


def test_a_user_who_says_no(start):
    device = start("--ephemeral", "--user", "deny").attach()
    refused(CtapError.ERR.OPERATION_DENIED, Ctap2(device).selection)


# -- reset


def test_reset_forgets_everything(authenticator):
    device = authenticator.attach()
    ClientPin(Ctap2(device)).set_pin(PIN)
    relying_party, client = server(), client_for(device)
    data, _ = sign_up(client, relying_party, resident_key_requirement="discouraged")
    sign_up(client, relying_party, resident_key_requirement="required")
    device.close()
    device = authenticator.attach()
    ctap = Ctap2(device)
    ctap.reset()
    assert ctap.get_info().options["clientPin"] is False
    refused(CtapError.ERR.NO_CREDENTIALS, ctap.get_assertion, "example.com", b"\0" * 32)
    allow = [{"type": "public-key", "id": data.credential_data.credential_id}]
    refused(CtapError.ERR.NO_CREDENTIALS, ctap.get_assertion, "example.com", b"\0" * 32, allow)
