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
        self.is_connected, self.is_suspended, self.frame = False, False, 0
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
        self.is_stalled = False
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

    def status(self, _is_in):
        """Whether the status stage has come: the controller does it by itself, when it is told."""
        return self.is_done or None

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


class StagesAsPackets:
    """Where the stages of a control request are packets like others, given to and taken from endpoint 0."""

    def status(self, is_in):
        """Whether the status stage has come: an empty packet the other way."""
        return self.give(0, b"") if is_in else self.take(0) == b"" or None

    def data_stage(self, packet):
        """A packet for the control endpoint."""
        assert self.give(0, packet)


class RaspberryUsb(StagesAsPackets):
    """The controller of an RP2350, in a chip of `chips.py`, as its data sheet has it (an RP2040's is the same, and is in
    rp2040js). What it and its driver share lies in a memory of its own. Addresses of registers are offsets."""

    base, memory, interrupt = 0x50110000, 0x50100000, 14
    sie_status, buffers_done, stall_armed, raw, enabled, masked = 0x50, 0x58, 0x68, 0x8C, 0x90, 0x98
    available, stall, full = 1 << 10, 1 << 11, 1 << 15

    def __init__(self, chip):
        self.chip, self.is_stalled = chip, False
        # SIE_STATUS, BUFF_STATUS: a one that is written clears.
        self.flags = {self.sie_status: 0, self.buffers_done: 0}

    # What the driver does.

    def read(self, at):
        if at in (self.raw, self.masked):
            return self.interrupts() & (self.registers(self.enabled) if at == self.masked else ~0)
        return self.flags.get(at)

    def write(self, at, value):
        if at in self.flags:
            self.flags[at] &= ~value
        elif at == 0x4C and value & 1 << 16:  # SIE_CTRL: PULLUP_EN
            self.chip.seen()

    def interrupts(self):
        status = self.flags[self.sie_status]
        causes = {4: self.flags[self.buffers_done], 12: status >> 19 & 1, 14: status >> 4 & 1, 15: status >> 11 & 1,
                  16: status >> 17 & 1}
        return sum(1 << bit for bit, cause in causes.items() if cause)

    def registers(self, at):
        return self.chip.registers.get(self.base + at, 0)

    # What the bus does.

    def reset(self):
        self.flags[self.sie_status] |= 1 << 19

    def setup(self, packet):
        self.is_stalled = False
        self.chip.registers[self.base + self.stall_armed] = 0
        self.chip.core.mem_write(self.memory, packet)
        self.flags[self.sie_status] |= 1 << 17

    def take(self, number):
        """The packet that an endpoint has ready, if it has one."""
        control = self.control(2 * number)
        if number == 0 and control & self.stall and self.registers(self.stall_armed) & 1:
            self.is_stalled = True
        if not control & self.available:
            return None
        packet = bytes(self.chip.core.mem_read(self.buffer(number, False), control & 0x3FF))
        self.done(2 * number, control & ~(self.available | self.full))
        return packet

    def give(self, number, packet):
        """Whether an endpoint takes a packet."""
        control = self.control(2 * number + 1)
        if not control & self.available:
            return None
        if packet:
            self.chip.core.mem_write(self.buffer(number, True), packet)
        self.done(2 * number + 1, control & ~(self.available | 0x3FF) | self.full | len(packet))
        return True

    def suspend(self, suspended):
        self.flags[self.sie_status] |= 1 << (4 if suspended else 11)

    def control(self, number):
        word, = struct.unpack("<I", bytes(self.chip.core.mem_read(self.memory + 0x80 + 4 * number, 4)))
        return word

    def done(self, number, control):
        self.chip.core.mem_write(self.memory + 0x80 + 4 * number, struct.pack("<I", control))
        self.flags[self.buffers_done] |= 1 << number

    def buffer(self, number, out):
        if number == 0:
            return self.memory + 0x100
        # EP_CONTROL
        word, = struct.unpack("<I", bytes(self.chip.core.mem_read(self.memory + 8 * number + 4 * out, 4)))
        return self.memory + (word & 0xFFC0)


class SynopsysUsb(StagesAsPackets):
    """The OTG_FS of an STM32F405 as a device, in a chip of `chips.py`, as RM0090 has it: what arrives is in one queue for
    all endpoints, and interrupts for as long as it is there. Addresses of registers are offsets."""

    base, size, interrupt = 0x50000000, 0x10000, 67
    reset_control, core_interrupts, enabled, peek, pop, endpoint_mask = 0x010, 0x014, 0x018, 0x01C, 0x020, 0x81C
    suspended, bus_reset, enumerated, woken = 1 << 11, 1 << 12, 1 << 13, 1 << 31
    data_out, out_done, setup_done, setup_data = 2, 3, 4, 6
    # Of a DxEPCTL. What is written to the second only acts.
    enable, acts, disable, stall = 1 << 31, 0xF << 26, 1 << 30, 1 << 21

    def __init__(self, chip):
        self.chip, self.events, self.is_stalled = chip, 0, False
        # What has arrived and is not popped yet, and the words of what was; endpoints that may send, and that may receive.
        self.queue, self.words, self.sending, self.receiving = [], [], {}, set()
        self.sent = set()

    # What the driver does.

    def read(self, at):
        number = at >> 5 & 7
        if at in (self.peek, self.pop):
            kind, endpoint, packet = self.queue[0] if self.queue else (0, 0, b"")
            if at == self.pop and self.queue:
                self.queue.pop(0)
                padded = packet + bytes(-len(packet) % 4)
                self.words += [word for word, in struct.iter_unpack("<I", padded)]
            return kind << 17 | len(packet) << 4 | endpoint
        if at == 0x1000:
            return self.words.pop(0)
        if 0x900 <= at < 0xC00 and at & 0x1F == 0:  # DIEPCTL, DOEPCTL
            is_on = number in (self.sending if at < 0xB00 else self.receiving)
            return self.register(at) & ~(self.enable | self.disable | self.acts) | (self.enable if is_on else 0)
        if 0x900 <= at < 0xB00 and at & 0x1F == 0x08:  # DIEPINT: XFRC
            return int(number in self.sent)
        if 0x900 <= at < 0xB00 and at & 0x1F == 0x18:  # DTXFSTS: room for a packet
            return 16 - len(self.sending.get(number, []))
        return {
            self.reset_control: 1 << 31,  # AHBIDL, and whatever was to be flushed is
            self.core_interrupts: self.interrupts(),
            0x03C: 0x1200,  # CID
            0x808: 0b11 << 1,  # DSTS: ENUMSPD: full speed
        }.get(at)

    def write(self, at, value):
        number = at >> 5 & 7
        if at == self.core_interrupts:
            self.events &= ~value
        elif at == self.reset_control and value & 1 << 4:  # RXFFLSH
            self.queue, self.words = [], []
        elif at == self.reset_control and value & 1 << 5:  # TXFFLSH
            self.sending.pop(value >> 6 & 0x1F, None)
        elif 0x900 <= at < 0xB00 and at & 0x1F == 0:
            if value & self.disable:
                self.sending.pop(number, None)
            elif value & self.enable:
                self.sending.setdefault(number, [])
        elif 0x900 <= at < 0xB00 and at & 0x1F == 0x08 and value & 1:
            self.sent.discard(number)
        elif 0xB00 <= at < 0xC00 and at & 0x1F == 0:
            if value & self.disable:
                self.receiving.discard(number)
            elif value & self.enable:
                self.receiving.add(number)
        elif 0x1000 <= at < 0x5000:
            self.sending[(at >> 12) - 1].append(struct.pack("<I", value))
        elif at == 0x804 and not value & 2:  # DCTL without SDIS
            self.chip.seen()

    def interrupts(self):
        endpoints = any(self.register(self.endpoint_mask) >> number & self.register(0x810) & 1 for number in self.sent)
        return self.events | bool(self.queue) << 4 | endpoints << 18

    def waits(self):
        """Whether it interrupts: GINTSTS, GINTMSK, and GINT of GAHBCFG."""
        return self.register(0x008) & 1 and self.interrupts() & self.register(self.enabled)

    def register(self, at):
        return self.chip.registers.get(self.base + at, 0)

    # What the bus does.

    def reset(self):
        self.queue, self.words, self.sending, self.receiving, self.sent = [], [], {}, set(), set()
        self.events |= self.bus_reset | self.enumerated

    def setup(self, packet):
        self.is_stalled = False
        for at in (0x900, 0xB00):
            self.chip.registers[self.base + at] = self.register(at) & ~self.stall
        self.queue += [(self.setup_data, 0, packet), (self.setup_done, 0, b"")]

    def take(self, number):
        """The packet that an endpoint has ready, if it has one."""
        if number == 0 and self.register(0x900) & self.stall:
            self.is_stalled = True
        length = self.register(0x910 + 0x20 * number) & 0x7F  # DIEPTSIZ: XFRSIZ
        if number not in self.sending or 4 * len(self.sending[number]) < length:
            return None
        packet = b"".join(self.sending.pop(number))[:length]
        self.sent.add(number)
        return packet

    def give(self, number, packet):
        """Whether an endpoint takes a packet."""
        if number not in self.receiving:
            return None
        self.receiving.remove(number)
        self.queue += [(self.data_out, number, packet), (self.out_done, number, b"")]
        return True

    def suspend(self, suspended):
        self.events |= self.suspended if suspended else self.woken


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
        self._until(lambda: self._unless_stalled(self.usb.status(bool(kind & 0x80 and length))))
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
