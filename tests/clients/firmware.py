"""Starts a firmware image in its emulator, and carries 64-byte packets to it.

`DOPPELKEY_FIRMWARE` is the folder with the built images; the Rust test that runs this suite sets it.
"""

import os
import socket
import subprocess

from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

IMAGES = ["host", "mps2_an386", "mps2_an505"]
# The M4's image as a later version may be: with every command.
NEXT = "mps2_an386_next"
# The image that one flashes, with its own USB controller. Emulated instruction by instruction: seconds a signature.
PICO = "pico"
ROSC = "rosc"
PACKET = 64


class Board:
    """A board under power. The flash's file survives it."""

    def __init__(self, image, flash, seed="7", touch="auto", options=()):
        self.listeners = [_listener(), _listener()]
        addresses = ["127.0.0.1:%d" % listener.getsockname()[1] for listener in self.listeners]
        folder = os.environ["DOPPELKEY_FIRMWARE"]
        if image == "host":
            command = [os.path.join(folder, "host"), addresses[0], str(flash), seed]
        elif image == PICO:
            ports = [str(listener.getsockname()[1]) for listener in self.listeners]
            script = os.path.join(os.path.dirname(__file__), "rp2040.mjs")
            command = ["node", script, os.path.join(folder, image), str(flash), *ports, *options]
            command += ["touch=auto"] if touch == "auto" else []
        else:
            command = [
                "qemu-system-arm", "-M", image.removesuffix("_next").replace("_", "-"), "-display", "none", "-monitor", "none",
                "-icount", "shift=3,sleep=off", "-kernel", os.path.join(folder, image),
                "-serial", "tcp:" + addresses[0], "-serial", "tcp:" + addresses[1],
                "-semihosting-config",
                f"enable=on,target=native,arg=flash={flash},arg=seed={seed},arg=touch={touch}",
            ]
        bridged = "usbip" in options
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if bridged else None
        )
        self.line = self.listeners[0].accept()[0]
        self.button = self.listeners[1].accept()[0] if image != "host" else None
        for sock in (self.line, self.button):
            if sock is not None:
                sock.settimeout(120)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def usbip(self):
        """Where the device is exported, once it has its address."""
        return "127.0.0.1:" + self.process.stdout.readline().decode().strip()

    def figures(self):
        """Instructions of the last request, and the stack's peak in bytes, as the image measured them."""
        self.button.sendall(b"?")
        text = b""
        while not text.endswith(b"\n"):
            text += self.button.recv(64)
        took, stack = text.split()
        return int(took) * 5, int(stack)

    def cut_power(self):
        """Ends it, now."""
        self.process.kill()
        self.process.wait()
        for open_file in (self.line, self.button, self.process.stdout, *self.listeners):
            if open_file is not None:
                open_file.close()

    def device(self):
        """A python-fido2 device on this board."""
        descriptor = HidDescriptor("serial", 0x1209, 0xF1D0, PACKET, PACKET, "Doppelkey authenticator", None)
        return CtapHidDevice(descriptor, Connection(self.line))


class Connection(CtapHidConnection):
    """Packets over the serial line."""

    def __init__(self, line):
        self.line = line

    def read_packet(self):
        data = b""
        while len(data) < PACKET:
            piece = self.line.recv(PACKET - len(data))
            if not piece:
                raise ConnectionResetError("the board lost power")
            data += piece
        return data

    def write_packet(self, data):
        self.line.sendall(data)

    def close(self):
        pass


class Recorder:
    """CTAPHID by hand, with nothing random in it: every message that comes back is kept."""

    def __init__(self, board):
        self.connection = Connection(board.line)
        self.channel = b"\xff" * 4
        self.messages = []
        self.channel = self.call(0x06, bytes(range(8)))[8:12]

    def call(self, command, payload):
        """Sends a message; returns the answer, keepalives left out (their number is a matter of time)."""
        first = self.channel + bytes([0x80 | command]) + len(payload).to_bytes(2, "big") + payload[:57]
        self.connection.write_packet(first.ljust(PACKET, b"\0"))
        for number, start in enumerate(range(57, len(payload), 59)):
            packet = self.channel + bytes([number]) + payload[start:start + 59]
            self.connection.write_packet(packet.ljust(PACKET, b"\0"))
        packet = self.connection.read_packet()
        while packet[4] == 0xBB or packet[:4] != self.channel:
            packet = self.connection.read_packet()
        length = int.from_bytes(packet[5:7], "big")
        answer, kind = packet[7:], packet[4]
        while len(answer) < length:
            answer += self.connection.read_packet()[5:]
        self.messages.append(bytes([kind]) + answer[:length])
        return answer[:length]


def _listener():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    listener.settimeout(120)
    return listener
