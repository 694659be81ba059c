"""U2F, as python-fido2 speaks it, over the USB/IP socket."""

import os

import pytest
from cryptography import x509
from fido2.ctap import CtapError
from fido2.ctap1 import APDU, ApduError, Ctap1
from fido2.ctap2 import Ctap2
from fido2.utils import sha256

APPLICATION = sha256(b"https://example.com")


def refused(word, call, *arguments, **options):
    with pytest.raises(ApduError) as raised:
        call(*arguments, **options)
    assert raised.value.code == word, raised.value


def registered(ctap):
    challenge = os.urandom(32)
    registration = ctap.register(challenge, APPLICATION)
    registration.verify(APPLICATION, challenge)
    return registration


def test_says_its_version(device):
    assert Ctap1(device).get_version() == "U2F_V2"


def test_registers_and_authenticates(device):
    ctap = Ctap1(device)
    registration = registered(ctap)
    counters = []
    for _ in range(3):
        challenge = os.urandom(32)
        answer = ctap.authenticate(challenge, APPLICATION, registration.key_handle)
        answer.verify(APPLICATION, challenge, registration.public_key)
        assert answer.user_presence == 1
        counters.append(answer.counter)
    assert counters == sorted(set(counters)), "each counter is above the one before"


def test_check_only_knows_its_own_handles(device):
    ctap = Ctap1(device)
    handle = registered(ctap).key_handle
    challenge = os.urandom(32)
    refused(APDU.USE_NOT_SATISFIED, ctap.authenticate, challenge, APPLICATION, handle, check_only=True)
    refused(APDU.WRONG_DATA, ctap.authenticate, challenge, sha256(b"another"), handle, check_only=True)
    refused(APDU.WRONG_DATA, ctap.authenticate, challenge, APPLICATION, os.urandom(len(handle)), check_only=True)


def test_a_user_who_says_no(start):
    ctap = Ctap1(start("--ephemeral", "--user", "deny").attach())
    refused(APDU.USE_NOT_SATISFIED, ctap.register, os.urandom(32), APPLICATION)


def test_what_was_registered_is_there_after_a_replug(authenticator):
    device = authenticator.attach()
    registration = registered(Ctap1(device))
    device.close()
    authenticator.control("POST", "/v1/devices/1/replug")
    challenge = os.urandom(32)
    answer = Ctap1(authenticator.attach()).authenticate(challenge, APPLICATION, registration.key_handle)
    answer.verify(APPLICATION, challenge, registration.public_key)


def test_what_was_registered_serves_in_ctap2(device):
    registration = registered(Ctap1(device))
    allowed = {"type": "public-key", "id": registration.key_handle}
    challenge = os.urandom(32)
    answer = Ctap2(device).get_assertion("https://example.com", challenge, [allowed])
    assert answer.auth_data.rp_id_hash == APPLICATION
    with pytest.raises(CtapError):
        Ctap2(device).get_assertion("https://another.example", challenge, [allowed])


def test_every_registration_has_a_certificate_of_its_own(device):
    certificates = [x509.load_der_x509_certificate(registered(Ctap1(device)).certificate) for _ in range(2)]
    assert certificates[0].public_key() != certificates[1].public_key()
    for certificate in certificates:
        certificate.verify_directly_issued_by(certificate)


@pytest.mark.parametrize("persona", ["fido-u2f", "yubikey-4-u2f"])
def test_a_vendor_s_registrations_share_theirs(start, persona):
    ctap = Ctap1(start("--ephemeral", "--user", "auto", "--persona", persona).attach())
    certificates = {registered(ctap).certificate for _ in range(2)}
    keys = [x509.load_der_x509_certificate(certificate).public_key() for certificate in certificates]
    assert all(key == keys[0] for key in keys)
