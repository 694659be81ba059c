"""What the oracles share: reading cases, and the root of the W3C vectors."""

import base64
import json
import pathlib
import ssl

VECTORS = pathlib.Path(__file__).parent.parent / "vectors" / "webauthn-l3-vectors.json"
ROOT = json.loads(VECTORS.read_text())["attestation_root"]
CA_PEM = ssl.DER_cert_to_PEM_cert(bytes.fromhex(ROOT["attestation_ca_cert"])).encode()


def cases(lines):
    return (json.loads(line) for line in lines)


def octets(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
