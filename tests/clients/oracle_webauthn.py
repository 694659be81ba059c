"""py_webauthn's verdicts on the cases on standard input, one JSON object a line.

A case that asks for what the library has no parameter for gets no verdict: the library has no opinion on it.
"""

import json
import sys

from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers.structs import AttestationFormat

from oracle_cases import CA_PEM, cases, octets


def registration(case, policy):
    if policy.get("attestation"):
        return None
    verify_registration_response(
        credential=json.dumps(case["credential"]),
        expected_challenge=octets(case["challenge"]),
        expected_rp_id=policy["rp_id"],
        expected_origin=policy["origins"],
        require_user_presence=policy.get("mediation") != "conditional",
        require_user_verification=policy.get("user_verification") == "required",
        pem_root_certs_bytes_by_fmt={format: [CA_PEM] for format in AttestationFormat},
        supported_pub_key_algs=policy.get("algs", [-7, -8, -257, -35, -36, -53, -47, -37]),
    )
    return True


def authentication(case, policy):
    record = case["record"]
    if record is None or policy.get("allow_credentials") or policy.get("identified_user"):
        return None
    if policy.get("counter") == "flag":
        return None
    verify_authentication_response(
        credential=json.dumps(case["credential"]),
        expected_challenge=octets(case["challenge"]),
        expected_rp_id=policy["rp_id"],
        expected_origin=policy["origins"],
        credential_public_key=octets(record["public_key_cose"]),
        credential_current_sign_count=record["sign_count"],
        require_user_verification=policy.get("user_verification") == "required",
    )
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
