"""The firmware's images in their emulators: one transcript, byte for byte, and an unmodified python-fido2."""

import hashlib
import os
import time

import pytest
from fido2 import cbor
from fido2.attestation import PackedAttestation
from fido2.ctap import CtapError
from fido2.ctap2 import Ctap2, ClientPin
from fido2.webauthn import AuthenticatorData

import firmware
import usbip

HASH = hashlib.sha256(b"client data").digest()
CBOR, PING, WINK = 0x10, 0x01, 0x08


def make_credential(number, algorithm=-7, **options):
    request = {
        1: HASH,
        2: {"id": "example.com", "name": "Example"},
        3: {"id": b"user%d" % number, "name": "user %d" % number, "displayName": "User"},
        4: [{"alg": algorithm, "type": "public-key"}],
        7: {"rk": True},
        **options,
    }
    return b"\x01" + cbor.encode(request)


needs_rp2040js = pytest.mark.skipif(
    not os.path.isdir(os.path.join(os.environ.get("DOPPELKEY_NODE_MODULES", ""), "rp2040js")),
    reason="needs rp2040js (set DOPPELKEY_NODE_MODULES)",
)
NAME = hashlib.sha256(b"sealed").digest()[:16]
# An entry for sync's shelf: the quickest thing that is written.
PUT = b"\x53\x01" + NAME + (6).to_bytes(4, "big") + bytes(4) + b"sealed"
GET_ASSERTION = b"\x02" + cbor.encode({1: "example.com", 2: HASH})


def transcript(image, flash):
    """A life with two power cuts, with nothing random on either side."""
    messages = []
    board = firmware.Board(image, flash)
    recorder = firmware.Recorder(board)
    recorder.call(PING, bytes(range(256)) * 4)
    recorder.call(WINK, b"")
    recorder.call(CBOR, b"\x04")
    for number, algorithm in enumerate([-7, -8, -7]):
        recorder.call(CBOR, make_credential(number, algorithm))
    recorder.call(CBOR, make_credential(9, -257))
    recorder.call(CBOR, GET_ASSERTION)
    recorder.call(CBOR, b"\x08")
    recorder.call(CBOR, b"\x08")
    recorder.call(CBOR, b"\x06\xa2\x01\x02\x02\x01")
    recorder.call(CBOR, b"\x06\xa2\x01\x02\x02\x02")
    recorder.call(CBOR, b"\x01\xff")
    recorder.call(CBOR, b"\x77")
    messages += recorder.messages
    board.cut_power()
    board = firmware.Board(image, flash, seed="8")
    recorder = firmware.Recorder(board)
    recorder.call(CBOR, GET_ASSERTION)
    # Power goes while it writes: what was answered is there, what was not is whole or absent.
    recorder.connection.write_packet((recorder.channel + b"\x90\x00\x01\x0b").ljust(64, b"\0"))
    messages += recorder.messages
    board.cut_power()
    board = firmware.Board(image, flash, seed="9")
    recorder = firmware.Recorder(board)
    recorder.call(CBOR, make_credential(1))
    recorder.call(CBOR, GET_ASSERTION)
    recorder.call(CBOR, b"\x07")
    recorder.call(CBOR, GET_ASSERTION)
    messages += recorder.messages
    board.cut_power()
    return messages


def test_every_image_says_the_same_byte_for_byte(tmp_path):
    told = {image: transcript(image, tmp_path / image) for image in firmware.IMAGES}
    host = told["host"]
    statuses = [message[1] for message in host if message[0] == 0x90]
    assert statuses[:8] == [0, 0, 0, 0, 0x26, 0, 0, 0], statuses
    assert statuses[-2:] == [0, 0x2E], "reset is within its window, and empties it"
    for image, messages in told.items():
        assert messages == host, image
    # All flashes hold the same, too: the same records were written in the same places.
    flashes = {(tmp_path / image).read_bytes() for image in firmware.IMAGES}
    assert len(flashes) == 1


def short_transcript(image, flash):
    """What the slowest emulation can do in a minute, with a power cut in a response and one in a PIN attempt."""
    messages = []
    board = firmware.Board(image, flash, seed=firmware.ROSC)
    recorder = firmware.Recorder(board)
    recorder.call(PING, bytes(range(256)) * 4)
    recorder.call(CBOR, b"\x04")
    recorder.call(CBOR, make_credential(0))
    recorder.call(CBOR, GET_ASSERTION)
    messages += recorder.messages
    board.cut_power()
    board = firmware.Board(image, flash, seed=firmware.ROSC)
    recorder = firmware.Recorder(board)
    recorder.call(CBOR, GET_ASSERTION)
    recorder.call(CBOR, b"\x01\xff")
    recorder.call(CBOR, b"\x07")
    recorder.call(CBOR, GET_ASSERTION)
    messages += recorder.messages
    board.cut_power()
    return messages


@needs_rp2040js
def test_the_image_that_one_flashes_says_the_same_through_its_own_usb_controller(tmp_path):
    host = short_transcript("host", tmp_path / "host")
    pico = short_transcript(firmware.PICO, tmp_path / "pico")
    assert [message[1] for message in host if message[0] == 0x90] == [0, 0, 0, 0, 0x12, 0, 0x2E]
    assert pico == host
    assert (tmp_path / "pico").read_bytes() == (tmp_path / "host").read_bytes(), "the same records in the same places"


@needs_rp2040js
def test_the_image_that_one_flashes_is_a_usb_device_for_clients_over_usbip(tmp_path):
    """A bridge makes the emulated chip a USB/IP device: enumerated, unplugged and plugged in as Linux does it."""
    board = firmware.Board(firmware.PICO, tmp_path / "pico", options=["usbip"])
    try:
        address = board.usbip()
        (found,) = usbip.devices(address)
        assert (found["vid"], found["pid"], found["interface_classes"]) == (0x1209, 0xF1D0, [(3, 0, 0)])
        device = usbip.attach(address)
        made = Ctap2(device).make_credential(
            HASH, {"id": "example.com", "name": "E"}, {"id": b"u", "name": "n", "displayName": "d"},
            [{"type": "public-key", "alg": -7}], options={"rk": True},
        )
        PackedAttestation().verify(made.att_stmt, made.auth_data, HASH)
        device.close()
        device = usbip.attach(address)
        got = Ctap2(device).get_assertion("example.com", HASH)
        got.verify(HASH, made.auth_data.credential_data.public_key)
        device.close()
    finally:
        board.cut_power()


@needs_rp2040js
def test_a_broken_source_of_randomness_is_an_error_that_the_led_tells(tmp_path):
    board = firmware.Board(firmware.PICO, tmp_path / "pico", options=["randomness=stuck"])
    try:
        # Three short flashes, and no device on the bus.
        seen = b""
        while seen.count(b"L1") < 3:
            seen += board.button.recv(64)
        board.line.settimeout(1)
        board.line.sendall(b"\xff\xff\xff\xff\x86\x00\x08".ljust(64, b"\0"))
        with pytest.raises(TimeoutError):
            board.line.recv(64)
    finally:
        board.cut_power()


@needs_rp2040js
def test_a_thread_that_hangs_is_ended_by_the_watchdog_and_nothing_is_lost(tmp_path):
    """Interrupts go on, and feed nothing."""
    board = firmware.Board(firmware.PICO, tmp_path / "pico")
    try:
        recorder = firmware.Recorder(board)
        assert recorder.call(CBOR, PUT) == b"\0\0"
        board.button.sendall(b"h")
        told = b""
        while not told.endswith(b"\n"):
            told += board.button.recv(64)
        took_ms = int(told[told.index(b"W") + 1:])
        assert 7000 <= took_ms <= 8100, "eight seconds after it was fed last"
    finally:
        board.cut_power()
    board = firmware.Board(firmware.PICO, tmp_path / "pico")
    try:
        assert firmware.Recorder(board).call(CBOR, b"\x53\x02" + bytes(8))[10:] == NAME, "it starts again"
    finally:
        board.cut_power()


@pytest.mark.parametrize("image", firmware.IMAGES)
def test_python_fido2_registers_signs_in_and_sets_a_pin(image, tmp_path):
    board = firmware.Board(image, tmp_path / "flash")
    try:
        ctap = Ctap2(board.device())
        made = ctap.make_credential(
            HASH, {"id": "example.com", "name": "E"}, {"id": b"u", "name": "n", "displayName": "d"},
            [{"type": "public-key", "alg": -7}], options={"rk": True},
        )
        PackedAttestation().verify(made.att_stmt, made.auth_data, HASH)
        got = ctap.get_assertion("example.com", HASH)
        got.verify(HASH, made.auth_data.credential_data.public_key)
        pin = ClientPin(ctap)
        pin.set_pin("1234")
        with pytest.raises(CtapError) as wrong:
            pin.get_pin_token("4321")
        assert wrong.value.code == CtapError.ERR.PIN_INVALID
        assert pin.get_pin_retries()[0] == 7
    finally:
        board.cut_power()
    # Retries are never regained by pulling the plug.
    board = firmware.Board(image, tmp_path / "flash", seed="8")
    try:
        pin = ClientPin(Ctap2(board.device()))
        assert pin.get_pin_retries()[0] == 7
        assert pin.get_pin_token("1234")
        assert pin.get_pin_retries()[0] == 8
    finally:
        board.cut_power()


@pytest.mark.parametrize("image", firmware.IMAGES[1:])
def test_the_button_is_waited_for_and_cancel_works(image, tmp_path):
    board = firmware.Board(image, tmp_path / "flash", touch="button")
    try:
        recorder = firmware.Recorder(board)
        selection = (recorder.channel + b"\x90\x00\x01\x0b").ljust(64, b"\0")
        recorder.connection.write_packet(selection)
        for _ in range(3):
            assert recorder.connection.read_packet()[4:8] == b"\xbb\x00\x01\x02"
        recorder.connection.write_packet((recorder.channel + b"\x91").ljust(64, b"\0"))
        assert answer(recorder)[4:8] == b"\x90\x00\x01\x2d"
        recorder.connection.write_packet(selection)
        assert recorder.connection.read_packet()[4] == 0xBB
        board.button.sendall(b"1")
        assert answer(recorder)[4:8] == b"\x90\x00\x01\x00"
    finally:
        board.cut_power()


def answer(recorder):
    packet = recorder.connection.read_packet()
    while packet[4] == 0xBB:
        packet = recorder.connection.read_packet()
    return packet


def test_an_update_keeps_passkeys_and_pin_and_so_does_the_way_back(tmp_path):
    """The next image is another build, with more commands, on the flash that this one left."""
    flash = tmp_path / "flash"
    board = firmware.Board("mps2_an386", flash)
    ctap = Ctap2(board.device())
    small = ctap.get_info()
    made = ctap.make_credential(
        HASH, {"id": "example.com", "name": "E"}, {"id": b"u", "name": "n", "displayName": "d"},
        [{"type": "public-key", "alg": -7}], options={"rk": True},
    )
    ClientPin(ctap).set_pin("1234")
    board.cut_power()
    for image, info in [(firmware.NEXT, None), ("mps2_an386", small)]:
        board = firmware.Board(image, flash)
        try:
            ctap = Ctap2(board.device())
            assert ctap.get_info().options["clientPin"], "the PIN is there"
            assert (ctap.get_info().versions == small.versions) == (info is not None), "another image"
            got = ctap.get_assertion("example.com", HASH)
            got.verify(HASH, made.auth_data.credential_data.public_key)
            assert got.auth_data.counter > 0
            pin = ClientPin(ctap)
            with pytest.raises(CtapError):
                pin.get_pin_token("4321", ClientPin.PERMISSION.CREDENTIAL_MGMT)
            assert pin.get_pin_retries()[0] == 7
            pin.get_pin_token("1234", ClientPin.PERMISSION.CREDENTIAL_MGMT)
        finally:
            board.cut_power()


def stories():
    """Stories of the corpus and mutants of them: a line each, steps in hexadecimal; `r` a request, `p` a packet."""
    with open(os.environ["DOPPELKEY_FIRMWARE_STORIES"]) as file:
        for line in file:
            yield [(step[0], bytes.fromhex(step[1:])) for step in line.split()]


def hear(story, recorder):
    """Tells a story, and waits until the board has answered a newcomer, whose channel is returned."""
    for kind, step in story:
        if kind == "r" and 0 < len(step) <= 7609:
            recorder.call(CBOR, step)
        elif kind == "p":
            # On the channel that there is, or as the packet says.
            step = recorder.channel + step[4:] if step[:4] == bytes(4) else step
            recorder.connection.write_packet(step[:64].ljust(64, b"\0"))
    # A half of a message may still be awaited: a newcomer is told so, until its time is over.
    init = (b"\xff" * 4 + b"\x86\x00\x08" + b"newcomer").ljust(64, b"\0")
    recorder.connection.write_packet(init)
    while True:
        packet = recorder.connection.read_packet()
        if packet[:5] == b"\xff\xff\xff\xff\x86" and packet[7:15] == b"newcomer":
            return packet[15:19]
        if packet[:5] == b"\xff\xff\xff\xff\xbf":
            recorder.connection.write_packet(init)


def told(image, flash, every):
    """The answers of an image to the stories' requests, one of so many; then it hears all packets, and must still work."""
    board = firmware.Board(image, flash)
    try:
        recorder = firmware.Recorder(board)
        board.line.settimeout(60)
        for story in stories():
            if any(kind == "r" for kind, _ in story):
                hear(story[::every], recorder)
        requests = list(recorder.messages)
        for story in stories():
            if all(kind == "p" for kind, _ in story):
                newcomer = hear(story, recorder)
        # It still does what it is for, once whatever a story began and did not end is over.
        recorder.channel = newcomer
        while recorder.call(CBOR, b"\x04") == b"\x06":
            time.sleep(0.05)
        assert recorder.messages[-1][1] == 0
        assert recorder.call(CBOR, make_credential(7))[0] == 0
        return requests
    finally:
        board.cut_power()


@pytest.mark.parametrize(("image", "every"), [
    ("mps2_an386", 1),
    ("mps2_an505", 4),
    # Its emulation takes a thousand times as long for an instruction.
    pytest.param(firmware.PICO, 9, marks=needs_rp2040js),
])
def test_no_story_of_the_fuzz_corpora_hangs_an_image(image, every, tmp_path):
    host = told("host", tmp_path / "host", every)
    assert len(host) > 300 // every, "the stories are told"
    assert told(image, tmp_path / "image", every) == host
