"""pytest fixtures: a fresh authenticator for each test, in memory, without USB. Copy them into your own conftest.py."""

import json
import os
import subprocess
import time
import urllib.request

import pytest

PROGRAM = os.environ.get("DOPPELKEY", "doppelkey")


class Doppelkey:
    """A subcommand of doppelkey that prints one line of JSON once it is ready."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([PROGRAM, *arguments, "--json"], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, f"doppelkey {arguments[0]} ended before it was ready: see standard error"
        self.ready = json.loads(line)

    def control(self, method, path, body=None):
        """Asks the control port about the first device."""
        request = urllib.request.Request(
            f"{self.ready['control']}/v1/devices/1{path}",
            None if method == "GET" else json.dumps(body or {}).encode(),
            {"Authorization": f"Bearer {self.ready['token']}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def user(self, method, path="", body=None):
        """Leads the user: `user("PATCH", body={"manner": "deny"})`, `user("POST", "/fail-verification")`."""
        return self.control(method, f"/user{path}", body)

    def passkeys(self):
        """The passkeys, with their private keys: what `add` takes."""
        return self.control("GET", "/credentials?with_keys=true")["credentials"]

    def add(self, passkeys):
        """Puts copies of passkeys into this authenticator."""
        for passkey in passkeys:
            self.control("POST", "/credentials", passkey)

    def wait_for_passkeys(self, count, seconds=30):
        """Waits until so many are here: sync takes a moment."""
        deadline = time.monotonic() + seconds
        while len(self.passkeys()) < count:
            assert time.monotonic() < deadline, f"{count} passkeys did not come within {seconds} s"
            time.sleep(0.1)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture
def plug(tmp_path):
    """Plugs an authenticator in, in place of the one before: the browser's extension leads to it from now on.

    Its user approves everything, until told otherwise; `ready["chromium"]` is the extension.
    """
    plugged = []

    def plug(*vault):
        for before in plugged:
            before.stop()
        doors = ["--usbip", "off", "--bridge", "127.0.0.1:0", "--packets", "127.0.0.1:0"]
        vault = vault or ["--ephemeral"]
        plugged.append(Doppelkey("run", *vault, "--user", "auto", *doors, "--extensions", str(tmp_path / "extensions")))
        return plugged[-1]

    yield plug
    for authenticator in plugged:
        authenticator.stop()


@pytest.fixture
def authenticator(plug):
    """An authenticator in memory."""
    return plug()


@pytest.fixture
def synced(tmp_path):
    """Two vaults that share their passkeys, a phone's and a laptop's: what `plug` takes."""
    phone, laptop = (
        ["--vault", str(tmp_path / name), "--custody", f"file:{tmp_path / name}.key"] for name in ("phone", "laptop")
    )
    run = lambda *arguments: subprocess.run([PROGRAM, "sync", *arguments], check=True, stderr=subprocess.DEVNULL)
    run("init", *phone, "--name", "phone", "--mailbox", f"folder:{tmp_path / 'mailbox'}")
    command = [PROGRAM, "sync", "invite", *phone, "--yes", "--no-qr"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as inviting:
        run("join", *laptop, "--name", "laptop", inviting.stdout.readline().strip())
    assert inviting.returncode == 0
    return phone, laptop


@pytest.fixture(scope="session")
def site():
    """A relying party in memory: its URL."""
    running = Doppelkey("relying-party", "--db", "memory", "--listen", "127.0.0.1:0")
    yield running.ready["url"]
    running.stop()
