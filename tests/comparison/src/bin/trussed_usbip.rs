//! `fido-authenticator` on `trussed-usbip` of crates.io: a USB security key over USB/IP, in memory, on 127.0.0.1:3240,
//! which is the only address it knows.

use ctaphid_dispatch::app::App;
use fido_authenticator::{Authenticator, Config, Conforming};
use littlefs2::const_ram_storage;
use littlefs2::fs::{Allocation, Filesystem};
use littlefs2_core::{DynFilesystem, path};
use trussed::backend::BackendId;
use trussed::pipe::{ServiceEndpoint, TrussedChannel};
use trussed::service::Service;
use trussed::types::CoreContext;
use trussed_staging::StagingContext;
use trussed_staging::virt::{BackendIds, Dispatcher};
use trussed_usbip::{Builder, Client, Platform, Store, Syscall, usb};

fn main() {
    let store = Store { ifs: memory(), efs: memory(), vfs: memory() };
    let options = usb::Options {
        manufacturer: Some("Trussed"),
        product: Some("fido-authenticator"),
        serial_number: None,
        vid: 0x20a0,
        pid: 0x42b2,
    };
    println!("ready");
    Builder::with_default_usb_classes(options)
        .dispatch(Dispatcher::default())
        .build::<Key>()
        .exec(Platform::new(store), ());
}

const_ram_storage!(Memory, 512 * 128);

fn memory() -> &'static dyn DynFilesystem {
    let storage = Box::leak(Box::new(Memory::new()));
    Filesystem::format(storage).expect("memory can be formatted");
    let allocation = Box::leak(Box::new(Allocation::new()));
    Box::leak(Box::new(Filesystem::mount(allocation, storage).expect("it was just formatted")))
}

struct Key(Authenticator<Conforming, Client<Dispatcher>>);

impl trussed_usbip::Apps<'static, Dispatcher> for Key {
    type Data = ();

    fn new(
        _: &mut Service<Platform, Dispatcher>,
        endpoints: &mut Vec<ServiceEndpoint<'static, BackendIds, StagingContext>>,
        syscall: Syscall,
        (): (),
    ) -> Self {
        static CHANNEL: TrussedChannel = TrussedChannel::new();
        const BACKENDS: &[BackendId<BackendIds>] =
            &[BackendId::Custom(BackendIds::StagingBackend), BackendId::Core];
        let (requester, responder) = CHANNEL.split().expect("it is split once");
        endpoints.push(ServiceEndpoint::new(responder, CoreContext::new(path!("fido").into()), BACKENDS));
        Key(Authenticator::new(Client::new(requester, syscall, None), Conforming {}, Config::new(7609)))
    }

    fn with_ctaphid_apps<T>(&mut self, work: impl FnOnce(&mut [&mut dyn App<'static>]) -> T) -> T {
        work(&mut [&mut self.0])
    }
}
