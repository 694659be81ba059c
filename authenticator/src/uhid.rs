//! A door through Linux's /dev/uhid: a HID device without USB. Needs the module `uhid` and write access to the file.
//!
//! Layouts: Linux's `include/uapi/linux/uhid.h`. Numbers are in the machine's order; every event starts with its kind,
//! 4 bytes.

use std::io;

use crate::device::{Device, Identity};

#[cfg(target_os = "linux")]
pub use linux::Uhid;

/// A rule for udev that lets whoever sits at this computer use `/dev/uhid`, for
/// `/etc/udev/rules.d/60-doppelkey.rules`.
pub const UDEV_RULE: &str =
    r#"KERNEL=="uhid", SUBSYSTEM=="misc", TAG+="uaccess", OPTIONS+="static_node=uhid""#;

/// A HID device of this kernel, made through `/dev/uhid`. Gone when dropped. Only on Linux.
#[cfg(not(target_os = "linux"))]
pub struct Uhid {}

#[cfg(not(target_os = "linux"))]
impl Uhid {
    /// Makes the device. Not on this system.
    pub fn create(_: &Device, _: &Identity) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{File, OpenOptions};
    use std::io::{Read as _, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::thread::JoinHandle;

    use doppelkey_ctaphid::{PACKET_SIZE, Packet, REPORT_DESCRIPTOR};
    use rustix::event::{PollFd, PollFlags, poll};

    use super::{Device, Identity, io};
    use crate::device::Port;

    /// A HID device of this kernel, made through `/dev/uhid`. Gone when dropped.
    pub struct Uhid {
        stop: UnixStream,
        port: Arc<Port>,
        threads: Vec<JoinHandle<()>>,
    }

    impl Uhid {
        /// Makes the device, freshly plugged in. Needs write access to `/dev/uhid`.
        pub fn create(device: &Device, identity: &Identity) -> io::Result<Self> {
            let mut file = OpenOptions::new().read(true).write(true).open("/dev/uhid")?;
            device.replug();
            let port = Arc::new(Port::lasting(device, ROOM));
            file.write_all(&create(identity))?;
            let file = Arc::new(file);
            let (stop, stopped) = UnixStream::pair()?;
            let mut uhid = Uhid { stop, port: port.clone(), threads: Vec::new() };
            let output = Arc::new(Mutex::new(file.clone()));
            let (reader_output, reader_port) = (output.clone(), port.clone());
            uhid.spawn("doppelkey-uhid", move || {
                if let Err(error) = obey(&file, &reader_output, &stopped, &reader_port) {
                    log::warn!("uhid: the device was lost: {error}");
                }
                // The device goes when the file does; the other thread has it too.
                reader_port.close();
            })?;
            uhid.spawn("doppelkey-uhid-in", move || {
                while port.wait() {
                    if flush(&output, &port).is_err() {
                        break;
                    }
                }
            })?;
            Ok(uhid)
        }

        fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
            self.threads.push(std::thread::Builder::new().name(name.into()).spawn(work)?);
            Ok(())
        }
    }

    impl Drop for Uhid {
        fn drop(&mut self) {
            let _ = self.stop.shutdown(std::net::Shutdown::Both);
            self.port.close();
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }

    /// Takes the kernel's events until told to stop.
    fn obey(mut file: &File, output: &Mutex<Arc<File>>, stopped: &UnixStream, port: &Port) -> io::Result<()> {
        let mut event = [0; EVENT_MAX];
        loop {
            let mut ready = [PollFd::new(file, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            if !ready[1].revents().is_empty() {
                return Ok(());
            }
            let length = file.read(&mut event)?;
            match Event::parse(&event[..length]) {
                Event::Output(packet) => {
                    while !port.send(&packet) {
                        flush(output, port)?;
                    }
                    flush(output, port)?;
                }
                Event::Report { reply, id } => file.write_all(&refusal(reply, id))?,
                Event::Other => {}
            }
        }
    }

    /// Passes on all packets there are. What is taken first is written first, whoever else is at it.
    fn flush(output: &Mutex<impl Write>, port: &Port) -> io::Result<()> {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(packet) = port.take() {
            output.write_all(&input(&packet))?;
        }
        Ok(())
    }

    /// What the kernel says.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) enum Event {
        /// UHID_OUTPUT: a report to the device.
        Output(Packet),
        /// UHID_GET_REPORT or UHID_SET_REPORT, which want a reply of this kind.
        Report { reply: u32, id: [u8; 4] },
        /// Something that needs nothing: start, stop, open, close, a report that is none of ours.
        Other,
    }

    impl Event {
        pub(super) fn parse(event: &[u8]) -> Self {
            let Some((kind, body)) = event.split_first_chunk() else { return Event::Other };
            match u32::from_ne_bytes(*kind) {
                OUTPUT => report(body).map_or(Event::Other, Event::Output),
                GET_REPORT => request(body, GET_REPORT_REPLY),
                SET_REPORT => request(body, SET_REPORT_REPLY),
                _ => Event::Other,
            }
        }
    }

    /// `struct uhid_output_req`: data, 4096 bytes; size, 2; kind of report, 1. A writer of hidraw puts the report's
    /// number, 0, before it; the kernel may pass it on.
    fn report(body: &[u8]) -> Option<Packet> {
        let size = body.get(DATA_MAX..DATA_MAX + 2)?;
        match usize::from(u16::from_ne_bytes([size[0], size[1]])) {
            PACKET_SIZE => body[..PACKET_SIZE].try_into().ok(),
            size if size == 1 + PACKET_SIZE && body[0] == 0 => body[1..size].try_into().ok(),
            _ => None,
        }
    }

    fn request(body: &[u8], reply: u32) -> Event {
        body.first_chunk().map_or(Event::Other, |id| Event::Report { reply, id: *id })
    }

    /// UHID_CREATE2: name, 128 bytes; place, 64; serial, 64; length of the report descriptor, 2; bus, 2; vendor,
    /// product, version, country, 4 each; the report descriptor.
    pub(super) fn create(identity: &Identity) -> Vec<u8> {
        let mut event = CREATE2.to_ne_bytes().to_vec();
        text(&mut event, &identity.name, 128);
        text(&mut event, "doppelkey", 64);
        text(&mut event, &identity.serial, 64);
        event.extend((REPORT_DESCRIPTOR.len() as u16).to_ne_bytes());
        event.extend(BUS_USB.to_ne_bytes());
        for number in [identity.vendor, identity.product, identity.release, 0] {
            event.extend(u32::from(number).to_ne_bytes());
        }
        event.extend(REPORT_DESCRIPTOR);
        event
    }

    /// Text of at most `length` − 1 bytes, filled up with zeros.
    fn text(event: &mut Vec<u8>, text: &str, length: usize) {
        let end = event.len() + length;
        event.extend(text.bytes().take(length - 1));
        event.resize(end, 0);
    }

    /// UHID_INPUT2: size, 2 bytes; data.
    pub(super) fn input(packet: &Packet) -> Vec<u8> {
        let mut event = INPUT2.to_ne_bytes().to_vec();
        event.extend((PACKET_SIZE as u16).to_ne_bytes());
        event.extend(packet);
        event
    }

    /// UHID_GET_REPORT_REPLY and UHID_SET_REPORT_REPLY: id, 4 bytes; error, 2; size, 2.
    fn refusal(reply: u32, id: [u8; 4]) -> Vec<u8> {
        [&reply.to_ne_bytes()[..], &id, &EIO.to_ne_bytes(), &[0, 0]].concat()
    }

    const OUTPUT: u32 = 6;
    const GET_REPORT: u32 = 9;
    const GET_REPORT_REPLY: u32 = 10;
    const CREATE2: u32 = 11;
    const INPUT2: u32 = 12;
    const SET_REPORT: u32 = 13;
    const SET_REPORT_REPLY: u32 = 14;
    const BUS_USB: u16 = 3;
    const EIO: u16 = 5;
    const DATA_MAX: usize = 4096;
    /// `sizeof(struct uhid_event)`.
    const EVENT_MAX: usize = 4376;
    const ROOM: usize = 8;

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::user_interface::Auto;

        fn output(data: &[u8]) -> Vec<u8> {
            let mut event = OUTPUT.to_ne_bytes().to_vec();
            event.extend(data);
            event.resize(4 + DATA_MAX, 0);
            event.extend((data.len() as u16).to_ne_bytes());
            event.push(1);
            event
        }

        #[test]
        fn reports_are_taken_with_and_without_their_number() {
            let packet = std::array::from_fn(|index| index as u8 + 1);
            assert_eq!(Event::parse(&output(&packet)), Event::Output(packet));
            assert_eq!(Event::parse(&output(&[&[0][..], &packet].concat())), Event::Output(packet));
            for other in [&packet[..63], &[&[1][..], &packet].concat(), &[]] {
                assert_eq!(Event::parse(&output(other)), Event::Other);
            }
        }

        #[test]
        fn requests_for_reports_are_refused_and_all_else_is_let_pass() {
            let get = [&GET_REPORT.to_ne_bytes()[..], &[1, 2, 3, 4, 0, 0]].concat();
            let expected = Event::Report { reply: GET_REPORT_REPLY, id: [1, 2, 3, 4] };
            assert_eq!(Event::parse(&get), expected);
            for event in
                [&[][..], &[1, 2], &2_u32.to_ne_bytes(), &OUTPUT.to_ne_bytes(), &GET_REPORT.to_ne_bytes()]
            {
                assert_eq!(Event::parse(event), Event::Other);
            }
        }

        #[test]
        fn a_long_answer_is_in_order_though_two_threads_pass_it_on() {
            let configuration = doppelkey_core::Configuration::default();
            let clock = std::sync::Arc::new(|| std::time::Duration::from_secs(1));
            let device = crate::client::ephemeral_device(configuration, Box::new(Auto), clock);
            let port = Port::new(&device, ROOM);
            let mut packet = [0; PACKET_SIZE];
            packet[..7].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8]);
            assert!(port.send(&packet));
            let channel = port.take().expect("CTAPHID_INIT is answered")[15..19].to_vec();
            let output = Mutex::new(Slow(Vec::new()));
            for _ in 0..10 {
                // CTAPHID_PING with the longest message: 57 bytes, and 128 times 59.
                packet = [0; PACKET_SIZE];
                packet[..4].copy_from_slice(&channel);
                packet[4..7].copy_from_slice(&[0x81, 0x1D, 0xB9]);
                assert!(port.send(&packet));
                for sequence in 0..128 {
                    (packet[4], packet[5], packet[6]) = (sequence, 0, 0);
                    assert!(port.send(&packet));
                }
                let written = || output.lock().expect("nobody panics").0.len() / input(&packet).len();
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| {
                            while written() < 129 {
                                flush(&output, &port).expect("memory takes all");
                            }
                        });
                    }
                });
                let events = std::mem::take(&mut output.lock().expect("nobody panics").0);
                let sequence = Vec::from_iter(events.chunks(input(&packet).len()).map(|event| event[6 + 4]));
                assert_eq!(sequence, Vec::from_iter([0x81].into_iter().chain(0..128)));
            }
        }

        /// Takes its time, so that the other thread comes between if it can.
        struct Slow(Vec<u8>);

        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.extend_from_slice(bytes);
                std::thread::yield_now();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        #[test]
        fn the_device_is_made_with_the_kernels_layout() {
            let long = Identity { serial: "x".repeat(100), ..Identity::default() };
            let event = create(&long);
            assert_eq!(event.len(), 4 + 128 + 64 + 64 + 2 + 2 + 16 + REPORT_DESCRIPTOR.len());
            assert!(event[4..].starts_with(b"Doppelkey"));
            assert_eq!(event[4 + 128 + 64 + 63], 0, "a text ends with a zero");
            assert!(event.ends_with(&REPORT_DESCRIPTOR));
        }
    }
}
