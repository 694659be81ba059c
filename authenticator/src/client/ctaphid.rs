//! The platform's side of CTAPHID (CTAP §11.2) over any [`Connection`].

use std::time::Duration;

use doppelkey_ctaphid::{BROADCAST, ErrorCode, MESSAGE_MAX, PACKET_SIZE, command};
use rand_core::CryptoRng;

use super::Error;
use super::channel::{ATTENTION, Limit};
use crate::device::{Clock, Connection, Packet};

/// How long to leave a busy device alone before the request is sent again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// A device that works answers INIT at once.
const INIT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a device may take to answer a CANCEL.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(500);

/// One logical channel to a device.
pub(super) struct CtapHid {
    connection: Box<dyn Connection>,
    clock: Clock,
    nonce: u64,
    id: u32,
    /// What has come of the message that is on its way: a slow line brings it over several looks at the limit.
    partial: Option<Partial>,
}

/// The beginning of a message.
struct Partial {
    kind: u8,
    length: usize,
    bytes: Vec<u8>,
    sequence: u8,
}

impl CtapHid {
    /// A channel of the device at the other end.
    pub(super) fn open(
        connection: Box<dyn Connection>,
        clock: Clock,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, Error> {
        let mut channel = CtapHid { connection, clock, nonce: rng.next_u64(), id: BROADCAST, partial: None };
        channel.allocate()?;
        Ok(channel)
    }

    /// Asks the device for a channel (CTAPHID_INIT with a nonce, §11.2.9.1.3).
    fn allocate(&mut self) -> Result<(), Error> {
        self.id = BROADCAST;
        self.partial = None;
        self.nonce = self.nonce.wrapping_add(1);
        let nonce = self.nonce.to_be_bytes();
        self.send_message(command::INIT, &nonce)?;
        let until = self.now() + INIT_TIMEOUT;
        loop {
            let (received, answer) = self.receive_message(until)?;
            // Another client's INIT may be answered on the broadcast channel too: the nonce says whose it is.
            if received == command::INIT && answer.len() >= 17 && answer[..8] == nonce {
                self.id = u32::from_be_bytes([answer[8], answer[9], answer[10], answer[11]]);
                return Ok(());
            }
        }
    }

    fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Sends a message of this kind and waits for its answer.
    ///
    /// At the limit the request is cancelled (CTAPHID_CANCEL), and the device is given a moment to say so.
    pub(super) fn transact(&mut self, kind: u8, request: &[u8], limit: &Limit) -> Result<Vec<u8>, Error> {
        loop {
            // What an earlier request left behind is not this one's answer.
            self.partial = None;
            self.send_message(kind, request)?;
            match self.await_answer(kind, limit)? {
                Answer::Message(answer) => return Ok(answer),
                // Another channel has the device: wait for what is on its way anyway, then ask again.
                Answer::Busy => {
                    let _ = self.connection.receive(Some(BUSY_PAUSE))?;
                    limit.check(self.now())?;
                }
                // Plugged in anew since: channels are forgotten.
                Answer::UnknownChannel => self.allocate()?,
            }
        }
    }

    fn await_answer(&mut self, kind: u8, limit: &Limit) -> Result<Answer, Error> {
        loop {
            if let Err(error) = limit.check(self.now()) {
                self.cancel(kind)?;
                return Err(error);
            }
            let attention = self.now() + ATTENTION;
            let (received, message) =
                match self.receive_message(limit.until.map_or(attention, |until| until.min(attention))) {
                    Err(Error::TimedOut) => continue,
                    other => other?,
                };
            match received {
                command::KEEPALIVE => {}
                command::ERROR => return error_answer(message.first().copied()),
                received if received == kind => return Ok(Answer::Message(message)),
                _ => {}
            }
        }
    }

    /// Tells the device that its answer is no longer wanted, and takes the answer off the wire (§11.2.9.1.5).
    fn cancel(&mut self, kind: u8) -> Result<(), Error> {
        self.send_message(command::CANCEL, &[])?;
        let until = self.now() + CANCEL_TIMEOUT;
        loop {
            match self.receive_message(until) {
                Ok((received, _)) if received == kind => return Ok(()),
                Ok(_) => {}
                Err(Error::TimedOut) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn send_message(&mut self, kind: u8, message: &[u8]) -> Result<(), Error> {
        for packet in packets(self.id, kind, message)? {
            self.connection.send(&packet)?;
        }
        Ok(())
    }

    /// The next whole message on this channel. What is for other channels, and what lost its beginning, is skipped.
    ///
    /// What has come of it by then is kept, and the next call goes on with it.
    fn receive_message(&mut self, until: Duration) -> Result<(u8, Vec<u8>), Error> {
        loop {
            if let Some(partial) = self.partial.take_if(|partial| partial.bytes.len() >= partial.length) {
                let Partial { kind, length, mut bytes, .. } = partial;
                bytes.truncate(length);
                return Ok((kind, bytes));
            }
            let packet = self.receive_packet(until)?;
            match &mut self.partial {
                Some(partial) if packet[4] == partial.sequence => {
                    partial.sequence += 1;
                    partial.bytes.extend_from_slice(&packet[5..]);
                }
                Some(_) => {
                    self.partial = None;
                    return Err(Error::BadAnswer("a packet of the answer is missing or out of order"));
                }
                None if packet[4] & 0x80 != 0 => {
                    let length = usize::from(u16::from_be_bytes([packet[5], packet[6]]));
                    if length > MESSAGE_MAX {
                        return Err(Error::BadAnswer("an answer of more than 7609 bytes"));
                    }
                    let (kind, bytes) = (packet[4] & 0x7f, packet[7..].to_vec());
                    self.partial = Some(Partial { kind, length, bytes, sequence: 0 });
                }
                None => {}
            }
        }
    }

    fn receive_packet(&mut self, until: Duration) -> Result<Packet, Error> {
        loop {
            let left = until.saturating_sub(self.now());
            match self.connection.receive(Some(left))? {
                Some(packet) if packet[..4] == self.id.to_be_bytes() => return Ok(packet),
                Some(_) => {}
                None => return Err(Error::TimedOut),
            }
        }
    }
}

enum Answer {
    Message(Vec<u8>),
    Busy,
    UnknownChannel,
}

fn error_answer(code: Option<u8>) -> Result<Answer, Error> {
    const BUSY: u8 = ErrorCode::ChannelBusy as u8;
    const UNKNOWN: u8 = ErrorCode::InvalidChannel as u8;
    const TIMEOUT: u8 = ErrorCode::MessageTimeout as u8;
    match code {
        Some(BUSY) => Ok(Answer::Busy),
        Some(UNKNOWN) => Ok(Answer::UnknownChannel),
        Some(TIMEOUT) => Err(Error::TimedOut),
        _ => Err(Error::BadAnswer("CTAPHID refused the message")),
    }
}

/// A message as packets (§11.2.4).
fn packets(channel: u32, kind: u8, message: &[u8]) -> Result<Vec<Packet>, Error> {
    if message.len() > MESSAGE_MAX {
        return Err(Error::Unsupported("a request of more than 7609 bytes"));
    }
    let (first, rest) = message.split_at(message.len().min(PACKET_SIZE - 7));
    let mut packets = vec![[0; PACKET_SIZE]];
    packets[0][4] = kind | 0x80;
    packets[0][5..7].copy_from_slice(&(message.len() as u16).to_be_bytes());
    packets[0][7..7 + first.len()].copy_from_slice(first);
    for (sequence, piece) in (0..).zip(rest.chunks(PACKET_SIZE - 5)) {
        let mut packet = [0; PACKET_SIZE];
        packet[4] = sequence;
        packet[5..5 + piece.len()].copy_from_slice(piece);
        packets.push(packet);
    }
    for packet in &mut packets {
        packet[..4].copy_from_slice(&channel.to_be_bytes());
    }
    Ok(packets)
}
