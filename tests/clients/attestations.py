"""Attestation statements of every format that has certificates, as real authenticators make them, and each of them broken.

A statement is made for one registration: of its key, its authenticator data and the hash of its client data. What is
wrong with it is named by `wrong`; without it, it is right.
"""

import hashlib
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import NameOID

from relying_party import Authority

AAGUID_EXTENSION = ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
BATCH = {
    NameOID.COUNTRY_NAME: "DE", NameOID.ORGANIZATION_NAME: "A maker",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "Authenticator Attestation", NameOID.COMMON_NAME: "A batch",
}


def der(certificate):
    return certificate.public_bytes(Encoding.DER)


class Maker:
    """Who makes a model: a root, an authority below it, and batches of authenticators with a key each."""

    def __init__(self, aaguid):
        self.aaguid, self.root = aaguid, Authority("The maker's root")
        self.line = Authority("A production line", above=self.root)
        self.tpm_key = rsa.generate_private_key(65537, 2048)

    def statement(self, fmt, wrong, made):
        """What `fmt` says of a registration: `made` has its key, authenticator data and client data hash."""
        return getattr(self, fmt.replace("-", "_"))(wrong, made)

    def packed(self, wrong, made):
        names = dict(BATCH)
        match wrong:
            case "C" | "O" | "OU" | "CN":
                del names[{"C": NameOID.COUNTRY_NAME, "O": NameOID.ORGANIZATION_NAME,
                           "OU": NameOID.ORGANIZATIONAL_UNIT_NAME, "CN": NameOID.COMMON_NAME}[wrong]]
            case "another OU":
                names[NameOID.ORGANIZATIONAL_UNIT_NAME] = "Another unit"
            case "C of three letters":
                names[NameOID.COUNTRY_NAME] = "de"
        aaguid = secrets.token_bytes(16) if wrong == "another AAGUID" else self.aaguid
        extension = x509.UnrecognizedExtension(AAGUID_EXTENSION, b"\x04\x10" + aaguid)
        days = {"leaf expired": (-30, -1), "leaf not yet valid": (1, 30)}.get(wrong, (-1, 30))
        key = ec.generate_private_key(ec.SECP256R1())
        line = Authority("A production line", above=self.root, days=(-30, -1)) if wrong == "line expired" else self.line
        leaf = line.issue(key, names.items(), [(extension, wrong == "AAGUID critical")], days, ca=wrong == "a CA")
        chain = [der(leaf), der(line.certificate)]
        match wrong:
            case "no chain":
                chain = chain[:1]
            case "another's chain":
                chain[1] = der(Authority("A production line", above=Authority("The maker's root")).certificate)
            case "order":
                chain.reverse()
            case "order of the whole":
                chain.insert(1, der(self.root.certificate))
            case "root too":
                chain.append(der(self.root.certificate))
        signer = made.key.private if wrong == "signed by the credential" else key
        signer = ec.generate_private_key(ec.SECP256R1()) if wrong == "signed by a stranger" else signer
        return finish(wrong, {"alg": -7, "sig": signer.sign(made.message, ec.ECDSA(hashes.SHA256())), "x5c": chain})

    def fido_u2f(self, wrong, made):
        key = ec.generate_private_key(ec.SECP384R1() if wrong == "another curve" else ec.SECP256R1())
        leaf = self.line.issue(key, BATCH.items())
        x, y = (made.key.cose[label] for label in (-2, -3))
        handle = secrets.token_bytes(32) if wrong == "another handle" else made.key.id
        message = b"\0" + made.data[:32] + made.client_data_hash + handle + b"\4" + x + y
        chain = [der(leaf)] + ([der(self.line.certificate)] if wrong == "two certificates" else [])
        return finish(wrong, {"sig": key.sign(message, ec.ECDSA(hashes.SHA256())), "x5c": chain})

    def tpm(self, wrong, made):
        hash = hashes.SHA1() if wrong == "SHA-1" else hashes.SHA256()
        digest = hashlib.sha1 if wrong == "SHA-1" else hashlib.sha256
        public = tpm_public_area(made.key, wrong)
        name = b"\x00\x0b" + hashlib.sha256(public).digest()
        match wrong:
            case "name":
                name = name[:-1] + bytes([name[-1] ^ 1])
            case "nameAlg is not the name's":
                name = b"\x00\x0c" + hashlib.sha384(public).digest()
        extra = digest(made.message + (b"!" if wrong == "extraData" else b"")).digest()
        info = (b"\xff\x54\x43\x48" if wrong == "magic" else b"\xff\x54\x43\x47") + (b"\x80\x18" if wrong == "type" else b"\x80\x17")
        info += sized(b"signer") + sized(extra) + bytes(17) + bytes(8) + sized(name) + sized(b"qualified")
        info += b"\0" if wrong == "left over" else b""
        tpm = {"2.23.133.2.1": "id:FFFFF1D0", "2.23.133.2.2": "A TPM", "2.23.133.2.3": "id:13"}
        match wrong:
            case "manufacturer":
                tpm["2.23.133.2.1"] = "somebody"
            case "model":
                del tpm["2.23.133.2.2"]
        alternative = x509.Name([x509.NameAttribute(ObjectIdentifier(oid), value) for oid, value in tpm.items()])
        # Windows' certificates of TPMs' keys have their policies critical.
        policy = x509.PolicyInformation(ObjectIdentifier("1.3.6.1.4.1.311.21.31"), [x509.UserNotice(None, "A test's policy")])
        extensions = [
            (x509.CertificatePolicies([policy]), True),
            (x509.SubjectAlternativeName([x509.DirectoryName(alternative)]), True),
            (x509.ExtendedKeyUsage([ObjectIdentifier("2.23.133.8.1" if wrong == "purpose" else "2.23.133.8.3")]), False),
        ]
        leaf = self.line.issue(self.tpm_key, BATCH.items() if wrong == "subject" else (), extensions, ca=wrong == "a CA")
        chain = [der(leaf), der(self.line.certificate)]
        chain = chain[::-1] if wrong == "order" else chain
        signature = self.tpm_key.sign(info, padding.PKCS1v15(), hash)
        alg = -65535 if wrong == "SHA-1" else -257
        statement = {"ver": "2.0", "alg": alg, "x5c": chain, "sig": signature, "certInfo": info, "pubArea": public}
        return finish(wrong, statement | ({"ver": "1.2"} if wrong == "ver 1.2" else {}))

    def android_key(self, wrong, made):
        challenge = secrets.token_bytes(32) if wrong == "challenge" else made.client_data_hash
        purpose, origin = tlv(0xA1, tlv(0x31, b"\x02\x01" + bytes([3 if wrong == "purpose" else 2]))), b""
        if wrong != "no origin":
            origin = tlv(b"\xbf\x85\x3e", b"\x02\x01" + bytes([1 if wrong == "imported" else 0]))
        everybody = tlv(b"\xbf\x84\x58", b"\x05\x00") if wrong == "for all applications" else b""
        lists = [tlv(0x30, everybody), tlv(0x30, b"" if wrong == "lists empty" else purpose + origin)]
        if wrong == "in software":
            lists.reverse()
        description = tlv(0x30, b"\x02\x01\x03\x0a\x01\x01\x02\x01\x04\x0a\x01\x01" + tlv(0x04, challenge) + tlv(0x04, b"") + b"".join(lists))
        key = ec.generate_private_key(ec.SECP256R1()) if wrong == "another key" else made.key.private
        extension = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.11129.2.1.17"), description)
        extensions = [] if wrong == "no description" else [(extension, False)]
        leaf = self.line.issue(key, [(NameOID.COMMON_NAME, "Android Keystore Key")], extensions)
        # Android sends its root, too.
        chain = [der(leaf), der(self.line.certificate), der(self.root.certificate)]
        chain = chain[::-1] if wrong == "order" else chain
        return finish(wrong, {"alg": -7, "sig": key.sign(made.message, ec.ECDSA(hashes.SHA256())), "x5c": chain})

    def apple(self, wrong, made):
        nonce = hashlib.sha256(made.message + (b"!" if wrong == "nonce" else b"")).digest()
        extension = x509.UnrecognizedExtension(ObjectIdentifier("1.2.840.113635.100.8.2"), tlv(0x30, tlv(0xA1, tlv(0x04, nonce))))
        key = ec.generate_private_key(ec.SECP256R1()) if wrong == "another key" else made.key.private
        leaf = self.line.issue(key, [(NameOID.COMMON_NAME, "An anonymous key")], [] if wrong == "no nonce" else [(extension, False)])
        return finish(wrong, {"x5c": [der(leaf), der(self.line.certificate)]})


def finish(wrong, statement):
    """What can be wrong with a statement of any format."""
    verb, _, name = wrong.partition(": ")
    match verb:
        case "without":
            del statement[name]
        case "text":
            statement[name] = "text"
        case "empty":
            statement[name] = type(statement[name])()
        case "no certificate":
            statement["x5c"] = [b"no certificate"]
        case "flipped":
            value = statement[name]
            statement[name] = value[:-1] + bytes([value[-1] ^ 1])
        case "more":
            statement["unheard-of"] = 1
    return statement


def sized(data):
    """TPM2B."""
    return len(data).to_bytes(2, "big") + data


def tpm_public_area(key, wrong):
    """TPMT_PUBLIC of the credential's key, or nearly."""
    head = b"\x00\x0b" + b"\x00\x05\x04\x72" + sized(b"")
    if key.alg == -257:
        modulus = bytearray(key.cose[-1])
        modulus[-1] ^= 2 if wrong == "unique" else 0
        return b"\x00\x01" + head + b"\x00\x10\x00\x10" + b"\x08\x00" + bytes(4) + sized(bytes(modulus))
    point = key.private.public_key() if wrong != "unique" else ec.generate_private_key(ec.SECP256R1()).public_key()
    point = point.public_numbers()
    # TPMs leave leading zeros out.
    x, y = (number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (point.x, point.y))
    return b"\x00\x23" + head + b"\x00\x10\x00\x10" + b"\x00\x03" + b"\x00\x10" + sized(x) + sized(y)


def tlv(tag, content):
    """A DER value of less than 64 kB."""
    tag = bytes([tag]) if isinstance(tag, int) else tag
    length = len(content)
    length = bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2, "big")
    return tag + length + content
