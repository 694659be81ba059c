//! Channels, transactions and what may interrupt them (§11.2.5, §11.2.9).

use core::ops::BitOr;
use core::time::Duration;

use crate::packet::{
    BROADCAST, CONTINUATION_PAYLOAD, ErrorCode, INITIAL_PAYLOAD, MESSAGE_MAX, Packet, Parsed, channel_of,
    command, continuation, initial, parse,
};

/// Time since power-up, monotonic.
pub(crate) type Time = Duration;

/// How long the rest of a message may take from one packet to the next, and a response to be fetched.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_millis(500);

/// From one keepalive to the next. The specification asks for one at least every 100 ms; timers are late, never
/// early.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(75);

/// What the device says in its CTAPHID_INIT response that it can do (§11.2.9.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// CTAPHID_CBOR, and no CTAPHID_MSG: the NMSG bit is set. Add [`MSG`](Self::MSG) for U2F.
    pub const CBOR: Self = Self(0x04);
    /// CTAPHID_WINK.
    pub const WINK: Self = Self(0x01);
    /// CTAPHID_MSG. On the wire this is the *absence* of the NMSG bit.
    pub const MSG: Self = Self(0x80);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn on_the_wire(self) -> u8 {
        const NMSG: u8 = 0x08;
        self.0 & 0x05 | if self.has(Self::MSG) { 0 } else { NMSG }
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One request and its response. A number never comes twice, so what is too late finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    number: u32,
    channel: u32,
}

impl Transaction {
    /// The channel that the request came by. None is given out twice between two power-ups.
    pub fn channel(self) -> u32 {
        self.channel
    }
}

/// What the caller is to do about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A CTAP2 command has arrived: take it with [`Ctaphid::request`], answer with [`Ctaphid::respond`].
    Cbor(Transaction),
    /// A U2F message has arrived.
    Msg(Transaction),
    /// The platform wants this CTAP2 command to end now; a response is still due (§11.2.9.1.5).
    Cancel(Transaction),
    /// The channel was resynchronised while this request was pending: nobody waits for a response any more.
    Abandoned(Transaction),
    /// Show the user which device this is.
    Wink,
}

/// The device's side of CTAPHID: packets and time in, packets and [`Event`]s out. Never panics, whatever comes.
///
/// Holds one message at a time, in a buffer of [`MESSAGE_MAX`] bytes for both directions.
///
/// * Give it every packet with [`receive`](Self::receive), while it is [`ready`](Self::ready).
/// * Take packets with [`next_packet`](Self::next_packet) whenever one can be sent.
/// * Call [`tick`](Self::tick) at [`due`](Self::due).
pub struct Ctaphid {
    capabilities: Capabilities,
    version: [u8; 3],
    /// The channel that was allocated last; 1 up to it exist.
    channels: u32,
    transactions: u32,
    lock: Option<Lock>,
    state: State,
    replies: Replies,
    message: [u8; MESSAGE_MAX],
}

impl Ctaphid {
    /// A device after power-up: no channels, nothing pending. `version` is the device's own, shown in INIT.
    pub const fn new(capabilities: Capabilities, version: [u8; 3]) -> Self {
        Ctaphid {
            capabilities,
            version,
            channels: 0,
            transactions: 0,
            lock: None,
            state: State::Idle,
            replies: Replies::new(),
            message: [0; MESSAGE_MAX],
        }
    }

    /// Forgets channels, lock and what is pending, as a power failure does. What is answered later finds nobody.
    pub fn power_cycle(&mut self) {
        self.channels = 0;
        self.lock = None;
        self.state = State::Idle;
        self.replies = Replies::new();
    }

    /// Changes what CTAPHID_INIT says the device can do.
    pub fn offer(&mut self, capabilities: Capabilities) {
        self.capabilities = capabilities;
    }

    /// Whether a packet can be received now. Else one must be sent first; the bus holds the platform back.
    pub fn ready(&self) -> bool {
        self.replies.room() >= REPLIES_OF_A_PACKET
    }

    /// Takes one packet. A packet given while not [`ready`](Self::ready) is lost.
    pub fn receive(&mut self, now: Time, packet: &Packet) -> Option<Event> {
        if !self.ready() {
            return None;
        }
        self.tick(now);
        let channel = channel_of(packet);
        match parse(packet) {
            Parsed::Initial { command: command::INIT, length, payload } => {
                self.initialize(channel, length, payload)
            }
            Parsed::Initial { command: command::CANCEL, .. } => self.cancel(channel),
            Parsed::Initial { command, length, payload } => {
                self.begin(now, channel, command, length, payload)
            }
            Parsed::Continuation { sequence, payload } => self.carry_on(now, channel, sequence, payload),
        }
    }

    /// The payload of this request; `None` once it is answered or abandoned.
    pub fn request(&self, transaction: Transaction) -> Option<&[u8]> {
        match &self.state {
            State::Processing(request) if request.transaction == transaction => {
                Some(&self.message[..request.length])
            }
            _ => None,
        }
    }

    /// Answers this request. `false` if nobody waits for the answer any more.
    ///
    /// A response above [`MESSAGE_MAX`] bytes goes out as [`ErrorCode::Other`].
    pub fn respond(&mut self, transaction: Transaction, response: &[u8]) -> bool {
        let State::Processing(request) = &self.state else { return false };
        if request.transaction != transaction {
            return false;
        }
        let (channel, command) = (request.channel, request.command);
        if response.len() > MESSAGE_MAX {
            self.state = State::Idle;
            self.fail(channel, ErrorCode::Other);
        } else {
            self.message[..response.len()].copy_from_slice(response);
            self.state = State::Sending(Response::new(channel, command, response.len()));
        }
        true
    }

    /// Ends this request with an error of the transport. `false` if nobody waits for it any more.
    pub fn refuse(&mut self, transaction: Transaction, error: ErrorCode) -> bool {
        let State::Processing(request) = &self.state else { return false };
        if request.transaction != transaction {
            return false;
        }
        let channel = request.channel;
        self.state = State::Idle;
        self.fail(channel, error);
        true
    }

    /// Tells whether this request is waiting for the user: from now on the keepalives say so (§11.2.9.1.7).
    ///
    /// The first one is due at once.
    pub fn wait_for_user(&mut self, now: Time, transaction: Transaction, waiting: bool) {
        if let State::Processing(request) = &mut self.state
            && request.transaction == transaction
            && request.waiting_for_user != waiting
        {
            request.waiting_for_user = waiting;
            request.keepalive_at = now;
        }
    }

    /// Ends the pending request of this channel without a response, as if the channel had been resynchronised:
    /// for a door that knows that the platform is gone.
    pub fn abandon(&mut self, channel: u32) -> Option<Event> {
        if self.lock.is_some_and(|lock| lock.channel == channel) {
            self.lock = None;
        }
        if self.state.channel() != Some(channel) {
            return None;
        }
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Processing(request) => Some(Event::Abandoned(request.transaction)),
            _ => None,
        }
    }

    /// When [`tick`](Self::tick) is due next; `None` while nothing is pending.
    pub fn due(&self) -> Option<Time> {
        match &self.state {
            State::Receiving(partial) => Some(partial.until),
            State::Processing(request) if !request.keepalive => Some(request.keepalive_at),
            State::Sending(response) => Some(response.until.unwrap_or(Duration::ZERO)),
            _ => None,
        }
    }

    /// Lets time act: a message that did not come in time ends, a keepalive is made.
    pub fn tick(&mut self, now: Time) {
        if self.lock.is_some_and(|lock| lock.until <= now) {
            self.lock = None;
        }
        match &mut self.state {
            // Wait for room, lest the error be lost.
            State::Receiving(partial) if partial.until <= now && self.replies.room() > 0 => {
                let channel = partial.channel;
                self.state = State::Idle;
                self.fail(channel, ErrorCode::MessageTimeout);
            }
            State::Processing(request) if request.keepalive_at <= now => {
                request.keepalive = true;
                request.keepalive_at = now + KEEPALIVE_INTERVAL;
            }
            State::Sending(response) if response.until.is_none() => {
                response.until = Some(now + TRANSACTION_TIMEOUT);
            }
            State::Sending(response) if response.until.is_some_and(|until| until <= now) => {
                // Nobody fetches it. It must not keep the device from everybody else.
                self.state = State::Idle;
            }
            _ => {}
        }
    }

    /// The channel of the response that [`next_packet`](Self::next_packet) is about to go on with; `None` if it has
    /// something else to send, or nothing.
    pub fn sending(&self) -> Option<u32> {
        match &self.state {
            State::Sending(response) if self.replies.count == 0 => Some(response.channel),
            _ => None,
        }
    }

    /// The next packet to send, if there is one.
    pub fn next_packet(&mut self) -> Option<Packet> {
        // Replies of one packet to other channels go between the packets of a response.
        if let Some(reply) = self.replies.pop() {
            return Some(reply);
        }
        match &mut self.state {
            State::Processing(request) if request.keepalive => {
                request.keepalive = false;
                let status = if request.waiting_for_user { UP_NEEDED } else { PROCESSING };
                Some(initial(request.channel, command::KEEPALIVE, &[status]))
            }
            State::Sending(response) => {
                let message = &self.message[..response.length];
                let packet = match response.sent {
                    None => initial(response.channel, response.command, message),
                    Some((sequence, offset)) => continuation(response.channel, sequence, &message[offset..]),
                };
                response.until = None;
                let (sequence, offset) = match response.sent {
                    None => (0, INITIAL_PAYLOAD),
                    Some((sequence, offset)) => (sequence + 1, offset + CONTINUATION_PAYLOAD),
                };
                if offset >= response.length {
                    self.state = State::Idle;
                } else {
                    response.sent = Some((sequence, offset));
                }
                Some(packet)
            }
            _ => None,
        }
    }

    /// CTAPHID_INIT (§11.2.9.1.3): served whatever else is going on, but for the lock of another channel
    /// (§11.2.9.2.2), which keeps out every message that is not to the broadcast channel.
    fn initialize(&mut self, channel: u32, length: usize, payload: &[u8]) -> Option<Event> {
        if channel != BROADCAST && !self.exists(channel) {
            return self.fail(channel, ErrorCode::InvalidChannel);
        }
        if length != NONCE {
            return self.fail(channel, ErrorCode::InvalidLength);
        }
        if channel != BROADCAST && self.lock.is_some_and(|lock| lock.channel != channel) {
            return self.fail(channel, ErrorCode::ChannelBusy);
        }
        let (allocated, event) = if channel == BROADCAST {
            // 0 and the broadcast channel are never given out; after 2^32 - 2 clients the first is long gone.
            self.channels = if self.channels >= BROADCAST - 1 { 1 } else { self.channels + 1 };
            (self.channels, None)
        } else {
            (channel, self.resynchronise(channel))
        };
        let mut response = [0; NONCE + 9];
        response[..NONCE].copy_from_slice(&payload[..NONCE]);
        response[NONCE..NONCE + 4].copy_from_slice(&allocated.to_be_bytes());
        response[NONCE + 4] = PROTOCOL_VERSION;
        response[NONCE + 5..NONCE + 8].copy_from_slice(&self.version);
        response[NONCE + 8] = self.capabilities.on_the_wire();
        self.replies.push(initial(channel, command::INIT, &response));
        event
    }

    /// INIT on a channel ends what that channel was doing, in whatever state (§11.2.5.3), but not its lock.
    fn resynchronise(&mut self, channel: u32) -> Option<Event> {
        self.replies.forget(channel);
        let lock = self.lock;
        let event = self.abandon(channel);
        self.lock = lock;
        event
    }

    /// CTAPHID_CANCEL (§11.2.9.1.5): only for a pending CTAPHID_CBOR of its own channel; never answered itself.
    fn cancel(&mut self, channel: u32) -> Option<Event> {
        match &self.state {
            State::Processing(request) if request.channel == channel && request.command == command::CBOR => {
                Some(Event::Cancel(request.transaction))
            }
            _ => None,
        }
    }

    /// The first packet of any other message.
    fn begin(
        &mut self,
        now: Time,
        channel: u32,
        command: u8,
        length: usize,
        payload: &[u8],
    ) -> Option<Event> {
        if !self.exists(channel) {
            return self.fail(channel, ErrorCode::InvalidChannel);
        }
        match &self.state {
            State::Idle => {}
            State::Receiving(partial) if partial.channel == channel => {
                self.state = State::Idle;
                return self.fail(channel, ErrorCode::InvalidSequence);
            }
            _ => return self.fail(channel, ErrorCode::ChannelBusy),
        }
        if self.lock.is_some_and(|lock| lock.channel != channel) {
            return self.fail(channel, ErrorCode::ChannelBusy);
        }
        if let Err(error) = self.check(command, length) {
            return self.fail(channel, error);
        }
        let received = length.min(payload.len());
        self.message[..received].copy_from_slice(&payload[..received]);
        let partial =
            Partial { channel, command, length, received, sequence: 0, until: now + TRANSACTION_TIMEOUT };
        self.advance(now, partial)
    }

    /// A further packet of a message. Those that belong to no message are ignored (§11.2.5.4).
    fn carry_on(&mut self, now: Time, channel: u32, sequence: u8, payload: &[u8]) -> Option<Event> {
        let State::Receiving(partial) = &self.state else { return None };
        if partial.channel != channel {
            return None;
        }
        let mut partial = *partial;
        if partial.sequence != sequence {
            self.state = State::Idle;
            return self.fail(channel, ErrorCode::InvalidSequence);
        }
        let piece = &payload[..payload.len().min(partial.length - partial.received)];
        self.message[partial.received..partial.received + piece.len()].copy_from_slice(piece);
        partial.received += piece.len();
        partial.sequence += 1;
        partial.until = now + TRANSACTION_TIMEOUT;
        self.advance(now, partial)
    }

    /// Waits for the rest of the message, or acts on the whole of it.
    fn advance(&mut self, now: Time, partial: Partial) -> Option<Event> {
        if partial.received < partial.length {
            self.state = State::Receiving(partial);
            return None;
        }
        let Partial { channel, command, length, .. } = partial;
        self.state = State::Idle;
        match command {
            command::PING => self.send(channel, command, length),
            command::WINK => {
                self.send(channel, command, 0);
                return Some(Event::Wink);
            }
            command::LOCK => self.set_lock(now, channel),
            _ => return Some(self.process(now, channel, command, length)),
        }
        None
    }

    /// Hands the message to whoever knows what it means.
    fn process(&mut self, now: Time, channel: u32, command: u8, length: usize) -> Event {
        self.transactions = self.transactions.wrapping_add(1);
        let transaction = Transaction { number: self.transactions, channel };
        self.state = State::Processing(Request {
            transaction,
            channel,
            command,
            length,
            waiting_for_user: false,
            keepalive: false,
            keepalive_at: now + KEEPALIVE_INTERVAL,
        });
        if command == command::CBOR { Event::Cbor(transaction) } else { Event::Msg(transaction) }
    }

    /// CTAPHID_LOCK (§11.2.9.2.2): seconds from 0 (release) to 10.
    fn set_lock(&mut self, now: Time, channel: u32) {
        let seconds = self.message[0];
        if seconds > LOCK_MAX_SECONDS {
            self.fail(channel, ErrorCode::InvalidParameter);
            return;
        }
        self.lock = (seconds > 0).then(|| Lock { channel, until: now + Duration::from_secs(seconds.into()) });
        self.send(channel, command::LOCK, 0);
    }

    /// Whether this is a command of this device, with a length that it can have.
    fn check(&self, command: u8, length: usize) -> Result<(), ErrorCode> {
        let lengths = match command {
            command::PING => 0..=MESSAGE_MAX,
            command::CBOR if self.capabilities.has(Capabilities::CBOR) => 1..=MESSAGE_MAX,
            command::MSG if self.capabilities.has(Capabilities::MSG) => 1..=MESSAGE_MAX,
            command::WINK if self.capabilities.has(Capabilities::WINK) => 0..=0,
            command::LOCK => 1..=1,
            _ => return Err(ErrorCode::InvalidCommand),
        };
        if lengths.contains(&length) { Ok(()) } else { Err(ErrorCode::InvalidLength) }
    }

    fn exists(&self, channel: u32) -> bool {
        (1..=self.channels).contains(&channel)
    }

    /// Starts sending what is in the buffer.
    fn send(&mut self, channel: u32, command: u8, length: usize) {
        self.state = State::Sending(Response::new(channel, command, length));
    }

    /// Answers with an error. There is room: [`receive`](Self::receive) and [`tick`](Self::tick) saw to it.
    fn fail(&mut self, channel: u32, error: ErrorCode) -> Option<Event> {
        self.replies.push(initial(channel, command::ERROR, &[error as u8]));
        None
    }
}

/// What the device is doing. One transaction at a time (§11.2.5.1).
enum State {
    Idle,
    Receiving(Partial),
    Processing(Request),
    Sending(Response),
}

impl State {
    fn channel(&self) -> Option<u32> {
        match self {
            State::Idle => None,
            State::Receiving(partial) => Some(partial.channel),
            State::Processing(request) => Some(request.channel),
            State::Sending(response) => Some(response.channel),
        }
    }
}

#[derive(Clone, Copy)]
struct Partial {
    channel: u32,
    command: u8,
    length: usize,
    received: usize,
    sequence: u8,
    until: Time,
}

struct Request {
    transaction: Transaction,
    channel: u32,
    command: u8,
    length: usize,
    waiting_for_user: bool,
    /// One is to be sent.
    keepalive: bool,
    keepalive_at: Time,
}

struct Response {
    channel: u32,
    command: u8,
    length: usize,
    /// The next continuation packet's sequence number and offset; `None` before the initialization packet.
    sent: Option<(u8, usize)>,
    /// When to give up; counted from the first tick after the last packet went.
    until: Option<Time>,
}

impl Response {
    const fn new(channel: u32, command: u8, length: usize) -> Self {
        Response { channel, command, length, sent: None, until: None }
    }
}

#[derive(Clone, Copy)]
struct Lock {
    channel: u32,
    until: Time,
}

/// Replies of one packet that wait to be sent, oldest first.
struct Replies {
    packets: [Packet; REPLIES],
    count: usize,
}

impl Replies {
    const fn new() -> Self {
        Replies { packets: [[0; 64]; REPLIES], count: 0 }
    }

    fn room(&self) -> usize {
        REPLIES - self.count
    }

    fn push(&mut self, packet: Packet) {
        if let Some(place) = self.packets.get_mut(self.count) {
            *place = packet;
            self.count += 1;
        }
    }

    fn pop(&mut self) -> Option<Packet> {
        let count = self.count.checked_sub(1)?;
        let first = self.packets[0];
        (1..REPLIES).for_each(|index| self.move_packet(index, index - 1));
        self.count = count;
        Some(first)
    }

    /// Moves a packet forwards. By halves that cannot overlap: what moves memory that may takes a microcontroller 1.5 kB,
    /// and nothing else needs it.
    fn move_packet(&mut self, from: usize, to: usize) {
        let (before, after) = self.packets.split_at_mut(from);
        if let (Some(place), Some(packet)) = (before.get_mut(to), after.first()) {
            place.copy_from_slice(packet);
        }
    }

    fn forget(&mut self, channel: u32) {
        let mut kept = 0;
        for index in 0..self.count {
            if channel_of(&self.packets[index]) != channel {
                self.move_packet(index, kept);
                kept += 1;
            }
        }
        self.count = kept;
    }
}

const REPLIES: usize = 4;
/// What receiving one packet can add: the end of a message that is too late, and an answer to the packet.
const REPLIES_OF_A_PACKET: usize = 2;
const NONCE: usize = 8;
const PROTOCOL_VERSION: u8 = 2;
const LOCK_MAX_SECONDS: u8 = 10;
const PROCESSING: u8 = 1;
const UP_NEEDED: u8 = 2;
