//! Many virtual devices in one process, attached and detached again and again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use doppelkey::client::{Client, ephemeral_device, system_clock, without_sensor};
use doppelkey::usbip::Server;
use doppelkey::usbip::client::UsbIpConnection;
use doppelkey::user_interface::Auto;
use doppelkey_core::testing::SeededRng;

use super::Trace;

/// Attaches and detaches each of so many devices so many times: a USB/IP import, the enumeration that Linux does, a
/// CTAPHID channel, an echo, and away.
///
/// # Panics
/// If an attachment fails.
pub fn plugs(devices: u8, cycles: u64) -> Trace {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let clock = system_clock();
    for _ in 0..devices {
        let device = ephemeral_device(without_sensor(), Box::new(Auto), clock.clone());
        server.plug(device).expect("a place is free");
    }
    let (busids, address) = (server.busids(), server.address());
    let mut trace = Trace::new(format!("{devices} devices, each attached and detached {cycles} times"));
    let done = AtomicU64::new(0);
    let total = u64::from(devices) * cycles;
    std::thread::scope(|scope| {
        let mut hosts = Vec::new();
        for part in busids.chunks(busids.len().div_ceil(HOSTS)) {
            let (done, clock) = (&done, &clock);
            hosts.push(scope.spawn(move || {
                for cycle in 0..cycles {
                    for busid in part {
                        let device = UsbIpConnection::attach(address, busid).expect("it is free");
                        let rng = SeededRng::new(cycle);
                        let mut client = Client::new(device, clock.clone(), rng).expect("it answers");
                        client.ping(b"are you there?").expect("it echoes");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        let mut next = 0;
        while next < total {
            // A host that has panicked leaves the rest undone. Whether all have ended is asked first: what they did counts.
            let have_ended = hosts.iter().all(|host| host.is_finished());
            if done.load(Ordering::Relaxed) >= next {
                trace.sample(next);
                next += total.div_ceil(SAMPLES);
            } else if have_ended {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    trace
}

/// How many hosts attach at the same time.
const HOSTS: usize = 4;
const SAMPLES: u64 = 100;
