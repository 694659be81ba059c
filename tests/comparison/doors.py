"""The same ceremonies by python-fido2 through USB/IP, against each peer that can be plugged in so, one after the other.

One user-space client for all (`tests/clients/usbip.py`), so that no kernel module and no root is needed. Prints JSON.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import usbip
from fido2.ctap2 import Ctap2

ROUNDS = int(os.environ.get("DOOR_ROUNDS", 200))


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, len(values) * part // 100)]


def summary(times):
    return {"median_us": percentile(times, 50) * 1e6, "p99_us": percentile(times, 99) * 1e6}


def ceremonies(address):
    """makeCredential of twenty accounts in turn, getAssertion with the last of them."""
    device = usbip.attach(address)
    try:
        ctap = Ctap2(device)
        uv = {"uv": True} if ctap.info.options.get("uv") else {}
        parameters = [{"type": "public-key", "alg": -7}]
        rp = {"id": "example.com", "name": "Example"}
        make, get = [], []
        rounds = ROUNDS
        for number in range(rounds):
            name = f"user-{number % 20}"
            user = {"id": name.encode(), "name": name, "displayName": name}
            start = time.perf_counter()
            made = ctap.make_credential(b"\7" * 32, rp, user, parameters, options={"rk": True, **uv})
            make.append(time.perf_counter() - start)
            if sum(make) > 30:
                break
        allow = [{"type": "public-key", "id": made.auth_data.credential_data.credential_id}]
        for _ in range(rounds):
            start = time.perf_counter()
            ctap.get_assertion("example.com", b"\7" * 32, allow, options=uv or None)
            get.append(time.perf_counter() - start)
            if sum(get) > 30:
                break
        return {"make": summary(make), "get": summary(get), "rounds": len(get)}
    finally:
        device.close()


def memory_kib(pid):
    line = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS:"))
    return int(line.split()[1])


@contextlib.contextmanager
def started(command, **options):
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError((process.stderr.read().strip() or "it ended").splitlines()[-1])
            yield process, line, (time.perf_counter() - start) * 1e3
        finally:
            process.kill()


def doppelkey(*vault):
    command = [os.environ["DOPPELKEY"], "run", *vault, "--user", "auto", "--usbip", "127.0.0.1:0", "--json"]
    with started(command) as (process, line, ready_ms):
        found = ceremonies(json.loads(line)["usbip"])
        return {**found, "ready_ms": ready_ms, "memory_kib": memory_kib(process.pid)}


def on_disk():
    with tempfile.TemporaryDirectory(dir=".") as folder:
        return {
            **doppelkey("--vault", f"{folder}/vault", "--custody", f"file:{folder}/key"),
            "floors": floors(Path(folder)),
        }


def floors(folder):
    """What keeping a record costs alone: 512 bytes to this disk, for good."""
    times = []
    with open(folder / "floor", "wb", buffering=0) as file:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            file.write(b"\7" * 512)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return {"fdatasync": summary(times)}


def listening(port, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.005)
    raise TimeoutError(f"nothing listens on {port}")


def trussed():
    with started([os.path.join(os.environ["COMPARISON_BIN"], "trussed_usbip")]) as (process, _, ready_ms):
        time.sleep(0.3)
        found = ceremonies("127.0.0.1:3240")
        return {**found, "ready_ms": ready_ms, "memory_kib": memory_kib(process.pid)}


IBM = """
import threading
from soft_fido2.platform.usbip_device import CTAP2USBIPDevice, USBContainer
container = USBContainer()
container.add_usb_device(CTAP2USBIPDevice())
print("ready", flush=True)
container.run(ip="127.0.0.1", port=3240)
"""


def soft_fido2_python():
    if "SOFT_FIDO2_PYTHON" not in os.environ:
        raise RuntimeError("pip could not install it")
    home = tempfile.mkdtemp()
    with started([os.environ["SOFT_FIDO2_PYTHON"], "-c", IBM], env={**os.environ, "HOME": home}) as (process, _, ready_ms):
        listening(3240)
        found = ceremonies("127.0.0.1:3240")
        return {**found, "ready_ms": ready_ms, "memory_kib": memory_kib(process.pid)}


def main():
    found = {}
    peers = {
        "doppelkey, in memory": lambda: doppelkey("--ephemeral"),
        "doppelkey, vault on disk": on_disk,
        "trussed-usbip": trussed,
        "soft-fido2 (Python)": soft_fido2_python,
    }
    for name, work in peers.items():
        try:
            found[name] = work()
        except Exception as error:  # noqa: BLE001  # what keeps a peer from being measured is a result, too
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        print(name, found[name], file=sys.stderr)
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # a client's thread may still read from a peer that hangs


if __name__ == "__main__":
    main()
