"""Every fault by its name, set through the control port and seen on the wire."""

import datetime
import hashlib
import threading
import time

import pytest
from cryptography import x509
from fido2 import cbor
from fido2.cose import CoseKey
from fido2.ctap import CtapError
from fido2.ctap2 import Ctap2
from fido2.hid import CTAPHID
from fido2.webauthn import AuthenticatorData

RP_ID = "example.com"
CLIENT_DATA_HASH = hashlib.sha256(b"client data").digest()
UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80


class World:
    """An authenticator, a device of it, and the faults that are set."""

    def __init__(self, authenticator):
        self.authenticator = authenticator
        self.device = authenticator.attach()

    def fault(self, name):
        answer = self.authenticator.control("PUT", f"/v1/devices/1/faults/{name}")
        assert answer["set"] == [name]

    def clear(self):
        answer = self.authenticator.control("DELETE", "/v1/devices/1/faults")
        assert answer == {"set": [], "statuses": []}

    def user(self, **habits):
        self.authenticator.control("PATCH", "/v1/devices/1/user", habits)

    def call(self, command, parameters):
        """The body of a successful answer, as bytes."""
        answer = self.device.call(CTAPHID.CBOR, bytes([command]) + cbor.encode(parameters))
        assert answer[0] == 0, f"command {command} failed with {answer[0]:#04x}"
        return answer[1:]

    def make(self):
        return self.call(
            0x01,
            {
                1: CLIENT_DATA_HASH,
                2: {"id": RP_ID, "name": "Example"},
                3: {"id": b"mona", "name": "mona"},
                4: [{"type": "public-key", "alg": -7}],
                7: {"rk": True, "uv": True},
            },
        )

    def made(self):
        return cbor.decode(self.make())

    def get(self):
        return self.call(0x02, {1: RP_ID, 2: CLIENT_DATA_HASH})

    def got(self):
        return cbor.decode(self.get())


@pytest.fixture
def world(start):
    return World(start("--ephemeral", "--user", "auto"))


def public_key(made):
    return CoseKey.parse(AuthenticatorData(made[2]).credential_data.public_key)


def is_signed(key, answer):
    try:
        key.verify(answer[2] + CLIENT_DATA_HASH, answer[3])
    except Exception:
        return False
    return True


def flags(answer):
    return answer[2][32]


def counter(answer):
    return int.from_bytes(answer[2][33:37], "big")


def in_assertions(judge):
    """The fault is seen in an assertion: `judge` gets the honest registration, an honest assertion, a faulty one."""

    def check(world, name):
        made, honest = world.made(), world.got()
        world.fault(name)
        judge(made, honest, world.got())

    return check


def in_registrations(judge):
    def check(world, name):
        world.fault(name)
        judge(world.make())

    return check


def signature_wrong(made, honest, faulty):
    assert is_signed(public_key(made), honest) and not is_signed(public_key(made), faulty)


def rp_id_hash_wrong(made, honest, faulty):
    assert honest[2][:32] == hashlib.sha256(RP_ID.encode()).digest() != faulty[2][:32]
    assert is_signed(public_key(made), faulty)


def up_lie(made, honest, faulty):
    assert flags(honest) & UP and not flags(faulty) & UP and is_signed(public_key(made), faulty)


def uv_lie(made, honest, faulty):
    assert (flags(honest) ^ flags(faulty)) & UV and is_signed(public_key(made), faulty)


def bs_without_be(made, honest, faulty):
    assert flags(faulty) & (BE | BS) == BS


def be_changed(made, honest, faulty):
    assert flags(made) & BE == flags(honest) & BE != flags(faulty) & BE


def user_handle_missing(made, honest, faulty):
    assert honest[4]["id"] == b"mona" and 4 not in faulty


def user_handle_foreign(made, honest, faulty):
    assert honest[4]["id"] == b"mona" != faulty[4]["id"]


def counters(judge):
    def check(world, name):
        world.made()
        before = [counter(world.got()) for _ in range(4)][-1]
        world.fault(name)
        assert judge(before, counter(world.got()), counter(world.got())), name

    return check


def credential_id(length):
    def judge(body):
        data = cbor.decode(body)[2]
        assert int.from_bytes(data[53:55], "big") == length

    return judge


def malformed(body):
    with pytest.raises(Exception):
        cbor.decode(body)


def not_canonical(body):
    value, rest = cbor.decode_from(body)
    assert rest == b"" and cbor.encode(value) != body


def trailing(body):
    assert len(cbor.decode_from(body)[1]) == 1


def empty(body):
    assert body == b""


def extension_unknown(body):
    data = AuthenticatorData(cbor.decode(body)[2])
    assert data.flags & ED and set(data.extensions) - {"credProtect", "hmac-secret", "credBlob", "minPinLength"}


def public_key_wrong(body):
    made = cbor.decode(body)
    signed = {2: made[2], 3: made[3]["sig"]}
    try:
        assert not is_signed(public_key(made), signed)
    except ValueError:
        pass  # not even a point of the curve


def aaguid_wrong(world, name):
    known = AuthenticatorData(world.made()[2]).credential_data.aaguid
    world.fault(name)
    assert AuthenticatorData(world.made()[2]).credential_data.aaguid != known


def certificate(judge):
    def check(world, name):
        world.authenticator.control("PUT", "/v1/devices/1/persona", {"persona": "packed"})
        world.device = world.authenticator.attach()
        world.fault(name)
        made = world.made()
        judge(made, x509.load_der_x509_certificate(made[3]["x5c"][0]))

    return check


def certificate_wrong(made, leaf):
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    with pytest.raises(Exception):
        leaf.public_key().verify(made[3]["sig"], made[2] + CLIENT_DATA_HASH, ec.ECDSA(SHA256()))


def certificate_expired(made, leaf):
    assert leaf.not_valid_after_utc < datetime.datetime.now(datetime.UTC)


def certificate_aaguid_wrong(made, leaf):
    extension = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4"))
    assert extension.value.value[2:] != bytes(AuthenticatorData(made[2]).credential_data.aaguid)


def echoed(world, count):
    """Sends a PING of four packets; the next packets of the answer: whether on our channel, and sequence (-1 first)."""
    connection, channel = world.device._connection, world.device._channel_id.to_bytes(4, "big")
    message = bytes(200)
    connection.write_packet((channel + b"\x81" + len(message).to_bytes(2, "big") + message)[:64])
    for sequence, start in enumerate(range(57, len(message), 59)):
        connection.write_packet((channel + bytes([sequence]) + message[start : start + 59]).ljust(64, b"\0"))
    packets = [connection.read_packet() for _ in range(count)]
    return [(packet[:4] == channel, -1 if packet[4] & 0x80 else packet[4]) for packet in packets]


def answer_in_packets(*sequences, ours=True):
    """The packets of a PING's answer come in this order."""

    def check(world, name):
        assert echoed(world, 4) == [(True, sequence) for sequence in (-1, 0, 1, 2)]
        world.fault(name)
        assert echoed(world, len(sequences)) == [(ours, sequence) for sequence in sequences]

    return check


def keepalive_missing(world, name):
    def keepalives():
        heard = []
        world.user(manner="control")
        press = threading.Timer(0.4, lambda: world.authenticator.control("POST", "/v1/devices/1/user/press"))
        press.start()
        Ctap2(world.device).selection(on_keepalive=heard.append)
        press.join()
        return heard

    assert keepalives()
    world.fault(name)
    assert not keepalives()


def touch_slow(world, name):
    world.fault(name)
    started = time.monotonic()
    Ctap2(world.device).selection()
    assert time.monotonic() - started >= 2.9


def unplug_mid_ceremony(world, name):
    world.user(manner="control")
    world.fault(name)
    with pytest.raises(Exception) as failed:
        Ctap2(world.device).selection()
    assert not isinstance(failed.value, CtapError)
    assert world.authenticator.control("GET", "/v1/devices/1")["powered"] is False
    world.clear()
    world.authenticator.control("PUT", "/v1/devices/1/power", {"on": True})
    assert Ctap2(world.authenticator.attach()).info.versions


FAULTS = {
    "signature-wrong": in_assertions(signature_wrong),
    "rp-id-hash-wrong": in_assertions(rp_id_hash_wrong),
    "up-lie": in_assertions(up_lie),
    "uv-lie": in_assertions(uv_lie),
    "bs-without-be": in_assertions(bs_without_be),
    "be-changed": in_assertions(be_changed),
    "counter-stuck": counters(lambda before, first, second: first == second),
    "counter-backwards": counters(lambda before, first, second: second < first),
    "counter-jumps": counters(lambda before, first, second: second - first >= 1_000_000),
    "user-handle-missing": in_assertions(user_handle_missing),
    "user-handle-foreign": in_assertions(user_handle_foreign),
    "credential-id-empty": in_registrations(credential_id(0)),
    "credential-id-1023": in_registrations(credential_id(1023)),
    "credential-id-1024": in_registrations(credential_id(1024)),
    "cbor-malformed": in_registrations(malformed),
    "cbor-truncated": in_registrations(malformed),
    "cbor-not-canonical": in_registrations(not_canonical),
    "cbor-trailing": in_registrations(trailing),
    "response-empty": in_registrations(empty),
    "extension-unknown": in_registrations(extension_unknown),
    "aaguid-wrong": aaguid_wrong,
    "public-key-wrong": in_registrations(public_key_wrong),
    "certificate-wrong": certificate(certificate_wrong),
    "certificate-expired": certificate(certificate_expired),
    "certificate-aaguid-wrong": certificate(certificate_aaguid_wrong),
    "packet-lost": answer_in_packets(-1, 1, 2),
    "packet-duplicated": answer_in_packets(-1, 0, 0, 1, 1, 2, 2),
    "packets-reordered": answer_in_packets(-1, 1, 0, 2),
    "packet-wrong-channel": answer_in_packets(-1, 0, 1, 2, ours=False),
    "keepalive-missing": keepalive_missing,
    "touch-slow": touch_slow,
    "unplug-mid-ceremony": unplug_mid_ceremony,
}


def test_every_fault_there_is_has_a_test(world):
    assert world.authenticator.control("GET", "/v1/faults")["faults"] == list(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_fault(world, name):
    FAULTS[name](world, name)


def test_any_command_fails_with_any_status(world):
    status = {"command": 0x04, "status": 0x7F}
    answer = world.authenticator.control("PUT", "/v1/devices/1/faults/status", status)
    assert answer["statuses"] == [status]
    with pytest.raises(CtapError) as failed:
        Ctap2(world.device).get_info()
    assert failed.value.code == 0x7F
    world.clear()
    assert Ctap2(world.device).get_info().versions


def test_a_fault_that_was_taken_back_is_gone(world):
    made = world.made()
    world.fault("signature-wrong")
    assert not is_signed(public_key(made), world.got())
    world.authenticator.control("DELETE", "/v1/devices/1/faults/signature-wrong")
    assert is_signed(public_key(made), world.got())
