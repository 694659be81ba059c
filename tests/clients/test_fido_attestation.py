"""The FIDO Alliance's server tests of attestation: Server-ServerAuthenticatorAttestationResponse-Resp-5 to -B, and those
of its metadata service. Every format is sent as it should be, and with each thing wrong that the list has; most of what
the list leaves out is here, too. Where WebAuthn Level 3 contradicts the list, the last test shows that we follow Level 3.
"""

import base64
import hashlib
import uuid
from dataclasses import dataclass

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from attestations import Maker, der
from fido_tool import AT, UP, UV, Key, Tool, accepted, refused
from relying_party import Authority, RelyingParty
from test_metadata import Publisher

FULL, SURROGATE, UNLISTED = (uuid.uuid5(uuid.NAMESPACE_DNS, name) for name in ("full", "surrogate", "unlisted"))


@dataclass
class Made:
    """A registration that is to be attested."""

    key: Key
    data: bytes
    client_data_hash: bytes

    @property
    def message(self):
        return self.data + self.client_data_hash


def send(tool, maker, fmt, wrong="", alg=-7, aaguid=None, named=None):
    """What the server says of a statement of this format; `named` calls it by another name."""
    # Neither U2F nor the wrong one of the list knows what model it is of.
    aaguid = aaguid or (bytes(16) if fmt == "fido-u2f" else maker.aaguid)
    key, (status, options) = Key(alg), tool.creation_options()
    assert status == 200, options
    client_data = tool.client_data("webauthn.create", options)
    data = tool.authenticator_data(key, UP | UV | AT, aaguid=aaguid)
    made = Made(key, data, hashlib.sha256(client_data).digest())
    if fmt == "self":
        fmt, statement = "packed", {"alg": key.alg, "sig": key.sign(made.message + (b"!" if wrong == "sig" else b""))}
    elif fmt == "none":
        statement = {"alg": alg} if wrong else {}
    else:
        statement = maker.statement(fmt, wrong, made)
    attestation = cbor2.dumps({"fmt": named or fmt, "attStmt": statement, "authData": data})
    answer = tool.credential(key, clientDataJSON=client_data, attestationObject=attestation)
    return tool.visitor.json("/attestation/result", answer)


@pytest.fixture(scope="module")
def maker():
    return Maker(FULL.bytes)


# --- without metadata: whether a statement is right for its format -----------------------------------------------------


@pytest.fixture(scope="module")
def party():
    with RelyingParty("--dev") as party:
        yield party


@pytest.mark.parametrize("fmt, wrong, alg", [
    ("none", "", -7), ("self", "", -7), ("self", "", -257), ("packed", "", -7), ("packed", "no chain", -7),
    ("fido-u2f", "", -7), ("tpm", "", -7), ("tpm", "", -257), ("tpm", "SHA-1", -257), ("android-key", "", -7), ("android-key", "in software", -7),
    ("apple", "", -7),
])
def test_each_format_is_accepted_as_it_should_be(party, maker, fmt, wrong, alg):
    accepted(send(Tool(party), maker, fmt, wrong, alg))


def of_any(*members):
    """What can be wrong with these members of a statement of any format."""
    for name in members:
        yield from (f"without: {name}", f"text: {name}", f"empty: {name}")
    yield from ("no certificate", "more") + (("flipped: sig",) if "sig" in members else ())


WRONG = {
    "packed": [*of_any("sig", "x5c"), "without: alg", "text: alg", "signed by a stranger", "signed by the credential", "order",
               "another AAGUID", "AAGUID critical", "C", "O", "OU", "CN", "another OU", "C of three letters", "a CA"],
    "self": ["sig"],
    "none": ["not empty"],
    "fido-u2f": [*of_any("sig", "x5c"), "another handle", "another curve", "two certificates"],
    "tpm": [*of_any("sig", "x5c", "certInfo", "pubArea"), "without: ver", "ver 1.2", "without: alg", "order", "extraData",
            "magic", "type", "name", "unique", "left over", "flipped: certInfo", "flipped: pubArea", "subject",
            "manufacturer", "model", "purpose", "a CA"],
    "android-key": [*of_any("sig", "x5c"), "without: alg", "challenge", "another key", "order", "no description", "no origin",
                    "imported", "purpose", "for all applications", "lists empty"],
    "apple": [*of_any("x5c"), "nonce", "no nonce", "another key"],
}


@pytest.mark.parametrize("fmt", WRONG)
def test_each_format_is_refused_with_anything_wrong(party, maker, fmt):
    tool = Tool(party)
    for alg in (-7, -257) if fmt == "tpm" else (-7,):
        for wrong in WRONG[fmt]:
            answer = send(tool, maker, fmt, wrong, alg)
            assert answer[0] == 400, (fmt, wrong)
            refused(answer)
            # By the step that judges statements, not by another one before it.
            assert answer[1]["errorMessage"].startswith("step 7.1-23: attestation statement: "), (fmt, wrong, answer[1])


@pytest.mark.parametrize("named", ["", "Packed", "packed ", "unheard-of", "android-safetynet", "none", "apple"])
def test_a_statement_under_another_name_is_refused(party, maker, named):
    refused(send(Tool(party), maker, "packed", named=named or "\0"))


# --- with metadata: whether it is of a model that is in the list --------------------------------------------------------


def entry(aaguid, roots, kinds, statuses=("FIDO_CERTIFIED_L1",)):
    return {
        "aaguid": str(aaguid),
        "metadataStatement": {
            "description": "A model of the test", "attestationTypes": kinds,
            "attestationRootCertificates": [base64.b64encode(root).decode() for root in roots],
        },
        "statusReports": [{"status": status, "effectiveDate": "2026-01-01"} for status in statuses],
        "timeOfLastStatusChange": "2026-01-01",
    }


REPORTS = [
    "USER_VERIFICATION_BYPASS", "ATTESTATION_KEY_COMPROMISE", "USER_KEY_REMOTE_COMPROMISE", "USER_KEY_PHYSICAL_COMPROMISE",
    "REVOKED",
]


def reported(status):
    """The model that this was reported of."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, status)


def start(folder, publisher, maker, blob=lambda text: text, root=None, lists=b""):
    root_of_maker = [der(maker.root.certificate)]
    entries = [entry(FULL, root_of_maker, ["basic_full"]), entry(SURROGATE, [], ["basic_surrogate"])]
    entries += [entry(reported(status), root_of_maker, ["basic_full"], ["FIDO_CERTIFIED_L1", status]) for status in REPORTS]
    (folder / "blob.jwt").write_text(blob(publisher.sign(entries)))
    (folder / "root.pem").write_bytes((root or publisher.root).pem())
    (folder / "policy.toml").write_text('[passkey]\nattestation = "direct"\nmetadata = "required"\n')
    (folder / "lists.pem").write_bytes(lists)
    revoked = ("--mds-crl", folder / "lists.pem") if lists else ()
    return RelyingParty(
        "--dev", "--mds", folder / "blob.jwt", "--mds-root", folder / "root.pem", "--policy", folder / "policy.toml",
        *revoked,
    )


@pytest.fixture(scope="module")
def publisher():
    return Publisher()


@pytest.fixture(scope="module")
def listed(tmp_path_factory, publisher, maker):
    with start(tmp_path_factory.mktemp("listed"), publisher, maker) as party:
        yield party


@pytest.mark.parametrize("fmt", ["packed", "tpm", "android-key", "apple"])
def test_a_chain_up_to_the_models_root_is_accepted(listed, maker, fmt):
    accepted(send(Tool(listed), maker, fmt))


@pytest.mark.parametrize("wrong", [
    "no chain", "another's chain", "order of the whole", "leaf expired", "leaf not yet valid", "line expired",
])
def test_a_chain_that_does_not_reach_the_models_root_is_refused(listed, party, maker, wrong):
    refused(send(Tool(listed), maker, "packed", wrong))
    # It is the chain that is wrong, not the statement: who asks for no trust accepts it.
    accepted(send(Tool(party), maker, "packed", wrong))


def test_a_model_that_vouches_for_itself_does_only_that(listed, maker):
    accepted(send(Tool(listed), maker, "self", aaguid=SURROGATE.bytes))
    refused(send(Tool(listed), maker, "self"))
    refused(send(Tool(listed), maker, "none"))
    refused(send(Tool(listed), Maker(SURROGATE.bytes), "packed"))


def test_what_is_not_of_a_model_of_the_list_is_refused(listed, maker):
    stranger = Maker(FULL.bytes)
    for fmt in ("packed", "tpm", "android-key", "apple"):
        refused(send(Tool(listed), stranger, fmt))
    unlisted = Maker(UNLISTED.bytes)
    unlisted.root, unlisted.line = maker.root, maker.line
    refused(send(Tool(listed), unlisted, "packed"))


@pytest.mark.parametrize("status", REPORTS)
def test_metadata_f_2_a_model_that_a_report_speaks_against_is_refused(listed, maker, status):
    suspect = Maker(reported(status).bytes)
    suspect.root, suspect.line = maker.root, maker.line
    status_code, answer = send(Tool(listed), suspect, "packed")
    refused((status_code, answer))
    assert status in answer["errorMessage"]


def test_metadata_f_3_and_f_4_a_blob_whose_signature_or_chain_does_not_verify_stops_the_start(tmp_path, publisher, maker):
    def flipped(blob):
        head, payload, signature = blob.split(".")
        return ".".join((head, payload, signature[:9] + ("A" if signature[9] != "A" else "B") + signature[10:]))

    for wrong in ({"blob": flipped}, {"root": Authority("The publisher's root")}):
        with pytest.raises(RuntimeError, match="(?s)error: .*hint: "):
            start(tmp_path, publisher, maker, **wrong)


def test_metadata_f_5_and_f_6_a_blob_by_somebody_whose_certificate_was_revoked_stops_the_start(tmp_path, publisher, maker):
    with pytest.raises(RuntimeError, match="(?s)error: .*revoked.*hint: "):
        start(tmp_path, publisher, maker, lists=publisher.root.revokes(publisher.certificate))


@pytest.mark.parametrize("fmt", ["packed", "tpm", "android-key", "apple"])
def test_a_chain_with_a_revoked_certificate_in_it_is_refused(revoking, maker, fmt):
    answer = send(Tool(revoking), maker, fmt)
    refused(answer)
    assert "revoked" in answer[1]["errorMessage"]


@pytest.fixture(scope="module")
def revoking(tmp_path_factory, publisher, maker):
    folder = tmp_path_factory.mktemp("revoking")
    with start(folder, publisher, maker, lists=maker.root.revokes(maker.line.certificate)) as party:
        yield party


def test_where_the_list_contradicts_webauthn_level_3_we_follow_level_3(party, listed, maker):
    # Resp-5 F-10: a chain with the root in it. Level 3 has nothing against it, and Android sends it so.
    accepted(send(Tool(listed), maker, "packed", "root too"))
    # Resp-8 F-1: U2F in an authenticator with an AAGUID. §8.6 does not look at it, and the W3C's own vector has one.
    accepted(send(Tool(party), maker, "fido-u2f", aaguid=FULL.bytes))
    # Resp-9 P-3: a name by another hash than nameAlg; §8.3 wants the one of nameAlg.
    refused(send(Tool(party), maker, "tpm", "nameAlg is not the name's"))
    # Resp-B P-1: the service behind SafetyNet was turned off in 2025; see "under another name" above.
