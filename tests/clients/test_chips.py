"""The images that one flashes, up to the moment at which a platform sees them, and asleep after it."""

import hashlib
import os
import struct

import pytest
from fido2.attestation import PackedAttestation
from fido2.ctap2 import Ctap2

from chip_usb import Host
from chips import CHIPS

HASH = hashlib.sha256(b"client data").digest()
every_chip = pytest.mark.parametrize(("image", "chip"), CHIPS.items())


def test_every_image_without_an_emulator_has_a_model():
    assert sorted(CHIPS) == sorted(os.environ["DOPPELKEY_FIRMWARE_IMAGES"].split(","))


@every_chip
def test_the_first_start_makes_root_key_and_store_in_their_place_and_then_shows_the_device(image, chip):
    first = chip(image)
    first.run()
    assert (first.is_seen, first.wrong) == (True, [])
    flash = first.flash()
    banks = flash[first.sector:]
    one, other = banks[:len(banks) // 2], banks[len(banks) // 2:]
    assert (flash[:8], one[8:16]) == (b"DPKROOT1", b"DPKFLSH1"), "the root key's sector, then the first bank"
    assert (other[:8], set(other[8:])) == (b"DPKERASE", {0xFF}), "and one for later, known to be clean"

    again = chip(image, flash)
    again.run()
    assert (again.is_seen, again.wrong) == (True, [])
    assert (again.flash(), again.erased, again.programmed) == (flash, [], 0), "a start writes nothing without need"


@every_chip
def test_a_flash_with_something_else_in_it_is_not_touched_and_the_device_not_shown(image, chip):
    foreign = bytes(range(256)) * ((chip.ours[1] - chip.ours[0]) // 256)
    start = chip(image, foreign)
    start.run()
    assert (start.is_seen, start.wrong, start.flash() == foreign) == (False, [], True)
    assert len(start.flashes_us) == 3, "the LED says that something is broken"


@every_chip
def test_randomness_that_is_stuck_ends_the_start_before_anything_is_written(image, chip):
    start = chip(image, stuck=True)
    start.run()
    assert (start.is_seen, start.wrong, start.programmed) == (False, [], 0)
    assert len(start.flashes_us) == 3, "the LED says that something is broken"


def asleep(image, chip):
    """One that was started, and has nothing to do."""
    board = chip(image, stays=True)
    board.run()
    assert (board.is_seen, board.wrong, board.is_asleep) == (True, [], True)
    assert board.watchdog_us >= 5_000_000
    board.live(board.elapsed_us)
    return board


def flashes_in_ten_seconds(board):
    """By the LED, which a board that has nothing to do lights every two seconds, one sees its clock from outside."""
    board.flashes_us.clear()
    board.live(board.elapsed_us + 10_000_000)
    return [time_us % 2_000_000 for time_us in board.flashes_us]


@every_chip
def test_a_sleeping_board_is_woken_feeds_its_watchdog_and_its_time_goes_on(image, chip):
    board = asleep(image, chip)
    flashes = flashes_in_ten_seconds(board)
    assert board.wrong == []
    assert board.asleep_us > 9_000_000
    assert len(flashes) == 5 and max(flashes) < 6_000, "each at its time, but for a tick"


@every_chip
def test_time_goes_on_when_the_timer_goes_round(image, chip):
    board = asleep(image, chip)
    board.skip_to((1 << 32) - 5_000_000)
    flashes = flashes_in_ten_seconds(board)
    assert board.wrong == []
    assert len(flashes) == 5 and max(flashes) < 6_000, "each at its time, but for a tick"


@pytest.mark.parametrize(("image", "chip"), [(image, chip) for image, chip in CHIPS.items() if image.startswith("nrf")])
def test_a_board_with_power_but_no_bus_waits_for_it_without_a_watchdog(image, chip):
    board = chip(image)
    board.has_bus_power = False
    board.run(100_000)
    assert (board.is_seen, board.wrong, board.watchdog_us, board.programmed) == (False, [], None, 0)
    board.has_bus_power = True
    board.run()
    assert (board.is_seen, board.wrong) == (True, [])


@every_chip
def test_the_chip_s_own_usb_controller_enumerates_and_no_event_waits_for_a_tick(image, chip):
    host = Host(asleep(image, chip))
    device, configuration, report = host.enumerate()
    assert (device[8:12], configuration[5]) == (bytes.fromhex("0912d0f1"), 1)
    assert report[:5] == bytes.fromhex("06d0f10901"), "the FIDO usage page"
    assert max(host.waits_us) < 500, "a tick comes every 5,000"
    with pytest.raises(BrokenPipeError):
        host.control(0x80, 6, 0x4200, 0, 8)
    host.usb.suspend(True)
    host.chip.live(host.chip.elapsed_us + 1_000_000)
    host.usb.suspend(False)
    assert host.control(0x80, 6, 0x0100, 0, 18) == device, "after a second of suspension, in which it lived"
    assert host.chip.wrong == []


@every_chip
def test_python_fido2_registers_over_the_chip_s_own_usb_controller_and_keepalives_come_in_time(image, chip):
    board = asleep(image, chip)
    host = Host(board)
    host.enumerate()
    fido = Ctap2(host.fido())
    assert "FIDO_2_1" in fido.info.versions

    def touch(status):
        if status == 2:
            board.press(after_us=1_000_000, for_us=200_000)

    user, algorithm = {"id": b"user", "name": "user"}, {"type": "public-key", "alg": -7}
    made = fido.make_credential(HASH, {"id": "example.com", "name": "it"}, user, [algorithm], on_keepalive=touch)
    PackedAttestation().verify(made.att_stmt, made.auth_data, HASH)
    credential = made.auth_data.credential_data
    allowed = [{"type": "public-key", "id": credential.credential_id}]
    fido.get_assertion("example.com", HASH, allowed, on_keepalive=touch).verify(HASH, credential.public_key)
    assert host.keepalives > 20
    assert max(host.waits_us) < 100_000, "CTAPHID's 100 ms, also while it signs"
    assert board.wrong == []


@every_chip
def test_data_that_nobody_asked_for_interrupts_but_not_for_ever(image, chip):
    host = Host(asleep(image, chip))
    device, _, _ = host.enumerate()
    # A report of 4 kB, which is more than it has room for.
    host.usb.setup(struct.pack("<BBHHH", 0x21, 9, 0x0200, 0, 0x1000))
    host.chip.live(host.chip.elapsed_us + 100)
    host.usb.data_stage(bytes(64))
    host.chip.live(host.chip.elapsed_us + 100_000)
    assert host.chip.wrong == []
    assert host.control(0x80, 6, 0x0100, 0, 18) == device


@every_chip
def test_a_platform_that_writes_and_does_not_read_is_held_back_and_the_board_lives(image, chip):
    board = asleep(image, chip)
    host = Host(board)
    host.enumerate()
    init = (b"\xff" * 4 + b"\x86\x00\x08" + b"a nonce.").ljust(64, b"\0")
    written = 0
    while host.usb.give(1, init):
        written += 1
        assert written < 100
        board.live(board.elapsed_us + 20_000)
    board.live(board.elapsed_us + 200_000)
    assert board.wrong == []
    answers = [host.read_packet()[:15] for _ in range(written)]
    assert answers == [init[:6] + b"\x11" + b"a nonce."] * written, "and nothing was lost"
