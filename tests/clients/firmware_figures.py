"""What the images take: measured, compared with `firmware/budgets.json`, and written into `firmware/README.md`.

    DOPPELKEY_WRITE_FIGURES=1 cargo test -p end-to-end --test firmware figures

builds every image and writes the table; without the variable the same test fails where the table is not true any more.
"""

import hashlib
import json
import os
import struct

from fido2 import cbor
from fido2.ctap2 import ClientPin, Ctap2

import firmware

FOLDER = os.path.join(os.path.dirname(__file__), "../../firmware")
EMULATED = ["mps2_an386", "mps2_an505"]
OPERATIONS = [
    "getInfo", "makeCredential ES256", "getAssertion ES256", "makeCredential EdDSA", "getAssertion EdDSA",
    "largeBlobs, 1 kB", "setPIN", "getPinToken", "enumerateRPs",
]
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->\n"
# A compiler's whim moves a figure by less than this; more is a change that the table must tell.
TOLERANCE = 0.03


def budgets():
    with open(os.path.join(FOLDER, "budgets.json")) as file:
        return json.load(file)


def sizes(image):
    """Flash and static RAM in bytes, from the ELF file's sections: what is loaded, and what is allocated and writable."""
    with open(image, "rb") as file:
        elf = file.read()
    table, = struct.unpack_from("<I", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 46)
    flash = ram = 0
    for number in range(count):
        kind, flags, _, _, length = struct.unpack_from("<IIIII", elf, table + number * size + 4)
        allocated, writable, holds_bytes = flags & 2, flags & 1, kind != 8
        flash += length if allocated and holds_bytes else 0
        ram += length if allocated and writable else 0
    return flash, ram


def measure(image, flash):
    """Instructions of each operation, and the stack's peak over all of them in bytes, on an emulated board."""
    hash = hashlib.sha256(b"client data").digest()
    board = firmware.Board(image, flash)
    figures = {}
    try:
        recorder = firmware.Recorder(board)

        def told(name, request):
            assert recorder.call(0x10, request)[0] == 0, name
            figures[name] = board.figures()

        def made(algorithm, rp):
            return b"\x01" + cbor.encode({
                1: hash, 2: {"id": rp}, 3: {"id": b"user", "name": "name"},
                4: [{"alg": algorithm, "type": "public-key"}], 7: {"rk": True},
            })

        def got(rp):
            return b"\x02" + cbor.encode({1: rp, 2: hash})

        told("getInfo", b"\x04")
        told("makeCredential ES256", made(-7, "example.com"))
        told("getAssertion ES256", got("example.com"))
        told("makeCredential EdDSA", made(-8, "example.org"))
        told("getAssertion EdDSA", got("example.org"))
        array = bytes(1008)
        array += hashlib.sha256(array).digest()[:16]
        told("largeBlobs, 1 kB", b"\x0c" + cbor.encode({2: array, 3: 0, 4: len(array)}))
        ctap = Ctap2(board.device())
        pin = ClientPin(ctap)
        pin.set_pin("1234")
        figures["setPIN"] = board.figures()
        token = pin.get_pin_token("1234", ClientPin.PERMISSION.CREDENTIAL_MGMT)
        figures["getPinToken"] = board.figures()
        ctap.credential_mgmt(2, None, pin.protocol.VERSION, pin.protocol.authenticate(token, b"\x02"))
        figures["enumerateRPs"] = board.figures()
    finally:
        board.cut_power()
    assert list(figures) == OPERATIONS
    return {name: instructions for name, (instructions, _) in figures.items()}, max(peak for _, peak in figures.values())


def all_figures(images, scratch):
    """Every image that was built, with what can be known of it."""
    folder = os.environ["DOPPELKEY_FIRMWARE"]
    figures = {}
    for image in images:
        flash, ram = sizes(os.path.join(folder, image))
        figures[image] = {"flash": flash, "ram": ram}
        if image in EMULATED:
            instructions, stack = measure(image, os.path.join(scratch, image))
            figures[image].update(instructions=instructions, stack=stack)
    return figures


def over_budget(figures):
    """What is more than `budgets.json` allows."""
    allowed, over = budgets(), []
    for image, figure in figures.items():
        for name in ("flash", "ram", "stack"):
            limit = allowed[image].get(name)
            if limit is not None and figure.get(name, 0) > limit:
                over.append((image, name, figure[name], limit))
        for name, limit in allowed[image].get("instructions", {}).items():
            if figure["instructions"][name] > limit:
                over.append((image, name, figure["instructions"][name], limit))
    return over


def tables(figures):
    """The tables of the README."""
    lines = ["| image | flash | static RAM | stack |\n", "|---|---|---|---|\n"]
    for image, figure in figures.items():
        # An emulated board's memory holds its flash, which a real one has beside.
        real = image not in EMULATED
        sized = [f"{figure[name] / 1000:.1f} kB" if real else "" for name in ("flash", "ram")]
        stack = f"{figure['stack'] / 1000:.1f} kB" if "stack" in figure else ""
        lines.append(f"| `{image}` | {sized[0]} | {sized[1]} | {stack} |\n")
    lines += ["\n", "| million instructions | " + " | ".join(f"`{image}`" for image in EMULATED) + " |\n", "|---|---|---|\n"]
    for name in OPERATIONS:
        cells = [f"{figures[image]['instructions'][name] / 1e6:.2f}" for image in EMULATED]
        lines.append(f"| {name} | " + " | ".join(cells) + " |\n")
    return "".join(lines)


def numbers(text):
    """The table's cells, numbers as numbers."""
    cells = [cell.strip() for line in text.splitlines() for cell in line.split("|")]
    return [float(cell.removesuffix(" kB")) if cell[:1].isdigit() else cell for cell in cells]


def is_true(written, measured):
    """Whether the written table says what was measured, give or take the tolerance."""
    told, found = numbers(written), numbers(measured)
    if len(told) != len(found):
        return False
    return all(
        abs(a - b) <= max(TOLERANCE * b, 0.011) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in zip(told, found)
    )


def check_or_write(figures):
    """Fails where the README's table is not true; writes it where the environment says so."""
    path = os.path.join(FOLDER, "README.md")
    with open(path) as file:
        head, rest = file.read().split(BEGIN)
    written, tail = rest.split(END)
    measured = tables(figures)
    if os.environ.get("DOPPELKEY_WRITE_FIGURES"):
        with open(path, "w") as file:
            file.write(head + BEGIN + measured + END + tail)
    else:
        assert is_true(written, measured), f"firmware/README.md is not true any more:\n{measured}\n{__doc__}"
