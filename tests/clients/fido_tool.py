"""The client of the FIDO Alliance's conformance tool: it asks the binding of development mode, answers, and twists its
answers. The messages have the form of its API, without `rawId` and with `getClientExtensionResults`."""

import hashlib
import json
import secrets

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from relying_party import Visitor, base64url

UP, UV, AT, ED = 1, 4, 0x40, 0x80
ABSENT = object()


class Key:
    """A credential of some algorithm."""

    def __init__(self, alg=-7):
        self.alg, self.id, self.counter = alg, secrets.token_bytes(32), 0
        curves = {-7: (ec.SECP256R1, 1, 32), -35: (ec.SECP384R1, 2, 48), -36: (ec.SECP521R1, 3, 66), -47: (ec.SECP256K1, 8, 32)}
        if alg in curves:
            curve, number, size = curves[alg]
            self.private = ec.generate_private_key(curve())
            point = self.private.public_key().public_numbers()
            self.cose = {1: 2, 3: alg, -1: number, -2: point.x.to_bytes(size, "big"), -3: point.y.to_bytes(size, "big")}
        elif alg == -8:
            self.private = ed25519.Ed25519PrivateKey.generate()
            self.cose = {1: 1, 3: alg, -1: 6, -2: self.private.public_key().public_bytes_raw()}
        else:
            self.private = rsa.generate_private_key(65537, 2048)
            numbers = self.private.public_key().public_numbers()
            self.cose = {1: 3, 3: alg, -1: numbers.n.to_bytes(256, "big"), -2: b"\x01\x00\x01"}

    def sign(self, message):
        digest = {-35: hashes.SHA384, -36: hashes.SHA512}.get(self.alg, hashes.SHA256)()
        if self.alg == -8:
            return self.private.sign(message)
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            return self.private.sign(message, ec.ECDSA(digest))
        if self.alg == -37:
            return self.private.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return self.private.sign(message, padding.PKCS1v15(), digest)


class Tool:
    """The tool's client: it asks, answers, and twists its answers."""

    def __init__(self, party):
        self.party, self.visitor = party, Visitor(party)
        self.name = f"{secrets.token_hex(6)}@example.org"

    def creation_options(self, **more):
        request = {"username": self.name, "displayName": "Ada Lovelace", "attestation": "direct",
                   "authenticatorSelection": {"requireResidentKey": False, "userVerification": "preferred"}}
        return self.visitor.json("/attestation/options", {k: v for k, v in (request | more).items() if v is not ABSENT})

    def request_options(self, **more):
        return self.visitor.json("/assertion/options", {"username": self.name, "userVerification": "preferred"} | more)

    def client_data(self, kind, options, **changed):
        data = {"type": kind, "challenge": options["challenge"], "origin": self.party.url, "crossOrigin": False}
        data |= changed
        return json.dumps({name: value for name, value in data.items() if value is not ABSENT}).encode()

    def authenticator_data(self, key, flags, attested=True, extensions=None, rp_id="localhost", aaguid=bytes(16)):
        data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + key.counter.to_bytes(4, "big")
        if attested:
            data += aaguid + len(key.id).to_bytes(2, "big") + key.id + cbor2.dumps(key.cose)
        return data + (cbor2.dumps(extensions) if extensions else b"")

    def attestation(self, key, data, client_data, fmt="packed", **changed):
        statement = {}
        if fmt == "packed":
            statement = {"alg": key.alg, "sig": key.sign(data + hashlib.sha256(client_data).digest())}
        map = {"fmt": fmt, "attStmt": statement, "authData": data} | changed
        return cbor2.dumps({name: value for name, value in map.items() if value is not ABSENT})

    def credential(self, key, **response):
        encoded = {name: base64url(value) if isinstance(value, bytes) else value for name, value in response.items()}
        return {"id": base64url(key.id), "type": "public-key", "response": encoded, "getClientExtensionResults": {}}

    def created(self, key, options, flags=UP | UV | AT, extensions=None, fmt="packed", **changed):
        client_data = self.client_data("webauthn.create", options, **changed)
        data = self.authenticator_data(key, flags, extensions=extensions)
        return self.credential(key, clientDataJSON=client_data, attestationObject=self.attestation(key, data, client_data, fmt))

    def asserted(self, key, options, flags=UP | UV, extensions=None, handle="", tail=b"", rp_id="localhost", signed=None, **changed):
        client_data = self.client_data("webauthn.get", options, **changed)
        key.counter += 1 if signed is None else 0
        data = self.authenticator_data(key, flags, attested=False, extensions=extensions, rp_id=rp_id) + tail
        signature = key.sign(data + hashlib.sha256(client_data if signed is None else signed).digest())
        return self.credential(key, clientDataJSON=client_data, authenticatorData=data, signature=signature, userHandle=handle)

    def register(self, alg=-7, **more):
        key, (status, options) = Key(alg), self.creation_options(**more)
        assert status == 200, options
        accepted(self.visitor.json("/attestation/result", self.created(key, options)))
        return key


def accepted(answer):
    status, body = answer
    assert (status, body["status"], body["errorMessage"]) == (200, "ok", ""), body


def refused(answer):
    status, body = answer
    assert 400 <= status < 500 and body["status"] == "failed", body
    assert isinstance(body["errorMessage"], str) and body["errorMessage"], body
