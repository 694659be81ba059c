"""python-fido2's verdicts on the cases on standard input, one JSON object a line.

A case that asks for what the library has no parameter for gets no verdict: the library has no opinion on it.
"""

import json
import sys

from fido2 import cbor
from fido2.attestation import Attestation, UnsupportedType
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    Aaguid,
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRpEntity,
    RegistrationResponse,
)

from oracle_cases import cases, octets


def server(policy):
    entity = PublicKeyCredentialRpEntity(name="oracle", id=policy["rp_id"])
    return Fido2Server(entity, verify_origin=lambda origin: origin in policy["origins"])


def state(case, policy):
    return {"challenge": case["challenge"], "user_verification": policy.get("user_verification")}


def registration(case, policy):
    if policy.get("attestation") or policy.get("mediation") == "conditional":
        return None
    judge = server(policy)
    if "algs" in policy:
        judge.allowed_algorithms = [
            PublicKeyCredentialParameters(type="public-key", alg=alg) for alg in policy["algs"]
        ]
    response = RegistrationResponse.from_dict(case["credential"])
    judge.register_complete(state(case, policy), response)
    attestation = response.response.attestation_object
    try:
        Attestation.for_type(attestation.fmt)().verify(
            attestation.att_stmt, attestation.auth_data, response.response.client_data.hash
        )
    except UnsupportedType:
        return None
    return True


def authentication(case, policy):
    record = case["record"]
    if record is None or policy.get("allow_credentials") or policy.get("identified_user"):
        return None
    if case["id"].startswith("authentication/counter-"):
        return None  # left to its caller
    key = CoseKey.parse(cbor.decode(octets(record["public_key_cose"])))
    stored = AttestedCredentialData.create(Aaguid.NONE, octets(record["id"]), key)
    response = AuthenticationResponse.from_dict(case["credential"])
    server(policy).authenticate_complete(state(case, policy), [stored], response)
    return True


for case in cases(sys.stdin):
    judge = registration if case["ceremony"] == "registration" else authentication
    why = ""
    try:
        verdict = judge(case, case["policy"])
    except Exception as error:  # whatever it throws, it refuses
        verdict, why = False, f"{type(error).__name__}: {error}"[:200]
    if verdict is not None:
        print(json.dumps({"id": case["id"], "verdict": "accept" if verdict else "reject", "why": why}))
