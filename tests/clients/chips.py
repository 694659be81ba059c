"""Images for chips that no emulator has, on an emulated Cortex-M4 or M33 (Unicorn) with as much of a chip around it as a
start needs: clocks, time, random numbers, the flash controller, the LED. It ends where the platform would see the device.
"""

import os
import struct

from unicorn import UC_ARCH_ARM, UC_HOOK_CODE, UC_HOOK_MEM_WRITE, UC_MODE_MCLASS, UC_MODE_THUMB, Uc, UcError
from unicorn.arm_const import (
    UC_ARM_REG_LR, UC_ARM_REG_PC, UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_SP, UC_CPU_ARM_CORTEX_M4,
    UC_CPU_ARM_CORTEX_M33,
)

# What a flash controller allows.
READ, WRITE, ERASE = "read", "write", "erase"


class Chip:
    """A chip under power, on what an earlier one left in our part of the flash, if there was one."""

    # Where the flash begins, its size, and our part of it: a sector for the root key, and two banks of as many each.
    flash_start, flash_size, ours, sector = 0, 0x100000, (0, 0), 4096
    model = UC_CPU_ARM_CORTEX_M4

    def __init__(self, image, flash=None, stuck=False):
        self.stuck, self.random, self.elapsed_us = stuck, 0x2545F491, 0
        self.mode, self.erased, self.programmed = READ, [], 0
        self.registers, self.wrong, self.flashes, self.is_seen = {}, [], 0, False
        self.core = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self.core.ctl_set_cpu_model(self.model)
        self.core.mem_map(self.flash_start, self.flash_size)
        self.core.mem_write(self.flash_start, b"\xff" * self.flash_size)
        vectors = self._load(image)
        if flash is not None:
            self.core.mem_write(self.ours[0], flash)
        self.core.mem_map(0x20000000, 0x100000)
        for start in (0x40000000, 0x50000000, 0xD0000000, 0xE0000000):
            self.core.mmio_map(start, 0x200000, self._read, start, self._write, start)
        # What is in the flash changes by its controller's leave only, and bits are only ever cleared.
        end = self.flash_start + self.flash_size - 1
        self.core.hook_add(UC_HOOK_MEM_WRITE, self._program, begin=self.flash_start, end=end)
        stack, reset = struct.unpack("<II", bytes(self.core.mem_read(vectors, 8)))
        self.core.reg_write(UC_ARM_REG_SP, stack)
        self.reset = reset | 1

    def run(self, instructions):
        """Until the platform would see it, or the LED was lit three times, or for so many instructions. What went wrong
        is in `wrong`."""
        try:
            self.core.emu_start(self.reset, 0, count=instructions)
        except UcError as error:
            self.wrong.append(f"{error} at {self.core.reg_read(UC_ARM_REG_PC):#x}")

    def flash(self):
        """Our part of it."""
        return bytes(self.core.mem_read(self.ours[0], self.ours[1] - self.ours[0]))

    def read(self, at):
        """A register that is more than what was written to it; `None` for any other."""
        raise NotImplementedError

    def write(self, at, value):
        """What a register does that is written to."""
        raise NotImplementedError

    def sample(self):
        """A random word: xorshift32, or the same for ever."""
        if not self.stuck:
            self.random ^= self.random << 13 & 0xFFFFFFFF
            self.random ^= self.random >> 17
            self.random ^= self.random << 5 & 0xFFFFFFFF
        return self.random

    def now_us(self):
        """The time: half a millisecond later each time it is looked at."""
        self.elapsed_us += 500
        return self.elapsed_us

    def lit(self):
        self.flashes += 1
        if self.flashes == 3:
            self.core.emu_stop()

    def seen(self):
        self.is_seen = True
        self.core.emu_stop()

    def erase(self, address):
        if self.mode != ERASE or address % self.sector or not self.ours[0] <= address < self.ours[1]:
            self.wrong.append(f"an erase of {address:#x}")
        self.erased.append(address)
        self.core.mem_write(address, b"\xff" * self.sector)

    def _load(self, image):
        """Puts the image's segments where they lie in flash; gives the address of its vectors, which come first."""
        with open(os.path.join(os.environ["DOPPELKEY_FIRMWARE"], image), "rb") as file:
            elf = file.read()
        table, = struct.unpack_from("<I", elf, 28)
        size, count = struct.unpack_from("<HH", elf, 42)
        addresses = []
        for number in range(count):
            kind, offset, _, address, length = struct.unpack_from("<IIIII", elf, table + number * size)
            if kind == 1 and length:
                self.core.mem_write(address, elf[offset:offset + length])
                addresses.append(address)
        return min(addresses)

    def _read(self, _core, offset, _size, start):
        at = start + offset
        value = self.read(at)
        return self.registers.get(at, 0) if value is None else value & 0xFFFFFFFF

    def _write(self, _core, offset, _size, value, start):
        self.registers[start + offset] = value
        self.write(start + offset, value)

    def _program(self, core, _access, address, size, value, _data):
        old = int.from_bytes(core.mem_read(address, size), "little")
        value &= (1 << 8 * size) - 1
        ours = self.ours[0] <= address < self.ours[1]
        if self.mode != WRITE or not ours or old & value != value:
            self.wrong.append(f"{value:#x} written to {address:#x} over {old:#x}")
        self.programmed += 1


class Nrf52840(Chip):
    """On Nordic's dongle."""

    ours, led = (0xBF000, 0xE0000), 6

    def read(self, at):
        return {
            0x40000100: 1,  # CLOCK.EVENTS_HFCLKSTARTED
            0x4000D100: 1,  # RNG.EVENTS_VALRDY
            0x4001E400: 1,  # NVMC.READY
            0x40027400: 1 << 11,  # USBD.EVENTCAUSE: READY
        }.get(at) or {
            0x4000D508: lambda: self.sample() & 0xFF,  # RNG.VALUE
            0x40008540: self.now_us,  # TIMER0.CC[0]
        }.get(at, lambda: None)()

    def write(self, at, value):
        if at == 0x4001E504:  # NVMC.CONFIG
            self.mode = [READ, WRITE, ERASE][value]
        elif at == 0x4001E508:  # NVMC.ERASEPAGE
            self.erase(value)
        elif at == 0x5000050C and value == 1 << self.led:  # P0.OUTCLR
            self.lit()
        elif at == 0x40027504 and value & 1:  # USBD.USBPULLUP
            self.seen()


class Nrf52833(Nrf52840):
    """On Nordic's development kit."""

    ours, led = (0x5F000, 0x80000), 13


class Stm32F405(Chip):
    """On Olimex's STM32-H405."""

    flash_start, ours, sector = 0x08000000, (0x080A0000, 0x08100000), 128 * 1024
    keys = [0x45670123, 0xCDEF89AB]

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.core.mem_map(0x1FFF7000, 0x1000)
        self.core.mem_write(0x1FFF7A22, struct.pack("<H", 1024))  # the flash's size in kB
        self.core.mmio_map(0x42000000, 0x1000000, self._read_bit, None, self._write_bit, None)
        self.told = []
        self.registers[0x40023C10] = 1 << 31  # FLASH.CR: locked

    def read(self, at):
        kept = self.registers.get(at, 0)
        return {
            0x40023800: kept | (kept & 0x01010001) << 1,  # RCC.CR: what is on is ready
            0x40023808: kept & ~0xC | (kept & 3) << 2,  # RCC.CFGR: the clock that was chosen
            0x40007004: 1 << 14,  # PWR.CSR: VOSRDY
            0x50060804: 1,  # RNG.SR: DRDY
            0x50000010: 1 << 31,  # OTG_FS.GRSTCTL: AHBIDL
            0x5000003C: 0x1200,  # OTG_FS.CID
        }.get(at) or {
            0x50060808: self.sample,  # RNG.DR
            0xE0001004: lambda: self.now_us() * 168,  # DWT.CYCCNT
        }.get(at, lambda: None)()

    def write(self, at, value):
        if at == 0x40023C04:  # FLASH.KEYR
            self.told = [*self.told, value][-2:]
            if self.told == self.keys:
                self.registers[0x40023C10] &= ~(1 << 31)
        elif at == 0x40023C10:  # FLASH.CR
            self.mode = READ if value >> 31 else {0: READ, 1: WRITE, 2: ERASE}[value & 3]
            if value & 1 << 16:
                self.registers[at] &= ~(1 << 16)
                self.erase(0x08020000 + ((value >> 3 & 15) - 5) * self.sector)
        elif at == 0x40020818 and value == 1 << 28:  # GPIOC.BSRR
            self.lit()
        elif at == 0x50000804 and not value & 2:  # OTG_FS.DCTL without SDIS
            self.seen()


    def _read_bit(self, core, offset, size, _data):
        """Bit-banding: a word for each bit of the peripherals."""
        at, bit = 0x40000000 + offset // 32 // 4 * 4, offset // 4 % 32
        return self._read(core, at, size, 0) >> bit & 1

    def _write_bit(self, core, offset, size, value, _data):
        at, bit = 0x40000000 + offset // 32 // 4 * 4, offset // 4 % 32
        kept = self._read(core, at, size, 0)
        self._write(core, at, size, kept & ~(1 << bit) | (value & 1) << bit, 0)


class Rp2350(Chip):
    """On Raspberry Pi's Pico 2. Its flash is written by the boot ROM's functions, which are here."""

    flash_start, flash_size, ours = 0x10000000, 0x200000, (0x101DF000, 0x10200000)
    model = UC_CPU_ARM_CORTEX_M33
    lookup = 0x200
    functions = [b"IF", b"EX", b"RE", b"RP", b"FC"]

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.core.mem_map(0, 0x8000)
        self.core.mem_write(0x13, b"\x02")  # the ROM's version
        self.core.mem_write(0x16, struct.pack("<H", self.lookup | 1))
        self.core.hook_add(UC_HOOK_CODE, self._rom, begin=0x200, end=0x7FFF)

    def read(self, at):
        at = self.plain(at)
        kept = self.registers.get(at, 0)
        if 0x400E0000 <= at < 0x400E0100:
            return 0x47704770  # the boot RAM: code that returns
        if 0xD0000100 <= at < 0xD0000180:
            return 1  # SIO.SPINLOCK: free, and taken by this
        return {
            0x40048004: 1 << 31,  # XOSC.STATUS: STABLE
            0x40050000: kept | 1 << 31,  # PLL_SYS.CS: LOCK
            0x40058000: kept | 1 << 31,  # PLL_USB.CS: LOCK
            0x40010038: 1 << (self.registers.get(0x40010030, 0) & 3),  # CLOCKS.CLK_REF_SELECTED
            0x40010044: 1 << (self.registers.get(0x4001003C, 0) & 1),  # CLOCKS.CLK_SYS_SELECTED
            0x40020008: ~self.registers.get(0x40020000, 0),  # RESETS.RESET_DONE
            0x400F0104: 1,  # TRNG.RNG_ISR: EHR_VALID
        }.get(at) or {
            0x400B0028: self.now_us,  # TIMER0.TIMERAWL
            **dict.fromkeys(range(0x400F0114, 0x400F012C, 4), self.sample),  # TRNG.EHR_DATA
        }.get(at, lambda: self.registers.get(at, 0))()

    def write(self, at, value):
        where = self.plain(at)
        if where != at:
            # Aliases of each register: exclusive or, set, clear.
            kept, how = self.registers.get(where, 0), at >> 12 & 3
            value = [value, kept ^ value, kept | value, kept & ~value][how]
            self.registers[where] = value
        if at == 0xD0000018 and value == 1 << 25:  # SIO.GPIO_OUT_SET
            self.lit()
        elif where == 0x5011004C and value & 1 << 16:  # USB.SIE_CTRL: PULLUP_EN
            self.seen()

    def plain(self, at):
        return at if at >> 28 == 0xE or 0x40130000 <= at < 0x40140000 else at & ~0x3000

    def _rom(self, core, address, _size, _data):
        """Whatever is called in the boot ROM."""
        r0, r1, r2 = (core.reg_read(register) for register in (UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2))
        if address == self.lookup:
            name = struct.pack("<H", r0 & 0xFFFF)
            found = 0x300 + 16 * self.functions.index(name) if name in self.functions else 0
            core.reg_write(UC_ARM_REG_R0, found | 1 if found else 0)
        else:
            name = self.functions[(address - 0x300) // 16]
            if name == b"RE":
                self.mode = ERASE
                for sector in range(r0, r0 + r1, self.sector):
                    self.erase(self.flash_start + sector)
            elif name == b"RP":
                self.program(r0, bytes(core.mem_read(r1, r2)))
            self.mode = READ
        core.reg_write(UC_ARM_REG_PC, core.reg_read(UC_ARM_REG_LR))

    def program(self, offset, page):
        """NOR: bits are only ever cleared."""
        address = self.flash_start + offset
        old = bytes(self.core.mem_read(address, len(page)))
        if offset % 256 or len(page) % 256 or not self.ours[0] <= address < self.ours[1]:
            self.wrong.append(f"a program of {address:#x}")
        self.core.mem_write(address, bytes(a & b for a, b in zip(old, page)))
        self.programmed += 1


CHIPS = {"pico2": Rp2350, "nrf52840_dongle": Nrf52840, "nrf52833_dk": Nrf52833, "stm32f405": Stm32F405}
