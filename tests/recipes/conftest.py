"""pytest fixtures: a fresh authenticator for each test, in memory, without USB. Copy them into your own conftest.py."""

import json
import os
import subprocess
import urllib.request

import pytest


class Doppelkey:
    """A subcommand of doppelkey that prints one line of JSON once it is ready."""

    def __init__(self, *arguments):
        command = [os.environ.get("DOPPELKEY", "doppelkey"), *arguments, "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self.process.stdout.readline())

    def user(self, method, path="", body=None):
        """Leads the user: `user("PATCH", body={"manner": "deny"})`, `user("POST", "/fail-verification")`."""
        request = urllib.request.Request(
            f"{self.ready['control']}/v1/devices/1/user{path}",
            json.dumps(body or {}).encode(),
            {"Authorization": f"Bearer {self.ready['token']}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def authenticator(tmp_path):
    """An authenticator whose user approves everything, until told otherwise; `ready["chromium"]` is the extension."""
    arguments = ["--ephemeral", "--user", "auto", "--usbip", "off", "--bridge", "127.0.0.1:0", "--packets", "127.0.0.1:0"]
    running = Doppelkey("run", *arguments, "--extensions", str(tmp_path))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def site():
    """A relying party in memory: its URL."""
    running = Doppelkey("relying-party", "--db", "memory", "--listen", "127.0.0.1:0")
    yield running.ready["url"]
    running.stop()
