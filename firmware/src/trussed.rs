//! The core as an app of `ctaphid-dispatch`, for firmware that has other apps beside it: runners of Nitrokey's and SoloKeys'
//! kind, whose USB side is `usbd-ctaphid`.
//!
//! The runner gives a [`Runner`] and calls `Dispatch::poll` with the app; [`class`] is the USB class that fits.
//!
//! What is absent:
//! * Trussed's own key store. The keys are in the [`CredentialStore`] that the runner brings.
//! * The channel of a request: `ctaphid-dispatch` tells it to no app, and `usbd-ctaphid` to nobody. So the next assertion, and
//!   the rest of an enumeration that another program had the PIN for, go to whoever asks next, for thirty seconds and until
//!   any other command. A runner whose USB side knows better says so by [`Runner::is_another_channel`].

use ctaphid_dispatch::Requester;
use ctaphid_dispatch::app::{App, Command, Error};
use doppelkey_core::{Answer, Authenticator, CredentialStore, Input, Message, Output, Time};
use heapless_bytes::BytesView;
use rand_core::CryptoRng;
use ref_swap::OptionRefSwap;
use trussed_core::InterruptFlag;
use usb_device::bus::{UsbBus, UsbBusAllocator};
use usbd_ctaphid::CtapHid;

use crate::worker::{Touch, held_for};

/// What the app asks of the firmware around it.
pub trait Runner {
    /// The time since power-up.
    fn now(&mut self) -> Time;

    /// Whether the button is down.
    fn is_pressed(&mut self) -> bool;

    /// Told when a request begins to wait for the user, and when that ends: for the LED and for keepalives.
    fn waits_for_user(&mut self, waits: bool);

    /// Waits for some milliseconds, in which interrupts carry packets.
    fn wait(&mut self);

    /// The platform means this one.
    fn wink(&mut self);

    /// Whether the request that the app was given now came by another channel than the one before it. Then what that one
    /// began ends: assertions that are left, and enumerations. Asked once for every command, also a wink; `false` if it is not
    /// known.
    fn is_another_channel(&mut self) -> bool {
        false
    }
}

/// The app. Holds a message of 7,609 bytes: put it into static memory.
pub struct FidoApp<'i, S, R, U> {
    authenticator: Authenticator<S, R>,
    runner: U,
    interrupt: &'i InterruptFlag,
    response: Message,
}

impl<'i, S: CredentialStore, R: CryptoRng, U: Runner> FidoApp<'i, S, R, U> {
    /// An app at power-up. The flag is how CTAPHID_CANCEL gets here.
    pub fn new(authenticator: Authenticator<S, R>, runner: U, interrupt: &'i InterruptFlag) -> Self {
        FidoApp { authenticator, runner, interrupt, response: Message::new() }
    }

    /// Works on a request until it is answered, waiting for the user where that is asked for.
    fn work(&mut self, input: Input<'_>) {
        let now = self.runner.now();
        let mut output = self.authenticator.handle(now, input, &mut self.response);
        while let Output::AskUser { until } = output {
            self.runner.waits_for_user(true);
            let input = self.user_input(until);
            self.runner.waits_for_user(false);
            let now = self.runner.now();
            output = self.authenticator.handle(now, input, &mut self.response);
        }
    }

    fn user_input(&mut self, until: Time) -> Input<'static> {
        let mut touch = Touch::default();
        let held_for = held_for(&self.authenticator);
        loop {
            let now = self.runner.now();
            if self.interrupt.is_interrupted() {
                return Input::Cancel;
            }
            if touch.take(now, self.runner.is_pressed(), held_for) {
                return Input::Answer(Answer::Approve { verified: false, account: None });
            }
            if now >= until {
                return Input::Tick;
            }
            self.runner.wait();
        }
    }
}

impl<'i, S: CredentialStore, R: CryptoRng, U: Runner> App<'i> for FidoApp<'i, S, R, U> {
    fn interrupt(&self) -> Option<&'i InterruptFlag> {
        Some(self.interrupt)
    }

    fn commands(&self) -> &'static [Command] {
        if cfg!(feature = "u2f") {
            &[Command::Cbor, Command::Msg, Command::Wink]
        } else {
            &[Command::Cbor, Command::Wink]
        }
    }

    fn call(&mut self, command: Command, request: &[u8], response: &mut BytesView) -> Result<(), Error> {
        // Of every command, a wink too: the channel of the next is compared with this one's.
        if self.runner.is_another_channel() {
            self.authenticator.end_stateful_commands();
        }
        match command {
            Command::Cbor => self.work(Input::Cbor(request)),
            Command::Msg => self.work(Input::Msg(request)),
            Command::Wink => {
                self.runner.wink();
                return Ok(());
            }
            _ => return Err(Error::InvalidCommand),
        }
        response.extend_from_slice(&self.response).map_err(|_| Error::InvalidLength)
    }
}

/// The USB class for a runner with this app: what it can do is said in CTAPHID_INIT.
pub fn class<'alloc, 'pipe, 'i, B: UsbBus, const N: usize>(
    bus: &'alloc UsbBusAllocator<B>,
    requester: Requester<'pipe, N>,
    interrupt: &'i OptionRefSwap<'i, InterruptFlag>,
    now_ms: u32,
) -> CtapHid<'alloc, 'pipe, 'i, B, N> {
    let class =
        CtapHid::with_interrupt(bus, requester, Some(interrupt), now_ms).implements_ctap2().implements_wink();
    if cfg!(feature = "u2f") { class.implements_ctap1() } else { class }
}
