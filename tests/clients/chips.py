"""Images for chips that no emulator has, on an emulated Cortex-M4 or M33 (Unicorn) with as much of a chip around it as a
start needs: clocks, time, random numbers, the flash controller, the LED; up to where the platform would see the device.
Then, if asked, as much as work and sleep need: what interrupts and wakes the core, what counts meanwhile, the watchdog,
the button, and the USB controller where `chip_usb.py` has it.
"""

import os
import struct

from chip_usb import NordicUsb, RaspberryUsb, SynopsysUsb
from unicorn import UC_ARCH_ARM, UC_HOOK_CODE, UC_HOOK_MEM_WRITE, UC_MODE_MCLASS, UC_MODE_THUMB, Uc, UcError
from unicorn.arm_const import (
    UC_ARM_REG_LR, UC_ARM_REG_PC, UC_ARM_REG_PRIMASK, UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_SP, UC_CPU_ARM_CORTEX_M4,
    UC_CPU_ARM_CORTEX_M33,
)

# What a flash controller allows.
READ, WRITE, ERASE = "read", "write", "erase"
# More instructions than anything here takes.
LONG = 30_000_000
WFI, SYSTICK, RETURN = 0xBF30, 15, 0x18000000


class Chip:
    """A chip under power, on what an earlier one left in our part of the flash, if there was one."""

    # Where the flash begins, its size, and our part of it: a sector for the root key, and two banks of as many each.
    flash_start, flash_size, ours, sector = 0, 0x100000, (0, 0), 4096
    model, core_mhz, systick_stops_in_sleep = UC_CPU_ARM_CORTEX_M4, 0, False
    devices = [(start, 0x200000) for start in (0x40000000, 0x50000000, 0xE0000000)]

    def __init__(self, image, flash=None, stuck=False, stays=False):
        self.stuck, self.random, self.stays = stuck, 0x2545F491, stays
        self.elapsed_us, self.asleep_us, self.a_look_us = 0, 0, 500
        self.mode, self.erased, self.programmed = READ, [], 0
        self.registers, self.wrong, self.flashes_us, self.is_seen = {}, [], [], False
        self.is_lit, self.is_asleep, self.unmasked = False, False, set()
        self.systick, self.watchdog_us, self.fed_us, self.press_us = None, None, 0, (0, 0)
        self.core = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self.core.ctl_set_cpu_model(self.model)
        self.core.mem_map(self.flash_start, self.flash_size)
        self.core.mem_write(self.flash_start, b"\xff" * self.flash_size)
        self.vectors = self._load(image)
        if flash is not None:
            self.core.mem_write(self.ours[0], flash)
        self.core.mem_map(0x20000000, 0x100000)
        for start, size in self.devices:
            self.core.mmio_map(start, size, self._read, start, self._write, start)
        # What is in the flash changes by its controller's leave only, and bits are only ever cleared.
        end = self.flash_start + self.flash_size - 1
        self.core.hook_add(UC_HOOK_MEM_WRITE, self._program, begin=self.flash_start, end=end)
        self.core.mem_map(RETURN, 0x1000)
        stack, self.at = struct.unpack("<II", bytes(self.core.mem_read(self.vectors, 8)))
        self.core.reg_write(UC_ARM_REG_SP, stack)

    def run(self, instructions=LONG):
        """Until the platform would see it (or, if it `stays`, until it sleeps for the first time), or the LED was lit
        three times; or for so many instructions, and then on from there. What went wrong is in `wrong`."""
        self._execute(self.at, instructions=instructions)
        self.at = self.core.reg_read(UC_ARM_REG_PC)

    def live(self, until_us):
        """From its first sleep on until this time."""
        while not self.wrong and self.elapsed_us < until_us:
            self.turn()

    def turn(self):
        """Asleep: until the next thing comes by itself. Awake: for a millisecond, or until it sleeps. A look at the time
        takes a microsecond, an instruction one of the core's clock, an interrupt nothing."""
        self.a_look_us = 1
        if self.is_asleep and not self.waiting():
            self._sleep()
            return
        for _ in range(100):
            waiting = self.waiting()
            # Interrupts that are off wake the core, too; they are taken later.
            if not waiting or self.core.reg_read(UC_ARM_REG_PRIMASK):
                break
            self._take(waiting[0])
        else:
            self.wrong.append(f"exceptions {waiting} without end")
        awake_at = self.core.reg_read(UC_ARM_REG_PC) + (2 if self.is_asleep else 0)
        self.is_asleep = False
        self._execute(awake_at, instructions=1000 * self.core_mhz)
        if not self.is_asleep:
            self.elapsed_us += 1000
            self._watch()

    def skip_to(self, time_us):
        """As if it had lived until then."""
        passed, self.elapsed_us = time_us - self.elapsed_us, time_us
        self.fed_us += passed
        self.passed(passed)

    def passed(self, time_us):
        """What comes by itself comes so much later."""
        if self.systick:
            self.systick[0] += time_us

    def waiting(self):
        """The exceptions that wait to be taken."""
        return [SYSTICK] if self.systick and self.systick[0] <= self.elapsed_us else []

    def due_us(self):
        """When the next exceptions come by themselves, asleep."""
        return [self.systick[0]] if self.systick and not self.systick_stops_in_sleep else []

    def taken(self, exception):
        """What the chip does when an exception is taken."""
        if exception == SYSTICK:
            due_us, period_us = self.systick
            self.systick[0] += (self.elapsed_us - due_us) // period_us * period_us + period_us

    def _sleep(self):
        """Until the next thing comes by itself."""
        until = min(self.due_us(), default=None)
        if until is None:
            self.wrong.append(f"nothing wakes it at {self.elapsed_us} µs")
            return
        slept = until - self.elapsed_us
        if self.systick and self.systick_stops_in_sleep:
            self.systick[0] += slept
        self.elapsed_us, self.asleep_us = until, self.asleep_us + slept
        self._watch()

    def _watch(self):
        if self.watchdog_us and self.elapsed_us - self.fed_us > self.watchdog_us:
            self.wrong.append(f"the watchdog ends it at {self.elapsed_us} µs")

    def _take(self, exception):
        """Runs its handler, and comes back with every register as it was."""
        self.taken(exception)
        before = self.core.context_save()
        handler, = struct.unpack("<I", bytes(self.core.mem_read(self.vectors + 4 * exception, 4)))
        self.core.reg_write(UC_ARM_REG_LR, RETURN | 1)
        self._execute(handler, RETURN)
        if self.core.reg_read(UC_ARM_REG_PC) != RETURN:
            self.wrong.append(f"the handler of exception {exception} does not return")
        self.core.context_restore(before)

    def _execute(self, address, until=0, instructions=LONG):
        try:
            self.core.emu_start(address | 1, until, count=instructions)
        except UcError as error:
            self.wrong.append(f"{error} at {self.core.reg_read(UC_ARM_REG_PC):#x}")

    def _wait_for_interrupt(self, core, _address, _size, _data):
        self.is_asleep = True
        core.emu_stop()

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
        self.elapsed_us += self.a_look_us
        return self.elapsed_us

    def light(self, lit):
        if lit and not self.is_lit:
            self.flashes_us.append(self.elapsed_us)
        self.is_lit = lit
        if len(self.flashes_us) == 3 and not self.is_seen:
            self.core.emu_stop()

    def seen(self):
        self.is_seen = True
        if not self.stays:
            self.core.emu_stop()

    def press(self, after_us, for_us):
        """The button goes down after so long, and up again."""
        self.press_us = (self.elapsed_us + after_us, self.elapsed_us + after_us + for_us)

    def is_pressed(self):
        down, up = self.press_us
        return down <= self.elapsed_us < up

    def feed(self):
        self.fed_us = self.elapsed_us

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
                segment = elf[offset:offset + length]
                self.core.mem_write(address, segment)
                addresses.append(address)
                for at, (code,) in zip(range(address, address + length, 2), struct.iter_unpack("<H", segment[:length & ~1])):
                    if code == WFI:
                        self.core.hook_add(UC_HOOK_CODE, self._wait_for_interrupt, begin=at, end=at)
        return min(addresses)

    def _read(self, _core, offset, _size, start):
        at = start + offset
        value = self.read(at)
        return self.registers.get(at, 0) if value is None else value & 0xFFFFFFFF

    def _write(self, _core, offset, _size, value, start):
        at = start + offset
        self.registers[at] = value
        if at == 0xE000E010 and value & 3 == 3:  # SysTick: CSR with ENABLE and TICKINT
            period_us = (self.registers[0xE000E014] + 1) // self.core_mhz
            self.systick = [self.elapsed_us + period_us, period_us]
        elif 0xE000E100 <= at < 0xE000E120 or 0xE000E180 <= at < 0xE000E1A0:  # NVIC: ISER, ICER
            exceptions = {16 + 8 * (at & 0x1F) + bit for bit in range(32) if value >> bit & 1}
            self.unmasked = self.unmasked - exceptions if at & 0x80 else self.unmasked | exceptions
        self.write(at, value)

    def _program(self, core, _access, address, size, value, _data):
        old = int.from_bytes(core.mem_read(address, size), "little")
        value &= (1 << 8 * size) - 1
        ours = self.ours[0] <= address < self.ours[1]
        if self.mode != WRITE or not ours or old & value != value:
            self.wrong.append(f"{value:#x} written to {address:#x} over {old:#x}")
        self.programmed += 1


class Nrf52840(Chip):
    """On Nordic's dongle."""

    ours, led, core_mhz, systick_stops_in_sleep = (0xBF000, 0xE0000), 6, 64, True
    button = (0x50000810, 6)  # P1.IN

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.has_bus_power = True
        self.timer1, self.enabled = None, dict.fromkeys((0x40009000, 0x40027000), 0)
        self.usb = NordicUsb(self)

    def waiting(self):
        if self.timer1 and self.timer1[0] <= self.elapsed_us:
            self.timer1[0] += self.timer1[1]
            self.registers[0x40009140] = 1  # TIMER1.EVENTS_COMPARE[0]
        self.usb.start_of_frame()
        waiting = super().waiting()
        for base, enabled in self.enabled.items():
            events = (self.registers.get(base + 0x100 + 4 * bit) for bit in range(32) if enabled >> bit & 1)
            exception = 16 + (base >> 12 & 0xFF)
            if exception in self.unmasked and any(events):
                waiting.append(exception)
        return waiting

    def passed(self, time_us):
        super().passed(time_us)
        if self.timer1:
            self.timer1[0] += time_us

    def due_us(self):
        ticks = self.timer1 and self.enabled[0x40009000] >> 16 & 1 and 16 + 9 in self.unmasked
        return super().due_us() + ([self.timer1[0]] if ticks else [])

    def read(self, at):
        if at >> 12 == 0x40027:  # USBD
            return self.usb.read(at & 0xFFF)
        return {
            0x40000100: 1,  # CLOCK.EVENTS_HFCLKSTARTED
            0x4000D100: 1,  # RNG.EVENTS_VALRDY
            0x4001E400: 1,  # NVMC.READY
        }.get(at) or {
            0x4000D508: lambda: self.sample() & 0xFF,  # RNG.VALUE
            0x40008540: self.timer0,  # TIMER0.CC[0]
            0x40000438: lambda: 3 * self.has_bus_power,  # POWER.USBREGSTATUS: VBUSDETECT, OUTPUTRDY
            self.button[0]: lambda: ~(self.is_pressed() << self.button[1]),
        }.get(at, lambda: None)()

    def timer0(self):
        """Counts in sleep, too, if it was started, and goes round at its width."""
        if not self.registers.get(0x40008000):
            return 0
        bits = [16, 8, 24, 32][self.registers.get(0x40008508, 0)]
        return (self.now_us() * 16 >> self.registers.get(0x40008510, 4)) & (1 << bits) - 1

    def write(self, at, value):
        if at == 0x4001E504:  # NVMC.CONFIG
            self.mode = [READ, WRITE, ERASE][value]
        elif at == 0x4001E508:  # NVMC.ERASEPAGE
            self.erase(value)
        elif at in (0x50000508, 0x5000050C) and value == 1 << self.led:  # P0.OUTSET, P0.OUTCLR
            self.light(at == 0x5000050C)
        elif at in (0x40009304, 0x40027304):  # TIMER1, USBD: INTENSET
            self.enabled[at & ~0xFFF] |= value
        elif at in (0x40009308, 0x40027308):  # TIMER1, USBD: INTENCLR
            self.enabled[at & ~0xFFF] &= ~value
        elif at == 0x40009000 and self.registers[0x40009200] & 1:  # TIMER1.TASKS_START, with COMPARE0_CLEAR in SHORTS
            period_us = (self.registers[0x40009540] << self.registers[0x40009510]) // 16
            self.timer1 = [self.elapsed_us + period_us, period_us]
        elif at == 0x40010000:  # WDT.TASKS_START
            self.watchdog_us = self.registers[0x40010504] * 1_000_000 // 32_768
            self.feed()
        elif at == 0x40010600 and value == 0x6E524635:  # WDT.RR[0]
            self.feed()
        elif at >> 12 == 0x40027:  # USBD
            self.usb.write(at & 0xFFF, value)


class Nrf52833(Nrf52840):
    """On Nordic's development kit."""

    ours, led, button = (0x5F000, 0x80000), 13, (0x50000510, 11)


class Stm32F405(Chip):
    """On Olimex's STM32-H405."""

    flash_start, ours, sector, core_mhz = 0x08000000, (0x080A0000, 0x08100000), 128 * 1024, 168
    keys = [0x45670123, 0xCDEF89AB]

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.usb = SynopsysUsb(self)
        self.core.mem_map(0x1FFF7000, 0x1000)
        self.core.mem_write(0x1FFF7A22, struct.pack("<H", 1024))  # the flash's size in kB
        self.core.mmio_map(0x42000000, 0x1000000, self._read_bit, None, self._write_bit, None)
        self.told = []
        self.registers[0x40023C10] = 1 << 31  # FLASH.CR: locked
        self.registers[0x40023860] = 0x36FEC9FF  # RCC.APB1LPENR: which clocks go on in sleep

    def read(self, at):
        kept = self.registers.get(at, 0)
        if 0 <= at - self.usb.base < self.usb.size:
            return self.usb.read(at - self.usb.base)
        return {
            0x40023800: kept | (kept & 0x01010001) << 1,  # RCC.CR: what is on is ready
            0x40023808: kept & ~0xC | (kept & 3) << 2,  # RCC.CFGR: the clock that was chosen
            0x40007004: 1 << 14,  # PWR.CSR: VOSRDY
            0x50060804: 1,  # RNG.SR: DRDY
            0x40020010: int(self.is_pressed()),  # GPIOA.IDR
        }.get(at) or {
            0x50060808: self.sample,  # RNG.DR
            0x40000024: self.timer2,  # TIM2.CNT
            0xE0001004: lambda: (self.now_us() - self.asleep_us) * 168,  # DWT.CYCCNT: not in sleep
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
        elif at == 0x40020818 and value in (1 << 28, 1 << 12):  # GPIOC.BSRR
            self.light(value == 1 << 28)
        elif at == 0x40003000 and value == 0xCCCC:  # IWDG.KR: start
            ticks = (self.registers[0x40003008] + 1) * 4 << self.registers[0x40003004]
            self.watchdog_us = ticks * 1000 // 32
            self.feed()
        elif at == 0x40003000 and value == 0xAAAA:  # IWDG.KR: feed
            self.feed()
        elif 0 <= at - self.usb.base < self.usb.size:
            self.usb.write(at - self.usb.base, value)

    def waiting(self):
        exception = 16 + self.usb.interrupt
        usb = exception in self.unmasked and self.usb.waits()
        return super().waiting() + ([exception] if usb else [])

    def timer2(self):
        """Counts by its 84 MHz and its prescaler, if it is on, and in sleep, if its clock is on there."""
        is_on = self.registers.get(0x40000000, 0) & self.registers.get(0x40023840, 0) & 1  # TIM2.CR1, RCC.APB1ENR
        sleeps = not self.registers[0x40023860] & 1
        counted = self.now_us() - (self.asleep_us if sleeps else 0)
        return counted * 84 // (self.registers.get(0x40000028, 0) + 1) if is_on else 0

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
    model, core_mhz = UC_CPU_ARM_CORTEX_M33, 150
    # Without the USB controller's memory.
    devices = [(0x40000000, 0x200000), (0x50000000, 0x100000), (0x50101000, 0xFF000), (0xD0000000, 0x1000), (0xE0000000, 0x200000)]
    lookup = 0x200
    functions = [b"IF", b"EX", b"RE", b"RP", b"FC"]

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.usb = RaspberryUsb(self)
        self.core.mem_map(self.usb.memory, 0x1000)
        self.core.mem_map(0, 0x8000)
        self.core.mem_write(0x13, b"\x02")  # the ROM's version
        self.core.mem_write(0x16, struct.pack("<H", self.lookup | 1))
        self.core.hook_add(UC_HOOK_CODE, self._rom, begin=0x200, end=0x7FFF)

    def read(self, at):
        at = self.plain(at)
        kept = self.registers.get(at, 0)
        if at >> 12 == 0x50110:  # USB
            return self.usb.read(at & 0xFFF)
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
            0x400B0024: lambda: self.elapsed_us >> 32,  # TIMER0.TIMERAWH
            0x400B0028: self.now_us,  # TIMER0.TIMERAWL
            0xD0000008: lambda: ~(self.is_pressed() << 27),  # SIO.GPIO_HI_IN: QSPI_CSN, which BOOTSEL pulls down
            **dict.fromkeys(range(0x400F0114, 0x400F012C, 4), self.sample),  # TRNG.EHR_DATA
        }.get(at, lambda: self.registers.get(at, 0))()

    def write(self, at, value):
        where = self.plain(at)
        if where != at:
            # Aliases of each register: exclusive or, set, clear.
            kept, how = self.registers.get(where, 0), at >> 12 & 3
            value = [value, kept ^ value, kept | value, kept & ~value][how]
            self.registers[where] = value
        if at in (0xD0000018, 0xD0000020) and value == 1 << 25:  # SIO.GPIO_OUT_SET, SIO.GPIO_OUT_CLR
            self.light(at == 0xD0000018)
        elif where == 0x400D8004:  # WATCHDOG.LOAD
            self.feed()
        elif where == 0x400D8000 and value >> 30 & 1:  # WATCHDOG.CTRL: ENABLE
            self.watchdog_us = self.registers[0x400D8004]
        elif where >> 12 == 0x50110:  # USB
            self.usb.write(where & 0xFFF, value)

    def waiting(self):
        exception = 16 + self.usb.interrupt
        usb = exception in self.unmasked and self.usb.read(self.usb.masked)
        return super().waiting() + ([exception] if usb else [])

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
