// The Raspberry Pi Pico's image in rp2040js, behind the chip's own USB controller.
//
//   node rp2040.mjs IMAGE FLASH LINE BUTTON [touch=auto] [randomness=stuck] [usbip]
//
// LINE and BUTTON are TCP ports on 127.0.0.1: packets of 64 bytes are carried between LINE and the device's interrupt
// endpoints; BUTTON takes `1` and `0`, and tells each change of the LED as `L1` and `L0`. `h` on it hangs the thread for
// ever, interrupts excepted: the watchdog must end that, and `W` with the milliseconds it took is told. FLASH is the file that holds
// our part of the flash. What is not the chip is here: a boot ROM with the functions that the image calls (flash that
// behaves as NOR), a host that enumerates, a ring oscillator whose bits repeat. With `usbip` that host only gives the
// device its address: the rest is done by whoever attaches it over USB/IP, on the port of 127.0.0.1 that is printed.
import { existsSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { connect } from "node:net";
import { EPIPE, exportDevice } from "./usbip_export.mjs";

const modules = process.env.DOPPELKEY_NODE_MODULES;
const { RP2040 } = await import(`${modules}/rp2040js/dist/esm/index.js`);
const { ConsoleLogger, LogLevel } = await import(`${modules}/rp2040js/dist/esm/utils/logging.js`);
const [image, flashFile, linePort, buttonPort, ...options] = process.argv.slice(2);

// A sector for the root key, and the store.
const STORE = 0x1df000;
const STORE_SIZE = 0x21000;
const chip = new RP2040();
const { clock } = chip;
let hung;
chip.peripherals[0x40058].onWatchdogTrigger = () => {
  if (!hung) throw new Error("the watchdog was not fed");
  button.end(`W${Math.round((clock.nanos - hung) / 1e6)}\n`, () => process.exit(0));
  hung = undefined;
};
chip.logger = new ConsoleLogger(LogLevel.Error, false);

// --- flash: the image's segments, and the store's file
const elf = readFileSync(image);
for (let i = 0, header = elf.readUInt32LE(28); i < elf.readUInt16LE(44); i++, header += elf.readUInt16LE(42)) {
  const [type, offset, , address, size] = [0, 4, 8, 12, 16].map((at) => elf.readUInt32LE(header + at));
  if (type === 1 && size > 0) chip.flash.set(elf.subarray(offset, offset + size), address - 0x10000000);
}
if (!existsSync(flashFile)) writeSync(openSync(flashFile, "w"), Buffer.alloc(STORE_SIZE, 0xff));
const file = openSync(flashFile, "r+");
readSync(file, chip.flash, STORE, STORE_SIZE, 0);
const keep = (address, length) => {
  if (address < STORE || address + length > STORE + STORE_SIZE) throw new Error(`flash ${address.toString(16)} is not the store's`);
  writeSync(file, chip.flash, address, length, address - STORE);
};

// --- boot ROM: a table lookup, and functions by their two letters
const LOOKUP = 0x200;
const code = (letters) => letters.charCodeAt(0) | (letters.charCodeAt(1) << 8);
const copy = (to, from, length) => {
  for (let i = 0; i < length; i++) chip.writeUint8(to + i, chip.readUint8(from + i));
  return to;
};
const fill = (to, byte, length) => {
  for (let i = 0; i < length; i++) chip.writeUint8(to + i, byte & 255);
  return to;
};
const functions = [
  ["MC", copy],
  ["C4", copy],
  ["MS", fill],
  ["S4", fill],
  ["L3", (word) => Math.clz32(word)],
  ["T3", (word) => (word === 0 ? 32 : 31 - Math.clz32(word & -word))],
  ["IF", () => {}],
  ["EX", () => {}],
  ["FC", () => {}],
  ["CX", () => {}],
  ["RE", (address, length) => {
    if (address % 4096 || length % 4096) throw new Error("an erase that is not aligned");
    chip.flash.fill(0xff, address, address + length);
    keep(address, length);
  }],
  ["RP", (address, data, length) => {
    if (address % 256 || length % 256) throw new Error("a program that is not aligned");
    // NOR: bits are only ever cleared.
    for (let i = 0; i < length; i++) chip.flash[address + i] &= chip.readUint8(data + i);
    keep(address, length);
  }],
];
const entry = (number) => 0x300 + number * 4;
chip.bootrom[0x10 / 4] = 0x01_00_754d; // the magic number, and version 1
chip.bootrom[0x14 / 4] = 0x100 | (0x180 << 16); // the tables, which nobody reads
chip.bootrom[0x18 / 4] = LOOKUP | 1;
const rom = (core) => {
  const [r0, r1, r2] = core.registers;
  const at = core.PC & ~1;
  if (at === LOOKUP) {
    const number = functions.findIndex(([letters]) => code(letters) === r1);
    if (number < 0) throw new Error(`the image looks for ${r1.toString(16)} in the boot ROM`);
    core.registers[0] = entry(number) | 1;
  } else {
    const found = functions[(at - entry(0)) / 4];
    if (!found) throw new Error(`the image calls ${at.toString(16)} in the boot ROM, from ${(core.LR >>> 0).toString(16)}`);
    const result = found[1](r0, r1, r2);
    if (result !== undefined) core.registers[0] = result;
  }
  core.PC = core.LR & ~1;
};

// --- ring oscillator: xorshift32, the same at every power-up; or broken
let state = 0x2545f491;
chip.peripherals[0x40060] = {
  readUint32(offset) {
    if (offset !== 0x1c) return 0x80001000; // STATUS: stable
    if (options.includes("randomness=stuck")) return 1;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 1;
  },
  writeUint32Atomic() {},
};

// --- the button (BOOTSEL pulls the flash's chip select down) and the LED
let pressed = false;
Object.defineProperty(chip.qspi[1], "inputValue", {
  get() {
    // Released and pressed again, at every look: what a touch is.
    if (options.includes("touch=auto")) pressed = !pressed;
    return !pressed;
  },
});
chip.peripherals[0x40018] = { readUint32: () => 0, writeUint32Atomic() {} };
let hang = false;
const button = connect(Number(buttonPort), "127.0.0.1");
button.setNoDelay(true);
button.on("data", (data) => {
  for (const byte of data) {
    if (byte === 0x68) hang = true;
    else pressed = byte === 0x31;
  }
});
chip.gpio[25].addListener((value) => button.write(value === 1 ? "L1" : "L0"));

// --- USB host: enumerates, then carries packets
const usb = chip.usbCtrl;
const line = connect(Number(linePort), "127.0.0.1");
line.setNoDelay(true);
line.on("error", () => process.exit(0));
line.on("close", () => process.exit(0));
const setup = (type, request, value, index, length) =>
  usb.sendSetupPacket(Uint8Array.of(type, request, value & 255, value >> 8, index & 255, index >> 8, length & 255, length >> 8));
const steps = [
  [() => setup(0x80, 6, 0x0100, 0, 18), (data) => data.length === 18 && data[8] === 0x09 && data[9] === 0x12],
  [() => setup(0x00, 5, 1, 0, 0)],
  [() => setup(0x80, 6, 0x0200, 0, 41), (data) => data.length === 41 && data[14] === 3],
  [() => setup(0x00, 9, 1, 0, 0)],
  [() => setup(0x21, 0x0a, 0, 0, 0)],
  [() => setup(0x81, 6, 0x2200, 0, 34), (data) => data.length === 34 && data[0] === 0x06 && data[1] === 0xd0 && data[2] === 0xf1],
];
let step = -1;
let configured = false;
const bridged = options.includes("usbip");
const descriptors = {};
const advance = () => {
  step += 1;
  if (bridged && step === 2) {
    // The configuration is read for the export's own record; the rest is the client's.
    setup(0x80, 6, 0x0200, 0, 41);
  } else if (bridged && step === 3) {
    configured = true;
    exportDevice(0, bridge, (port) => console.log(port));
  } else if (step < steps.length) steps[step][0]();
  else configured = true;
};
const outgoing = [];
let armed = false;
let waiting = Buffer.alloc(0);
const deliver = () => {
  if (!armed || !configured || !outgoing.length) return;
  armed = false;
  const { data, done } = outgoing.shift();
  usb.endpointReadDone(1, data);
  done?.(0);
};
usb.onUSBEnabled = () => usb.resetDevice();
usb.onResetReceived = () => step < 0 && advance();
usb.onEndpointWrite = (endpoint, data) => {
  if (endpoint === 1) return bridged ? report(Buffer.from(data)) : line.write(data);
  if (control) return controlled(Buffer.from(data));
  const check = steps[step]?.[1];
  // A request with data is over when its data came, one without when the empty answer did.
  if (check ? data.length > 0 : data.length === 0) {
    if (check && !check(data)) throw new Error(`step ${step} of the enumeration: ${Buffer.from(data).toString("hex")}`);
    if (step === 0) descriptors.device = Buffer.from(data);
    if (step === 2) descriptors.configuration = Buffer.from(data);
    advance();
  }
};
usb.onEndpointRead = (endpoint) => {
  if (endpoint !== 1) return;
  armed = true;
  deliver();
};
line.on("data", (data) => {
  waiting = Buffer.concat([waiting, data]);
  for (; waiting.length >= 64; waiting = waiting.subarray(64)) outgoing.push({ data: new Uint8Array(waiting.subarray(0, 64)) });
});

// --- the device, for whoever attaches it over USB/IP
let control;
const controls = [];
const reports = [];
const receivers = [];
const bridge = {
  descriptors: () => descriptors,
  control(bytes, data, done) {
    controls.push({ bytes, done, answer: Buffer.alloc(0), turns: 0 });
    nextControl();
  },
  send: (data, done) => outgoing.push({ data: new Uint8Array(data), done }),
  receive(done) {
    receivers.push(done);
    deliverReports();
    return () => {
      const at = receivers.indexOf(done);
      if (at >= 0) receivers.splice(at, 1);
      return at >= 0;
    };
  },
};
const nextControl = () => {
  if (control || !controls.length) return;
  control = controls.shift();
  usb.sendSetupPacket(new Uint8Array(control.bytes));
};
const endControl = (status) => {
  const { done, answer } = control;
  control = undefined;
  done(status, answer);
  nextControl();
};
const controlled = (data) => {
  const length = control.bytes.readUInt16LE(6);
  control.answer = Buffer.concat([control.answer, data]);
  // A packet that is not full ends the data.
  if (control.bytes[0] < 0x80 || data.length < 64 || control.answer.length >= length) endControl(0);
};
// The emulator does not tell a stall; the bit that asks for it is in the buffer control word of endpoint 0 IN.
const lookForStall = () => {
  if (control && ++control.turns > 2 && chip.readUint32(0x50100080) & 0x800) endControl(-EPIPE);
};
const report = (data) => {
  reports.push(data);
  deliverReports();
};
const deliverReports = () => {
  while (reports.length && receivers.length) receivers.shift()(0, reports.shift());
};

// --- power: what the second stage of the boot loader does at last
chip.core.VTOR = 0x10000100;
chip.core.SP = chip.readUint32(0x10000100);
chip.core.PC = chip.readUint32(0x10000104) & ~1;
const CYCLE = 1e9 / 125e6;
// Idle time is skipped, but for clients over USB/IP: theirs is real, and between two of their packets the device must
// not see half a second pass. So it idles no faster than they do.
let idle = 0;
let last = performance.now();
const pace = () => {
  idle = Math.min(idle + (performance.now() - last) * 1e6, 20e6);
  last = performance.now();
};
const run = () => {
  const { core } = chip;
  if (bridged) pace();
  let next = setImmediate;
  for (let i = 0; i < 200_000; i++) {
    if (hang && core.IPSR === 0) {
      // Memory that the image leaves alone: wfi, and a branch back to it.
      chip.writeUint16(0x20041000, 0xbf30);
      chip.writeUint16(0x20041002, 0xe7fd);
      core.PC = 0x20041000;
      [core.waiting, core.PM, hang, hung] = [false, false, false, clock.nanos];
    }
    if (core.waiting) {
      if (bridged && clock.nanosToNextAlarm > idle) {
        next = (work) => setTimeout(work, 1);
        break;
      }
      idle -= clock.nanosToNextAlarm;
      clock.tick(clock.nanosToNextAlarm);
      // SysTick wakes the core, too; the emulator leaves that out.
      if (core.interruptsUpdated && core.checkForInterrupts()) core.waiting = false;
      i += 2_000;
    } else if (core.PC < 0x4000) {
      rom(core);
    } else {
      clock.tick(core.executeInstruction() * CYCLE);
    }
  }
  deliver();
  lookForStall();
  next(run);
};
run();
