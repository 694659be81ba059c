"""The fixture by itself, with python-fido2 over the packets door; and how long it takes to start."""

import socket
import statistics
import time

from conftest import Doppelkey


def test_an_authenticator_answers_a_ping(authenticator):
    host, port = authenticator.ready["packets"].rsplit(":", 1)
    with socket.create_connection((host, int(port))) as door:
        init = b"\xff\xff\xff\xff\x86\x00\x08" + b"a nonce."
        door.sendall(init.ljust(64, b"\0"))
        answer = door.recv(64, socket.MSG_WAITALL)
        assert answer[7:15] == b"a nonce."


def test_an_authenticator_starts_quickly():
    times = []
    for _ in range(5):
        begun = time.monotonic()
        running = Doppelkey("run", "--ephemeral", "--user", "auto", "--usbip", "off")
        times.append(time.monotonic() - begun)
        running.stop()
    print(f"ready after {statistics.median(times) * 1000:.0f} ms (median of {len(times)})")
