"""libfido2, unmodified, through its own I/O functions over the `--packets` door."""

import pytest

import libfido2
from libfido2 import ES256, EDDSA, OPT_OMIT, OPT_TRUE, Device, Fido2Error

ERR_CREDENTIAL_EXCLUDED, ERR_NO_CREDENTIALS = 0x19, 0x2E
ERR_PIN_INVALID, ERR_PIN_AUTH_BLOCKED, ERR_PIN_NOT_SET = 0x31, 0x34, 0x35
PIN, RP = "a1b2c3d4", "example.com"


@pytest.fixture
def key(authenticator):
    with Device(authenticator.packets) as device:
        yield device


def refused(code, call, *arguments, **options):
    with pytest.raises(Fido2Error) as raised:
        call(*arguments, **options)
    assert raised.value.code == code, raised.value


def test_reads_the_information(key):
    info = key.info()
    assert any(info["aaguid"]) and info["max_message"] >= 1024


@pytest.mark.parametrize("algorithm", [ES256, EDDSA])
@pytest.mark.parametrize("resident", [True, False])
def test_registers_and_asserts(key, algorithm, resident):
    # A device that can verify its user wants that for a discoverable credential (CTAP §6.1.2).
    uv = OPT_TRUE if resident else OPT_OMIT
    credential, public_key = key.make(RP, b"user", algorithm=algorithm, resident=resident, uv=uv)
    allow = () if resident else (credential,)
    assert key.get(RP, public_key, algorithm=algorithm, allow=allow)["id"] == credential


def test_an_excluded_credential_is_not_made_twice(key):
    credential, _ = key.make(RP, b"user", uv=OPT_TRUE)
    refused(ERR_CREDENTIAL_EXCLUDED, key.make, RP, b"other", exclude=(credential,), uv=OPT_TRUE)


def test_pin_set_changed_wrong_and_locked(key):
    key.set_pin(PIN)
    key.set_pin("e5f6g7h8", old=PIN)
    assert key.retries() == 8
    refused(ERR_PIN_INVALID, key.make, RP, b"user", pin="wrong")
    _, public_key = key.make(RP, b"user", pin="e5f6g7h8")
    assert key.get(RP, public_key, pin="e5f6g7h8")["flags"] & 0x05 == 0x05
    for _ in range(2):
        refused(ERR_PIN_INVALID, key.make, RP, b"user", pin="wrong")
    refused(ERR_PIN_AUTH_BLOCKED, key.make, RP, b"user", pin="wrong")
    refused(ERR_PIN_AUTH_BLOCKED, key.make, RP, b"user", pin="e5f6g7h8")
    assert key.retries() == 5


def test_hmac_secret(key):
    key.set_pin(PIN)
    credential, public_key = key.make(RP, b"user", pin=PIN, extensions=libfido2.EXT_HMAC_SECRET)
    secrets = [
        key.get(RP, public_key, allow=(credential,), pin=PIN, salt=salt)["hmac"]
        for salt in (b"\x01" * 32, b"\x01" * 32, b"\x02" * 32, b"\x01" * 32 + b"\x02" * 32)
    ]
    assert secrets[0] == secrets[1] != secrets[2]
    assert secrets[3] == secrets[0] + secrets[2]


def test_cred_protect_hides_what_needs_verification(key):
    key.set_pin(PIN)
    _, public_key = key.make(RP, b"user", pin=PIN, extensions=libfido2.EXT_CRED_PROTECT)
    refused(ERR_NO_CREDENTIALS, key.get, RP, public_key)
    assert key.get(RP, public_key, pin=PIN)["user_id"] == b"user"


def test_reset_forgets(key, authenticator):
    key.set_pin(PIN)
    _, public_key = key.make(RP, b"user", pin=PIN)
    key.close()
    with Device(authenticator.packets) as fresh:
        fresh.reset()
        refused(ERR_NO_CREDENTIALS, fresh.get, RP, public_key)
    # The fixture closes once more; give it something to close.
    key.__init__(authenticator.packets)
