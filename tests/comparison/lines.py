"""How much there is to read: lines of Rust or Python that are neither blank, nor a comment, nor a test."""

import json
import re
import subprocess

# What is the authenticator, without what only carries its packets; peers as cargo has unpacked them.
PEERS = {
    "doppelkey": ["doppelkey-core"],
    "passkey_authenticator": ["passkey-authenticator", "passkey-types", "passkey-crypto"],
    "soft_fido2": ["soft-fido2", "soft-fido2-ctap", "soft-fido2-crypto"],
    "fido_authenticator": ["fido-authenticator", "ctap-types", "trussed", "trussed-core", "trussed-staging"],
}


def count(manifest_folder, root):
    command = ["cargo", "metadata", "--format-version", "1", "--manifest-path", manifest_folder / "Cargo.toml"]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["packages"]
    found = {}
    for peer, crates in PEERS.items():
        of_peer = {package["name"]: package for package in packages if package["name"] in crates}
        folders = [of_peer[name]["manifest_path"].removesuffix("Cargo.toml") + "src" for name in crates]
        found[peer] = {
            "crates": {name: of_peer[name]["version"] for name in crates},
            "lines": sum(code(folder) for folder in folders),
        }
    return found


def code(folder):
    from pathlib import Path

    total = 0
    for path in Path(folder).rglob("*.rs"):
        # `testing` is our fake world for others' tests, `tests` everybody's own.
        if {"tests", "testing"} & set(path.relative_to(folder).parts) or path.stem in ("tests", "test", "testing", "mock"):
            continue
        text = re.split(r"^#\[cfg\(test\)\]\nmod \w+ \{", path.read_text(), flags=re.MULTILINE)[0]
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        total += sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("//"))
    return total
