"""The table, in Markdown, and its place in the repository's README."""

BEGIN = "<!-- comparison: written by tests/comparison/run -->"
END = "<!-- comparison: end -->"

# Name in the figures, name to show, what is shown of its versions.
ENGINES = [
    ("doppelkey", "Doppelkey", "doppelkey-core"),
    ("passkey_authenticator", "passkey-authenticator", "passkey-authenticator"),
    ("soft_fido2", "soft-fido2", "soft-fido2"),
    ("fido_authenticator", "fido-authenticator on Trussed", "fido-authenticator"),
]
PYTHON = [("soft-webauthn", "soft-webauthn 0.1.4 (Python)"), ("soft-fido2 (Python)", "soft-fido2 0.4.56 (Python)")]
EXTENSIONS = ["credProtect", "hmac-secret", "credBlob", "largeBlobKey"]
COMMANDS = {
    "PIN protocol 2": "PIN",
    "authenticatorCredentialManagement": "credential management",
    "authenticatorLargeBlobs": "large blobs",
    "authenticatorConfig": "config",
    "U2F": "U2F",
}


def time(times):
    return f"{shown(times['median_us'])} ({shown(times['p99_us'])})"


def shown(microseconds):
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    return f"{microseconds / 1000:.{1 if microseconds < 100_000 else 0}f} ms"


def mib(kib):
    return f"{kib / 1024:.1f} MiB"


def markdown(found):
    machine, floors = found["machine"], found["floors"]
    parts = [
        f"Measured on {machine['date']} in one run: {machine['cores']} cores of {machine['cpu']}, {machine['system']}, "
        f"Rust {machine['rust']}, Python {machine['python']}, load average {machine['load']:.1f} at its start. Median (99th "
        f"percentile) of ES256 ceremonies with automatic approval. Floors of the same run: a P-256 signature "
        f"{shown(floors['sign']['median_us'])}, a key pair {shown(floors['key_pair']['median_us'])} (crate `p256`, default features).",
        engines(found),
        *(section(found[name], heading, fill) for name, heading, fill in (
            ("doors", "Through USB/IP, by python-fido2 and a client in user space", doors),
            ("browsers", None, browsers),
        )),
        "Not in it, because no package of crates.io, PyPI, npm or Debian has them: hardware keys, the authenticators of phones "
        "and operating systems, password managers, and `virtual-fido` (Go). `soft-fido2` (Rust) has no door but "
        "`/dev/uhid`, and `passkey-authenticator` has none: they are in the first table only.",
    ]
    return "\n\n".join(part for part in parts if part)


def engines(found):
    rows = [
        "**In process, CTAP2 bytes in and out, in memory**\n",
        "| | makeCredential | getAssertion | memory | ready | lines | CTAP | extensions | and |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, name, crate in ENGINES:
        peer, counted = found["in_process"][key], found["lines"][key]
        name = f"{name} {counted['crates'][crate]}"
        if "error" in peer:
            rows.append(f"| {name} | not measured: {peer['error']} | | | | {counted['lines']} | | | |")
            continue
        supports = peer["supports"]
        make = time(peer["make"]) + ("" if supports["attestation"]["signed"] else " ¹")
        versions = ", ".join(version.removeprefix("FIDO_").replace("_", ".") for version in peer["info"]["versions"] if "FIDO" in version)
        extensions = [one for one in EXTENSIONS if supports[one]]
        extensions += ["prf ²"] if supports["PRF without hmac-secret"] else []
        others = [shown_as for name_, shown_as in COMMANDS.items() if supports[name_]]
        rows.append(
            f"| {name} | {make} | {time(peer['get'])} | {mib(peer['memory_kib'])} | {peer['ready_ms']:.1f} ms | "
            f"{counted['lines']} | {versions} | {', '.join(extensions) or '–'} | "
            f"{', '.join(others + [' '.join(supports['algorithms'])])} |"
        )
    for key, name in PYTHON:
        peer = found["python"][key]
        if "error" in peer:
            rows.append(f"| {name} | not measured: {peer['error']} | | | | | | | |")
        else:
            rows.append(
                f"| {name} ³ | {time(peer['make'])}{' ¹' if key == 'soft-webauthn' else ''} | {time(peer['get'])} | {mib(peer['memory_kib'])} | "
                f"{peer['ready_ms']:.0f} ms | | | | |"
            )
    rows.append(
        "\n¹ Makes no attestation signature, which the others' makeCredential has in it. ² Its own, for a client in the same "
        "process. ³ WebAuthn options in, response out; one key a device."
    )
    return "\n".join(rows)


def section(figures, heading, fill):
    if not figures:
        return ""
    if "error" in figures:
        return f"**{heading or 'In Chromium'}**: not measured: {figures['error']}"
    return fill(figures, heading)


def doors(figures, heading):
    rows = [f"**{heading}**\n", "| | makeCredential | getAssertion | memory | ready |", "|---|---|---|---|---|"]
    for name, peer in figures.items():
        if "error" in peer:
            rows.append(f"| {name} | not measured: {peer['error']} | | | |")
            continue
        floor = peer.get("floors", {}).get("fdatasync")
        floor = f"; an append of 512 bytes and its fdatasync alone, just after (the disk is shared): {shown(floor['median_us'])}" if floor else ""
        rows.append(
            f"| {name} | {time(peer['make'])}{floor} | {time(peer['get'])} | {mib(peer['memory_kib'])} | {peer['ready_ms']:.0f} ms |"
        )
    return "\n".join(rows)


def browsers(figures, _):
    version = figures["version"].split(" built")[0]
    rows = [
        f"**A page's own calls, in headless {version}**\n",
        "| | create() | get() | plugged in after | passkeys of a site | works |",
        "|---|---|---|---|---|---|",
    ]
    for name, peer in figures.items():
        if name == "version":
            continue
        if "error" in peer:
            rows.append(f"| {name} | not measured: {peer['error']} | | | | |")
            continue
        works = [one for one, yes in peer["supports"].items() if yes]
        room = "25 and more" if peer["passkeys"] >= 25 else peer["passkeys"]
        rows.append(
            f"| {name} | {time(peer['make'])} | {time(peer['get'])} | {peer['ready_ms']:.0f} ms | {room} | {', '.join(works)} |"
        )
    return "\n".join(rows)


def write(readme, text):
    before = readme.read_text()
    head, rest = before.split(BEGIN)
    _, tail = rest.split(END)
    readme.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
