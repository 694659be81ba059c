"""The FIDO Alliance's server tests, as its conformance tool runs them, against the binding of development mode.

The numbers are those of the published list of test items (Server-ServerAuthenticatorAttestationResponse-Resp-1 F-1 and
so on). Where WebAuthn Level 3 contradicts the list, the last test but one shows that we follow Level 3. Attestation by
certificates and metadata are in `test_fido_attestation.py`.
"""

import copy
import hashlib
import json

import cbor2
import pytest

from fido_tool import ABSENT, AT, ED, UP, UV, Key, Tool, accepted, refused
from relying_party import RelyingParty, base64url


@pytest.fixture(scope="module")
def party():
    with RelyingParty("--dev") as party:
        yield party


@pytest.fixture
def tool(party):
    return Tool(party)


# Every member that can be missing, of another type, malformed or empty: (path, wrong value).
def wrong_members(response):
    for name in ("id", "type"):
        for value in (ABSENT, 7, "", "+/=" if name == "id" else "private-key"):
            yield (name,), value
    for value in (ABSENT, [], "text", 7, None):
        yield ("response",), value
    for name in response:
        for value in (ABSENT, 7, [], "", "+/="):
            yield ("response", name), value


WRONG_CLIENT_DATA = [
    (name, value)
    for name, values in {
        "type": (ABSENT, 7, "", "webauthn.something"),
        "challenge": (ABSENT, 7, "", "+/=", base64url(bytes(32))),
        "origin": (ABSENT, 7, "", "https://elsewhere.example"),
        "tokenBinding": ("text", {}, {"status": "unheard-of"}),
    }.items()
    for value in values
]


def changed(message, path, value):
    message = copy.deepcopy(message)
    inner = message
    for name in path[:-1]:
        inner = inner[name]
    if value is ABSENT:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return message


def check_challenge(options):
    challenge = options["challenge"]
    assert set(challenge) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert 22 <= len(challenge) <= 86


def test_creation_options_req_1(tool):
    status, options = tool.creation_options(extensions={"example.extension": True})
    accepted((status, options))
    user, rp = options["user"], options["rp"]
    assert (user["name"], user["displayName"]) == (tool.name, "Ada Lovelace")
    assert 0 < len(user["id"]) <= 86
    assert isinstance(rp["name"], str) and isinstance(rp["id"], str)
    check_challenge(options)
    assert all(set(param) == {"type", "alg"} and isinstance(param["alg"], int) for param in options["pubKeyCredParams"])
    assert {"type": "public-key", "alg": -7} in options["pubKeyCredParams"]
    assert options["timeout"] > 0
    assert options["extensions"]["example.extension"] is True
    assert options["attestation"] == "direct"
    assert options["authenticatorSelection"]["userVerification"] == "preferred"
    # P-2, P-3
    _, none = tool.creation_options(attestation="none")
    assert none["attestation"] == "none"
    _, plain = tool.creation_options(attestation=ABSENT)
    assert plain["attestation"] == "none", "the default"
    assert len({options["challenge"], none["challenge"], plain["challenge"]}) == 3
    for name in ("username", "displayName"):
        for value in (ABSENT, 7, ""):
            refused(tool.creation_options(**{name: value}))


def test_attestation_resp_1_structure(tool):
    key = tool.register()
    _, again = tool.creation_options()
    assert {"type": "public-key", "id": base64url(key.id)}.items() <= again["excludeCredentials"][0].items()
    _, options = tool.creation_options()
    for path, value in wrong_members(tool.created(Key(), options)["response"]):
        _, options = tool.creation_options()
        refused(tool.visitor.json("/attestation/result", changed(tool.created(Key(), options), path, value)))
    for body in ([], "text", 7, None, {}):
        refused(tool.visitor.json("/attestation/result", body))


@pytest.mark.parametrize("name, value", WRONG_CLIENT_DATA + [("type", "webauthn.get")])
def test_attestation_resp_2_client_data(tool, name, value):
    _, options = tool.creation_options()
    refused(tool.visitor.json("/attestation/result", tool.created(Key(), options, **{name: value})))


def test_attestation_resp_3_attestation_object(tool):
    key, (_, options) = Key(), tool.creation_options()
    accepted(tool.visitor.json("/attestation/result", tool.created(key, options, UP | UV | AT | ED, {"example": True})))

    def send(make):
        key, (_, options) = Key(), tool.creation_options()
        client_data = tool.client_data("webauthn.create", options)
        data = tool.authenticator_data(key, UP | UV | AT)
        attestation = make(key, data, client_data)
        answer = tool.credential(key, clientDataJSON=client_data, attestationObject=attestation)
        refused(tool.visitor.json("/attestation/result", answer))

    send(lambda key, data, client_data: cbor2.dumps([1, 2]))
    send(lambda key, data, client_data: b"\xa1")
    for member, values in {"fmt": (ABSENT, 7), "attStmt": (ABSENT, 7, []), "authData": (ABSENT, "text", b"")}.items():
        for value in values:
            send(lambda key, data, client_data: tool.attestation(key, data, client_data, **{member: value}))
    for flags, attested, tail in ((UP, True, b""), (UP, False, b""), (UP | AT, False, b""), (UP | AT, True, b"\0")):
        def with_data(key, _, client_data):
            data = tool.authenticator_data(key, flags, attested) + tail
            return tool.attestation(key, data, client_data)
        send(with_data)
    sign = lambda key, data, client_data: key.sign(data + hashlib.sha256(client_data).digest())
    for statement in (
        lambda alg, sig: {}, lambda alg, sig: {"sig": sig}, lambda alg, sig: {"alg": "text", "sig": sig},
        lambda alg, sig: {"alg": -35, "sig": sig}, lambda alg, sig: {"alg": alg}, lambda alg, sig: {"alg": alg, "sig": "text"},
        lambda alg, sig: {"alg": alg, "sig": b""}, lambda alg, sig: {"alg": alg, "sig": sig[:-1] + bytes([sig[-1] ^ 1])},
        lambda alg, sig: {"alg": alg, "sig": sig, "x5c": []}, lambda alg, sig: {"alg": alg, "sig": sig, "x5c": "text"},
        lambda alg, sig: {"alg": alg, "sig": sig, "x5c": [b"no certificate"]},
    ):
        send(lambda key, data, client_data: tool.attestation(
            key, data, client_data, attStmt=statement(key.alg, sign(key, data, client_data))
        ))


@pytest.mark.parametrize("alg", [-7, -8, -257, -35, -36, -47, -37])
def test_attestation_resp_4_and_6_algorithms(tool, alg):
    tool.register(alg, pubKeyCredParams=[{"type": "public-key", "alg": alg}])


def test_attestation_resp_7_none(tool):
    key, (_, options) = Key(), tool.creation_options(attestation="none")
    accepted(tool.visitor.json("/attestation/result", tool.created(key, options, fmt="none")))
    key, (_, options) = Key(), tool.creation_options(attestation="none")
    client_data = tool.client_data("webauthn.create", options)
    full = tool.attestation(key, tool.authenticator_data(key, UP | AT), client_data, fmt="none", attStmt={"alg": -7})
    refused(tool.visitor.json("/attestation/result", tool.credential(key, clientDataJSON=client_data, attestationObject=full)))
    key, (_, options) = Key(), tool.creation_options()
    refused(tool.visitor.json("/attestation/result", tool.created(key, options, fmt="unheard-of")))


def test_request_options_req_1(tool):
    key = tool.register()
    for wanted in ("required", "preferred", "discouraged"):
        status, options = tool.request_options(userVerification=wanted, extensions={"example.extension": "text"})
        accepted((status, options))
        check_challenge(options)
        assert (options["userVerification"], options["rpId"]) == (wanted, "localhost")
        assert options["extensions"] == {"example.extension": "text"} and options["timeout"] > 0
        (allowed,) = options["allowCredentials"]
        assert (allowed["type"], allowed["id"]) == ("public-key", base64url(key.id))
    assert tool.request_options()[1]["challenge"] != tool.request_options()[1]["challenge"]
    refused(tool.request_options(username="nobody@example.org"))
    refused(tool.request_options(username=7))


def test_assertion_resp_1_structure(tool):
    key = tool.register()
    _, options = tool.request_options()
    accepted(tool.visitor.json("/assertion/result", tool.asserted(key, options)))
    members = tool.asserted(key, options)["response"]
    for path, value in wrong_members(members):
        if path[-1] == "userHandle" and value in (ABSENT, ""):
            continue  # it may be left out, and the list's API leaves it empty
        _, options = tool.request_options()
        refused(tool.visitor.json("/assertion/result", changed(tool.asserted(key, options), path, value)))
    _, options = tool.request_options()
    unverifiable = tool.asserted(key, options, signed=b"something else")
    refused(tool.visitor.json("/assertion/result", unverifiable))


@pytest.mark.parametrize("name, value", WRONG_CLIENT_DATA + [("type", "webauthn.create")])
def test_assertion_resp_2_client_data(tool, name, value):
    key = tool.register()
    _, options = tool.request_options()
    refused(tool.visitor.json("/assertion/result", tool.asserted(key, options, **{name: value})))


def test_assertion_resp_3_authenticator_data(tool):
    key = tool.register()

    def send(wanted="preferred", **how):
        _, options = tool.request_options(userVerification=wanted)
        return tool.visitor.json("/assertion/result", tool.asserted(key, options, **how))

    for wanted, flags in (("required", UP | UV), ("discouraged", UP), ("discouraged", UP | UV), ("preferred", UP)):
        accepted(send(wanted, flags=flags))
    accepted(send(flags=UP | ED, extensions={"example": True}))
    refused(send(tail=b"\0"))
    refused(send(rp_id="elsewhere.example"))
    refused(send(signed=b"another client data"))
    refused(send("required", flags=UP))
    key.counter = 0
    refused(send())
    without_counter = key = tool.register()
    without_counter.counter = -1
    accepted(send())


def test_where_the_list_contradicts_webauthn_level_3_we_follow_level_3(tool):
    # Resp-3 P-4 and P-7: an assertion without user presence. §7.2 step 16 wants UP, always.
    key = tool.register()
    for wanted in ("preferred", "discouraged"):
        _, options = tool.request_options(userVerification=wanted)
        refused(tool.visitor.json("/assertion/result", tool.asserted(key, options, flags=0)))
    # Resp-4 P-8: RSA with SHA-1, which is broken.
    status, options = tool.creation_options(pubKeyCredParams=[{"type": "public-key", "alg": -65535}])
    refused(tool.visitor.json("/attestation/result", tool.created(Key(-65535), options)))


def test_what_is_no_request_of_the_api_gets_an_answer_of_its_form(tool):
    for path in ("/attestation/options", "/attestation/result", "/assertion/options", "/assertion/result"):
        for body, kind in ((b"{", "application/json"), (b"{}", "text/plain"), (b"[1]", "application/json")):
            status, _, text = tool.visitor.send("POST", path, body, kind)
            refused((status, json.loads(text)))
        status, _, text = tool.visitor.send("GET", path)
        refused((status, json.loads(text)))
