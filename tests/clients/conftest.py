"""Starts the program for a test and stops it afterwards.

`DOPPELKEY` is the path of the binary; the Rust test that runs this suite builds it and sets it.
"""

import contextlib
import json
import os
import signal
import subprocess
import urllib.request

import pytest

import usbip


class Authenticator:
    """A running `doppelkey run`, by its ready line."""

    def __init__(self, *arguments):
        command = [os.environ["DOPPELKEY"], "run", "--json", "--usbip", "127.0.0.1:0", "--packets", "127.0.0.1:0"]
        self.process = subprocess.Popen(command + list(arguments), stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, f"{' '.join(command)} ended before it was ready"
        self.ready = json.loads(line)
        assert self.ready["ready"] is True
        self.usbip, self.packets = self.ready["usbip"], self.ready["packets"]
        self.attached = []

    def attach(self, busid="1-1"):
        device = usbip.attach(self.usbip, busid)
        self.attached.append(device)
        return device

    def control(self, method, path, body=None):
        """A request to the control port's `/v1` routes and its siblings."""
        request = urllib.request.Request(
            self.ready["control"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.ready['token']}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    @contextlib.contextmanager
    def events(self, path):
        """The data of the server-sent events of this route, from now on."""
        request = urllib.request.Request(
            self.ready["control"] + path, headers={"Authorization": f"Bearer {self.ready['token']}"}
        )
        with urllib.request.urlopen(request, timeout=10) as stream:
            lines = (line.decode() for line in stream)
            yield (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))

    def stop(self):
        for device in self.attached:
            device.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        assert code == 0, f"doppelkey ended with {code} on SIGTERM"


@pytest.fixture
def start():
    """A function that starts an authenticator with further arguments."""
    running = []

    def begin(*arguments):
        running.append(Authenticator(*arguments))
        return running[-1]

    yield begin
    for authenticator in running:
        authenticator.stop()


@pytest.fixture
def authenticator(start):
    """An authenticator in memory whose user approves everything."""
    return start("--ephemeral", "--user", "auto")


@pytest.fixture
def device(authenticator):
    """That authenticator, attached: a python-fido2 device."""
    return authenticator.attach()
