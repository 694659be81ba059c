"""A user-space USB/IP client: attaches over TCP and behaves as Linux's vhci_hcd, usbcore and hidraw do.

It enumerates with the same control transfers in the same order, keeps one interrupt IN transfer outstanding,
sends reports as interrupt OUT transfers of 64 bytes, and unlinks the outstanding one when it closes. So an
unmodified python-fido2 can be judged against the server without a kernel module and without root.

Protocol: Documentation/usb/usbip_protocol.rst of the Linux kernel.
"""

import queue
import socket
import struct
import threading

from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

VERSION = 0x0111
OP_REQ_DEVLIST, OP_REP_DEVLIST = 0x8005, 0x0005
OP_REQ_IMPORT, OP_REP_IMPORT = 0x8003, 0x0003
CMD_SUBMIT, CMD_UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
OUT, IN = 0, 1
FULL_SPEED = 2
EPIPE, ECONNRESET = 32, 104
DEVICE = struct.Struct(">256s32sIIIHHHBBBBBB")


class Stall(OSError):
    """The device answered with a STALL (-EPIPE)."""


class AttachError(OSError):
    """The server refused the attachment, or closed it."""


def _exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the USB/IP server closed the connection")
        data += piece
    return data


def _open(address):
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _parse_device(raw):
    (path, busid, busnum, devnum, speed, vid, pid, bcd, cls, sub, proto, config, configs, interfaces) = DEVICE.unpack(raw)
    return {
        "path": path.rstrip(b"\0").decode(),
        "busid": busid.rstrip(b"\0").decode(),
        "devid": busnum << 16 | devnum,
        "speed": speed,
        "vid": vid,
        "pid": pid,
        "interfaces": interfaces,
    }


def devices(address):
    """What `usbip list --remote` shows: one dict a device."""
    with _open(address) as sock:
        sock.sendall(struct.pack(">HHI", VERSION, OP_REQ_DEVLIST, 0))
        version, code, status, count = struct.unpack(">HHII", _exactly(sock, 12))
        assert (version, code, status) == (VERSION, OP_REP_DEVLIST, 0), (version, code, status)
        found = []
        for _ in range(count):
            device = _parse_device(_exactly(sock, DEVICE.size))
            device["interface_classes"] = [tuple(_exactly(sock, 4)[:3]) for _ in range(device["interfaces"])]
            found.append(device)
        return found


class UsbIpConnection(CtapHidConnection):
    """One attachment: from IMPORT to the closing of the socket."""

    def __init__(self, address, busid="1-1"):
        self.sock = _open(address)
        self.sock.sendall(struct.pack(">HHI", VERSION, OP_REQ_IMPORT, 0) + busid.encode().ljust(32, b"\0"))
        _, code, status = struct.unpack(">HHI", _exactly(self.sock, 8))
        if code != OP_REP_IMPORT or status != 0:
            raise AttachError(f"import of {busid} refused: code {code:#06x}, status {status}")
        self.device = _parse_device(_exactly(self.sock, DEVICE.size))
        self.sock.settimeout(None)
        self.seqnum = 0
        self.waiting = {}
        self.lock = threading.Lock()
        self.reports = queue.Queue()
        self.polling = None
        self.closing = False
        self.reader = threading.Thread(target=self._read_loop, daemon=True)
        self.reader.start()
        self._enumerate()
        self._poll()

    # -- transfers

    def _submit(self, direction, endpoint, data=b"", length=None, setup=b"\0" * 8):
        answer = queue.Queue(1)
        with self.lock:
            self.seqnum += 1
            seqnum = self.seqnum
            if direction == IN and endpoint != 0:
                self.polling = seqnum
            self.waiting[seqnum] = (direction, answer)
            length = len(data) if length is None else length
            header = struct.pack(">IIIII", CMD_SUBMIT, seqnum, self.device["devid"], direction, endpoint)
            body = struct.pack(">IiiiI8s", 0x200 if direction == IN else 0, length, 0, -1 & 0x7FFFFFFF, 8 if endpoint else 0, setup)
            self.sock.sendall(header + body + data)
        return answer

    def _read_loop(self):
        try:
            while True:
                header = _exactly(self.sock, 48)
                command, seqnum = struct.unpack_from(">II", header)
                with self.lock:
                    direction, answer = self.waiting.pop(seqnum, (None, None))
                assert answer is not None, f"an answer to sequence number {seqnum}, which is not outstanding"
                status, actual = struct.unpack_from(">ii", header, 20)
                if command == RET_UNLINK:
                    answer.put((status, b""))
                    continue
                assert command == RET_SUBMIT, f"unknown answer {command}"
                data = _exactly(self.sock, actual) if direction == IN and actual > 0 else b""
                answer.put((status, data))
                if seqnum == self.polling:
                    self.reports.put(data)
                    if not self.closing:
                        self._poll()
        except (OSError, AssertionError) as error:
            self.reports.put(error)
            with self.lock:
                waiting, self.waiting = self.waiting, {}
            for _, answer in waiting.values():
                answer.put((-ECONNRESET, b""))

    def _poll(self):
        self._submit(IN, 1, length=64)

    def control(self, request_type, request, value, index, length=0, data=b""):
        direction = IN if request_type & 0x80 else OUT
        setup = struct.pack("<BBHHH", request_type, request, value, index, length or len(data))
        answer = self._submit(direction, 0, data=data, length=length or len(data), setup=setup)
        status, received = answer.get(timeout=30)
        if status == -EPIPE:
            raise Stall(f"request {request:#04x} value {value:#06x} stalled")
        if status != 0:
            raise OSError(-status, f"control transfer failed with {status}")
        return received

    # -- what Linux does with a new device

    def _enumerate(self):
        get = lambda kind, number, length, index=0: self.control(0x80, 6, kind << 8 | number, index, length)
        assert len(get(1, 0, 64)) == 18
        self.device_descriptor = get(1, 0, 18)
        # Linux asks a device of full speed alone whether it could be faster.
        for _ in range(3 if self.device["speed"] == FULL_SPEED else 0):
            try:
                get(6, 0, 10)
                raise AssertionError("DEVICE_QUALIFIER must stall on a full-speed device")
            except Stall:
                pass
        total = struct.unpack_from("<H", get(2, 0, 9), 2)[0]
        self.configuration = get(2, 0, total)
        assert len(self.configuration) == total
        language = struct.unpack_from("<H", get(3, 0, 255), 2)[0]
        text = lambda n: get(3, n, 255, language)[2:].decode("utf-16-le") if n else None
        vendor, product, serial = self.device_descriptor[14:17]
        self.product, self.manufacturer, self.serial = text(product), text(vendor), text(serial)
        self.control(0x00, 9, self.configuration[5], 0)
        try:
            self.control(0x21, 0x0A, 0, 0)  # SET_IDLE: Linux ignores a stall
        except Stall:
            pass
        self.report_descriptor = self.control(0x81, 6, 0x2200, 0, 34)
        assert self.report_descriptor[:3] == bytes.fromhex("06d0f1"), self.report_descriptor.hex()

    # -- python-fido2's connection

    def write_packet(self, data):
        assert len(data) == 64
        answer = self._submit(OUT, 1, data=data)
        status, _ = answer.get(timeout=30)
        if status != 0:
            raise OSError(-status, f"interrupt OUT failed with {status}")

    def read_packet(self):
        report = self.reports.get(timeout=60)
        if isinstance(report, Exception):
            raise report
        assert len(report) == 64, f"a report of {len(report)} bytes"
        return report

    def unlink(self):
        """Takes back the outstanding interrupt IN transfer, as hidraw's close does; returns the status."""
        with self.lock:
            self.closing = True
            target = self.polling
            self.seqnum += 1
            answer = queue.Queue(1)
            self.waiting[self.seqnum] = (OUT, answer)
            header = struct.pack(">IIIII", CMD_UNLINK, self.seqnum, self.device["devid"], 0, 0)
            self.sock.sendall(header + struct.pack(">I", target) + b"\0" * 24)
        return answer.get(timeout=30)[0]

    def close(self):
        # A device that was unplugged answers no more.
        if not self.closing and self.reader.is_alive():
            try:
                self.unlink()
            except OSError:
                pass
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.reader.join(timeout=5)


def descriptor(address, busid, connection):
    device = connection.device
    return HidDescriptor(f"{address}/{busid}", device["vid"], device["pid"], 64, 64, connection.product, connection.serial)


def attach(address, busid="1-1"):
    """Attaches and opens a CTAPHID channel: a python-fido2 device."""
    connection = UsbIpConnection(address, busid)
    return CtapHidDevice(descriptor(address, busid, connection), connection)
