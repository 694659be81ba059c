//! `fido-authenticator` of crates.io, the firmware of Nitrokey 3 and Solo 2, in process on Trussed's own platform for
//! computers, with its file systems in memory. The service works where it is called, as it does on a key: Trussed's
//! runner for tests sleeps a millisecond a call, and would be measured instead.

use std::cell::RefCell;
use std::rc::Rc;

use comparison::{Peer, run};
use ctaphid_dispatch::app::{App, Command};
use fido_authenticator::{Authenticator, Config, Conforming};
use heapless_bytes::Bytes;
use littlefs2_core::path;
use rand_chacha::ChaCha8Rng;
use rand_core_06::SeedableRng as _;
use trussed::backend::BackendId;
use trussed::pipe::{ServiceEndpoint, TrussedChannel};
use trussed::service::Service;
use trussed::types::CoreContext;
use trussed::virt::{Store, StoreConfig, UserInterface};
use trussed::{ClientImplementation, platform};
use trussed_core::types::Location;
use trussed_core::types::consent::Level;
use trussed_staging::StagingContext;
use trussed_staging::virt::{BackendIds, Dispatcher};

fn main() {
    let mut stores = StoreConfig::ram();
    stores.with_store(|store| {
        let mut ui = UserInterface::new();
        ui.set_user_presence_level(Level::Strong);
        let platform = Platform { rng: ChaCha8Rng::from_entropy(), store, ui };
        let channel = TrussedChannel::new();
        let (requester, responder) = channel.split().expect("it is not split yet");
        let context = CoreContext::new(path!("fido").into());
        let endpoint = ServiceEndpoint::new(responder, context, BACKENDS);
        let service = Service::with_dispatch(platform, Dispatcher::default());
        let inline = Inline(Rc::new(RefCell::new((service, vec![endpoint]))));
        let client = ClientImplementation::<_, Dispatcher>::new(requester, inline, None);
        let mut config = Config::new(7609);
        config.large_blobs =
            Some(fido_authenticator::LargeBlobsConfig { location: Location::Internal, max_size: 4096 });
        run(Trussed(Authenticator::new(client, Conforming {}, config)));
    });
}

const BACKENDS: &[BackendId<BackendIds>] = &[BackendId::Custom(BackendIds::StagingBackend), BackendId::Core];

struct Trussed<A>(A);

impl<A: App<'static>> Trussed<A> {
    fn call(&mut self, command: Command, request: &[u8]) -> Vec<u8> {
        let mut response = Bytes::<7609>::new();
        match self.0.call(command, request, &mut response) {
            Ok(()) => response.to_vec(),
            Err(_) => vec![0x01],
        }
    }
}

impl<A: App<'static>> Peer for Trussed<A> {
    fn ctap2(&mut self, request: &[u8]) -> Vec<u8> {
        self.call(Command::Cbor, request)
    }

    fn u2f(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        Some(self.call(Command::Msg, apdu))
    }
}

type Served<'a> = (Service<Platform<'a>, Dispatcher>, Vec<ServiceEndpoint<'a, BackendIds, StagingContext>>);

/// A system call as a key has it: the service runs at once.
struct Inline<'a>(Rc<RefCell<Served<'a>>>);

impl platform::Syscall for Inline<'_> {
    fn syscall(&mut self) {
        let (service, endpoints) = &mut *self.0.borrow_mut();
        service.process(endpoints);
    }
}

struct Platform<'a> {
    rng: ChaCha8Rng,
    store: Store<'a>,
    ui: UserInterface,
}

impl<'a> platform::Platform for Platform<'a> {
    type R = ChaCha8Rng;
    type S = Store<'a>;
    type UI = UserInterface;

    fn user_interface(&mut self) -> &mut UserInterface {
        &mut self.ui
    }

    fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    fn store(&self) -> Store<'a> {
        self.store
    }
}
