"""Every attestation persona, registered over the USB/IP socket by python-fido2, judged by four verifiers.

python-fido2, py_webauthn, SimpleWebAuthn and `doppelkey verify`; each trusts the root that `doppelkey persona metadata`
says, and none other.
"""

import base64
import hashlib
import json
import os
import pathlib
import subprocess
import textwrap

import pytest
from fido2 import cbor
from fido2.attestation import Attestation, InvalidSignature, UnsupportedType, verify_x509_chain
from fido2.ctap2 import Ctap2
from fido2.hid import CTAPHID
from fido2.webauthn import AuthenticatorData
from webauthn import verify_registration_response
from webauthn.helpers.exceptions import InvalidRegistrationResponse
from webauthn.helpers.structs import AttestationFormat

CHALLENGE = b"a challenge of the relying party"
ORIGIN = "https://example.com"
FORMATS = {
    "none": "none",
    "packed-self": "packed",
    "packed": "packed",
    "enterprise": "packed",
    "fido-u2f": "fido-u2f",
    "tpm": "tpm",
    "android-key": "android-key",
    "apple": "apple",
    "compound": "compound",
    "feitian-biopass": "packed",
    "feitian-epass-nfc": "packed",
    "google-password-manager": "none",
    "google-titan-v2": "packed",
    "icloud-keychain": "none",
    "nitrokey-3": "packed",
    "solo-1": "packed",
    "token2": "packed",
    "windows-hello": "tpm",
    "yubico-security-key-nfc": "packed",
    "yubikey-5-nfc": "packed",
    "yubikey-5-nfc-5.7": "packed",
    "yubikey-bio": "packed",
}
# It speaks U2F only: see test_u2f.py.
WITHOUT_CTAP2 = {"yubikey-4-u2f"}
# What each verifier knows of: the others it refuses as unknown, whoever made them. None but ours knows compound, and
# python-fido2 no android-key.
PYTHON_FIDO2 = {"none", "packed", "fido-u2f", "tpm", "apple"}
PY_WEBAUTHN = {"none", "packed", "fido-u2f", "tpm", "android-key", "apple"}
SIMPLE_WEBAUTHN = PY_WEBAUTHN


@pytest.fixture(scope="session", autouse=True)
def data_home(tmp_path_factory):
    """A home for the certification authority of these tests."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("data"))


def doppelkey(*arguments, **options):
    command = [os.environ["DOPPELKEY"], *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def root(persona):
    roots = json.loads(doppelkey("persona", "metadata", persona))["attestationRootCertificates"]
    return base64.b64decode(roots[0]) if roots else None


def pem(der):
    # Some verifiers compare the text: lines of 64 characters, as OpenSSL writes them.
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]).encode()


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def register(device):
    """A registration in WebAuthn's JSON. python-fido2's own client takes no statement that is a list."""
    client_data = json.dumps({"type": "webauthn.create", "challenge": base64url(CHALLENGE), "origin": ORIGIN}).encode()
    parameters = {
        1: hashlib.sha256(client_data).digest(),
        2: {"id": "example.com", "name": "Example"},
        3: {"id": b"mona", "name": "mona", "displayName": "Mona"},
        4: [{"type": "public-key", "alg": -7}],
    }
    if Ctap2(device).info.options.get("uv"):
        parameters[7] = {"uv": True}
    answer = device.call(CTAPHID.CBOR, b"\x01" + cbor.encode(parameters))
    assert answer[0] == 0, f"makeCredential failed with {answer[0]:#04x}"
    made = cbor.decode(answer[1:])
    identifier = AuthenticatorData(made[2]).credential_data.credential_id
    return {
        "id": base64url(identifier),
        "rawId": base64url(identifier),
        "type": "public-key",
        "clientExtensionResults": {},
        "response": {
            "clientDataJSON": base64url(client_data),
            "attestationObject": base64url(cbor.encode({"fmt": made[1], "attStmt": made[3], "authData": made[2]})),
        },
    }


@pytest.fixture(params=FORMATS)
def persona(request):
    return request.param


@pytest.fixture
def answer(start, persona):
    authenticator = start("--ephemeral", "--user", "auto", "--persona", persona)
    return register(authenticator.attach())


def test_every_persona_there_is_is_judged():
    names = {line.split()[0] for line in doppelkey("persona", "list").splitlines()}
    assert names == FORMATS.keys() | WITHOUT_CTAP2


def test_python_fido2_verifies_it(persona, answer):
    client_data, encoded = (
        base64.urlsafe_b64decode(answer["response"][member] + "==")
        for member in ("clientDataJSON", "attestationObject")
    )
    statement, trusted = cbor.decode(encoded), root(persona)
    assert statement["fmt"] == FORMATS[persona]
    verifier = Attestation.for_type(statement["fmt"])()
    arguments = (statement["attStmt"], AuthenticatorData(statement["authData"]), hashlib.sha256(client_data).digest())
    if FORMATS[persona] not in PYTHON_FIDO2:
        with pytest.raises(UnsupportedType):
            verifier.verify(*arguments)
        return
    result = verifier.verify(*arguments)
    if trusted:
        verify_x509_chain([*result.trust_path, trusted])
        with pytest.raises(InvalidSignature):
            verify_x509_chain([*result.trust_path, root("compound" if persona == "packed" else "packed")])


def test_py_webauthn_verifies_it(persona, answer):
    trusted, name = root(persona), FORMATS[persona]
    roots = {AttestationFormat(name): [pem(trusted)]} if trusted and name in PY_WEBAUTHN else {}
    arguments = {
        "credential": json.dumps(answer),
        "expected_challenge": CHALLENGE,
        "expected_rp_id": "example.com",
        "expected_origin": ORIGIN,
    }
    if name not in PY_WEBAUTHN:
        with pytest.raises(Exception):
            verify_registration_response(**arguments)
        return
    verified = verify_registration_response(**arguments, pem_root_certs_bytes_by_fmt=roots)
    assert verified.fmt == name
    if trusted:
        other = {AttestationFormat(name): [pem(root("compound" if persona == "packed" else "packed"))]}
        with pytest.raises(InvalidRegistrationResponse):
            verify_registration_response(**arguments, pem_root_certs_bytes_by_fmt=other)


def test_simple_webauthn_verifies_it(persona, answer, tmp_path):
    modules = os.environ.get("DOPPELKEY_NODE_MODULES")
    if not modules:
        pytest.skip("SimpleWebAuthn")
    name, trusted = FORMATS[persona], root(persona)
    script = tmp_path / "verify.mjs"
    script.write_text((pathlib.Path(__file__).parent / "simplewebauthn.mjs").read_text())
    (tmp_path / "node_modules").symlink_to(modules)
    case = {
        "response": answer,
        "challenge": base64url(CHALLENGE),
        "format": name,
        "roots": [pem(trusted).decode()] if trusted else [],
    }
    judged = subprocess.run(["node", script], input=json.dumps(case), capture_output=True, text=True, check=False)
    if name in SIMPLE_WEBAUTHN:
        assert judged.stdout == "verified\n", judged.stderr
    else:
        assert "Unsupported Attestation Format" in judged.stderr


def test_our_own_verifier_verifies_it(persona, answer):
    case = {
        "id": persona,
        "ceremony": "registration",
        "challenge": base64url(CHALLENGE),
        "policy": {
            "rp_id": "example.com",
            "origins": [ORIGIN],
            "algs": [-7],
            "user_verification": "preferred",
        },
        "credential": answer,
    }
    verdict = json.loads(doppelkey("verify", input=json.dumps(case) + "\n"))
    assert verdict["verdict"] == "accept", verdict


def test_an_enterprise_gets_a_serial_number_when_it_asks_for_it(start):
    device = start("--ephemeral", "--user", "auto", "--persona", "enterprise").attach()
    arguments = (b"\0" * 32, {"id": "example.com"}, {"id": b"mona", "name": "mona"}, [{"type": "public-key", "alg": -7}])
    usual = Ctap2(device).make_credential(*arguments)
    assert b"DK-0000001" not in usual.att_stmt["x5c"][0] and not usual.ep_att
    enterprise = Ctap2(device).make_credential(*arguments, enterprise_attestation=1)
    assert b"DK-0000001" in enterprise.att_stmt["x5c"][0] and enterprise.ep_att
