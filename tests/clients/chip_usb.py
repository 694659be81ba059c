"""USB controllers of chips that no emulator has, and the host at the other end of the cable."""

import struct

from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

PACKET = 64


class NordicUsb:
    """The USBD of an nRF52833 or nRF52840, in a chip of `chips.py`: what it says to its driver of a control endpoint and an
    endpoint in each direction, as the Product Specification has it. Addresses are offsets."""

    base, event_cause, endpoint_data = 0x40027000, 0x400, 0x46C
    usb_reset, ep0_data_done, sof, usb_event, ep0_setup, ep_data = 0x100, 0x128, 0x154, 0x158, 0x15C, 0x160

    def __init__(self, chip):
        self.chip, self.sent, self.arrived, self.can_receive = chip, {}, {}, set()
        self.is_pulled_up, self.is_connected, self.is_suspended, self.frame = False, False, False, 0
        self.is_done = self.is_stalled = False
        # EVENTCAUSE, EPSTATUS, EPDATASTATUS: a one that is written clears.
        self.flags = {self.event_cause: 0, 0x468: 0, self.endpoint_data: 0}

    # What the driver does.

    def read(self, at):
        return self.flags.get(at)

    def write(self, at, value):
        if at == 0x500 and value & 1:  # ENABLE
            self.cause(1 << 11)  # READY
        elif at == 0x504 and value & 1:  # USBPULLUP
            self.is_pulled_up = True
            self.chip.seen()
        elif at in self.flags:
            self.flags[at] &= ~value
        elif 0x004 <= at < 0x024 and value:  # TASKS_STARTEPIN
            number = (at - 0x004) // 4
            pointer, length = (self.get(0x600 + 0x14 * number + word) for word in (0, 4))
            self.sent[number] = bytes(self.chip.core.mem_read(pointer, length)) if length else b""
            self.set(0x108 + 4 * number, 1)  # EVENTS_ENDEPIN
        elif 0x028 <= at < 0x048 and value:  # TASKS_STARTEPOUT
            number = (at - 0x028) // 4
            packet = self.arrived.pop(number)
            pointer, length = (self.get(0x700 + 0x14 * number + word) for word in (0, 4))
            assert length == len(packet), "the driver takes what came"
            self.chip.core.mem_write(pointer, packet)
            self.set(0x130 + 4 * number, 1)  # EVENTS_ENDEPOUT
        elif 0x4A0 <= at < 0x4C0:  # SIZE.EPOUT: the endpoint takes the next packet
            self.can_receive.add((at - 0x4A0) // 4)
        elif at == 0x050 and value:  # TASKS_EP0STATUS
            self.is_done = True
        elif at == 0x054 and value:  # TASKS_EP0STALL
            self.is_stalled = True

    # What the bus does.

    def reset(self):
        self.is_connected, self.sent, self.arrived, self.can_receive = True, {}, {}, set()
        self.set(self.usb_reset, 1)

    def setup(self, packet):
        self.is_done = self.is_stalled = False
        self.sent.pop(0, None)
        for number, byte in enumerate(packet):
            self.set(0x480 + 4 * number, byte)
        # The controller takes its address by itself.
        self.is_done = packet[:2] == b"\x00\x05"
        self.set(self.ep0_setup, 1)

    def take(self, number):
        """The packet that an endpoint has ready, if it has one."""
        packet = self.sent.pop(number, None)
        if packet is not None and number == 0:
            self.is_done = bool(self.get(0x200) >> 2 & 1)  # SHORTS: EP0DATADONE_EP0STATUS
            self.set(self.ep0_data_done, 1)
        elif packet is not None:
            self.data(1 << number)
        return packet

    def give(self, number, packet):
        """Whether an endpoint takes a packet."""
        if number not in self.can_receive or not self.get(0x514) >> number & 1:  # EPOUTEN
            return None
        self.can_receive.remove(number)
        self.arrived[number] = packet
        self.set(0x4A0 + 4 * number, len(packet))
        self.data(1 << 16 + number)
        return True

    def data_stage(self, packet):
        """A packet for the control endpoint."""
        self.arrived[0] = packet
        self.set(0x4A0, len(packet))
        self.set(self.ep0_data_done, 1)

    def suspend(self, suspended):
        self.is_suspended = suspended
        self.cause(1 << (8 if suspended else 9))
        self.set(self.usb_event, 1)

    def start_of_frame(self):
        frame = self.chip.elapsed_us // 1000
        if self.is_connected and not self.is_suspended and frame != self.frame:
            self.frame = frame
            self.set(0x520, frame & 0x7FF)  # FRAMECNTR
            self.set(self.sof, 1)

    def cause(self, bit):
        self.flags[self.event_cause] |= bit

    def data(self, bit):
        self.flags[self.endpoint_data] |= bit
        self.set(self.ep_data, 1)

    def get(self, at):
        return self.chip.registers.get(self.base + at, 0)

    def set(self, at, value):
        self.chip.registers[self.base + at] = value


class Host(CtapHidConnection):
    """A computer that the board is plugged into. Whatever it waits for, the board works or sleeps meanwhile."""

    def __init__(self, chip):
        self.chip, self.usb = chip, chip.usb
        # How long the board let it wait for whatever it waited for.
        self.waits_us, self.keepalives = [], 0

    def enumerate(self):
        """Descriptors, the address, the configuration; gives the two descriptors and that of the reports."""
        self._reset()
        device = self.control(0x80, 6, 0x0100, 0, 64)
        self._reset()
        self.control(0x00, 5, 7, 0, 0)
        assert self.control(0x80, 6, 0x0100, 0, 18) == device
        length, = struct.unpack_from("<H", self.control(0x80, 6, 0x0200, 0, 9), 2)
        configuration = self.control(0x80, 6, 0x0200, 0, length)
        self.control(0x00, 9, configuration[5], 0, 0)
        self.control(0x21, 0x0A, 0, 0, 0)
        return device, configuration, self.control(0x81, 6, 0x2200, 0, 255)

    def _reset(self):
        self.usb.reset()
        # USB 2.0 §7.1.7.5: ten milliseconds to recover.
        self.chip.live(self.chip.elapsed_us + 10_000)

    def control(self, kind, request, value, index, length):
        self.usb.setup(struct.pack("<BBHHH", kind, request, value, index, length))
        data = b""
        while kind & 0x80 and len(data) < length:
            packet = self._until(lambda: self._unless_stalled(self.usb.take(0)))
            data += packet
            if len(packet) < PACKET:
                break
        self._until(lambda: self._unless_stalled(self.usb.is_done or None))
        return data

    def fido(self):
        """A python-fido2 device on this board."""
        descriptor = HidDescriptor("emulated", 0x1209, 0xF1D0, PACKET, PACKET, "Doppelkey authenticator", None)
        return CtapHidDevice(descriptor, self)

    def write_packet(self, data):
        self._until(lambda: self.usb.give(1, data))

    def read_packet(self):
        packet = self._until(lambda: self.usb.take(1))
        self.keepalives += packet[4] == 0xBB
        return packet

    def close(self):
        pass

    def _unless_stalled(self, answer):
        if self.usb.is_stalled:
            raise BrokenPipeError("the endpoint stalls")
        return answer

    def _until(self, ready):
        since_us = self.chip.elapsed_us
        while (answer := ready()) is None:
            self.chip.turn()
            if self.chip.wrong or self.chip.elapsed_us - since_us > 2_000_000:
                raise TimeoutError(f"no answer after {self.chip.elapsed_us - since_us} µs {self.chip.wrong}")
        self.waits_us.append(self.chip.elapsed_us - since_us)
        return answer
