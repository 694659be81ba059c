"""The images that one flashes, up to the moment at which a platform sees them."""

import pytest

from chips import CHIPS

# More than a start takes: making the root key and the store, or reading them.
LONG = 30_000_000
every_chip = pytest.mark.parametrize(("image", "chip"), CHIPS.items())


@every_chip
def test_the_first_start_makes_root_key_and_store_in_their_place_and_then_shows_the_device(image, chip):
    first = chip(image)
    first.run(LONG)
    assert (first.is_seen, first.wrong) == (True, [])
    flash = first.flash()
    banks = flash[first.sector:]
    one, other = banks[:len(banks) // 2], banks[len(banks) // 2:]
    assert (flash[:8], one[8:16]) == (b"DPKROOT1", b"DPKFLSH1"), "the root key's sector, then the first bank"
    assert (other[:8], set(other[8:])) == (b"DPKERASE", {0xFF}), "and one for later, known to be clean"

    again = chip(image, flash)
    again.run(LONG)
    assert (again.is_seen, again.wrong) == (True, [])
    assert (again.flash(), again.erased, again.programmed) == (flash, [], 0), "a start writes nothing without need"


@every_chip
def test_a_flash_with_something_else_in_it_is_not_touched_and_the_device_not_shown(image, chip):
    foreign = bytes(range(256)) * ((chip.ours[1] - chip.ours[0]) // 256)
    start = chip(image, foreign)
    start.run(LONG)
    assert (start.is_seen, start.wrong, start.flash() == foreign) == (False, [], True)
    assert start.flashes == 3, "the LED says that something is broken"


@every_chip
def test_randomness_that_is_stuck_ends_the_start_before_anything_is_written(image, chip):
    start = chip(image, stuck=True)
    start.run(LONG)
    assert (start.is_seen, start.wrong, start.programmed) == (False, [], 0)
    assert start.flashes == 3, "the LED says that something is broken"
