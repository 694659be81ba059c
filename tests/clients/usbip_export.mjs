// Exports one USB device over USB/IP, wherever it is: Documentation/usb/usbip_protocol.rst of the Linux kernel.
//
// The device is told transfers and says when they are over:
//   control(setup, data, done)   a control transfer; `setup` is its 8 bytes
//   receive(done)                an interrupt IN transfer; returns a function that takes it back, if it is not too late
//   send(data, done)             an interrupt OUT transfer
// `done(status, data)` is called once, with 0 or a negative errno.
import { createServer } from "node:net";

const VERSION = 0x0111;
const DEVLIST = 0x8005;
const IMPORT = 0x8003;
const SUBMIT = 1;
const UNLINK = 2;
const IN = 1;
const ECONNRESET = 104;
const BUSID = "1-1";

export const EPIPE = 32;

// Listens on this port of 127.0.0.1, and calls `ready` with the port there is.
export function exportDevice(port, device, ready) {
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    new Session(socket, device);
  });
  server.listen(port, "127.0.0.1", () => ready(server.address().port));
}

class Session {
  constructor(socket, device) {
    this.socket = socket;
    this.device = device;
    this.received = Buffer.alloc(0);
    this.attached = false;
    // What takes an interrupt IN transfer back, by its number.
    this.receiving = new Map();
    socket.on("data", (data) => {
      this.received = Buffer.concat([this.received, data]);
      while (this.step());
    });
    socket.on("error", () => {});
    socket.on("close", () => this.receiving.forEach((takeBack) => takeBack()));
  }

  // Takes one message, if a whole one is there.
  step() {
    return this.attached ? this.transfer() : this.operation();
  }

  take(size) {
    const taken = this.received.subarray(0, size);
    this.received = this.received.subarray(size);
    return taken;
  }

  operation() {
    if (this.received.length < 8) return false;
    const code = this.received.readUInt16BE(2);
    if (code === DEVLIST) {
      this.take(8);
      const { configuration } = this.device.descriptors();
      const [kind, subclass, protocol] = configuration.subarray(14, 17);
      this.socket.write(Buffer.concat([reply(0x0005, 0), word(1), this.record(), Buffer.of(kind, subclass, protocol, 0)]));
      return true;
    }
    if (code !== IMPORT || this.received.length < 40) {
      if (code !== IMPORT) this.socket.destroy();
      return false;
    }
    const busid = this.take(40).subarray(8).toString().replace(/\0.*$/s, "");
    this.attached = busid === BUSID;
    this.socket.write(this.attached ? Buffer.concat([reply(0x0003, 0), this.record()]) : reply(0x0003, 1));
    return true;
  }

  record() {
    const { device, configuration } = this.device.descriptors();
    const record = Buffer.alloc(312);
    record.write("/emulated/usb1/1-1", 0);
    record.write(BUSID, 256);
    [1, 2, 2].forEach((number, index) => record.writeUInt32BE(number, 288 + 4 * index)); // bus, device, full speed
    [8, 10, 12].forEach((at, index) => record.writeUInt16BE(device.readUInt16LE(at), 300 + 2 * index));
    record.set([device[4], device[5], device[6], configuration[5], device[17], configuration[4]], 306);
    return record;
  }

  transfer() {
    if (this.received.length < 48) return false;
    const field = (index) => this.received.readUInt32BE(4 * index);
    const [command, number, , direction, endpoint, , length] = [0, 1, 2, 3, 4, 5, 6].map(field);
    const sent = command === SUBMIT && direction !== IN ? length : 0;
    if (this.received.length < 48 + sent) return false;
    const header = Buffer.from(this.take(48));
    const data = Buffer.from(this.take(sent));
    if (command === UNLINK) return this.unlink(number, header.readUInt32BE(20));
    if (command !== SUBMIT) return this.socket.destroy() && false;
    const done = (status, answer = Buffer.alloc(0)) => {
      const used = direction === IN ? answer.length : status === 0 ? sent : 0;
      this.answer(3, number, status, used, direction === IN ? answer : Buffer.alloc(0));
    };
    if (endpoint === 0) this.device.control(header.subarray(40, 48), data, done);
    else if (direction !== IN) this.device.send(data, done);
    else {
      const takeBack = this.device.receive((status, answer) => {
        this.receiving.delete(number);
        done(status, answer);
      });
      this.receiving.set(number, takeBack);
    }
    return true;
  }

  unlink(number, victim) {
    const takeBack = this.receiving.get(victim);
    this.receiving.delete(victim);
    this.answer(4, number, takeBack?.() ? -ECONNRESET : 0, 0, Buffer.alloc(0));
    return true;
  }

  answer(command, number, status, length, data) {
    const header = Buffer.alloc(48);
    header.writeUInt32BE(command, 0);
    header.writeUInt32BE(number, 4);
    header.writeInt32BE(status, 20);
    header.writeInt32BE(length, 24);
    if (!this.socket.destroyed) this.socket.write(Buffer.concat([header, data]));
  }
}

function word(number) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
}

function reply(code, status) {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16BE(VERSION, 0);
  bytes.writeUInt16BE(code, 2);
  bytes.writeUInt32BE(status, 4);
  return bytes;
}
