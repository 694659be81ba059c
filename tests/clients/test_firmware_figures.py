"""Flash, RAM, stack and instructions of every image: within their budgets, and as the README tells them."""

import os

import firmware_figures as figures


def test_every_image_is_within_its_budget_and_the_readme_is_true(tmp_path):
    images = list(figures.budgets())
    built = set(os.environ["DOPPELKEY_FIRMWARE_IMAGES"].split(","))
    # The other build that the update test starts is nobody's to flash.
    assert built - {"mps2_an386_next"} == set(images), "every image has a budget, and every budget an image"
    measured = figures.all_figures(images, tmp_path)
    figures.check_or_write(measured)
    assert not figures.over_budget(measured)


def test_a_table_that_is_stale_is_found():
    written = "| `pico` | 120.0 kB | 30.0 kB | |\n"
    assert figures.is_true(written, "| `pico` | 121.0 kB | 30.0 kB | |\n"), "a compiler's whim"
    assert not figures.is_true(written, "| `pico` | 130.0 kB | 30.0 kB | |\n")
    assert not figures.is_true(written, "| `pico2` | 120.0 kB | 30.0 kB | |\n")
    assert not figures.is_true(written, written + "| `more` | 1.0 kB | 1.0 kB | |\n")
