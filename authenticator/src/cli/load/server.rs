//! What a load costs the other side: the processor time of the process that listens on a port of this machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The process behind a port.
pub(super) struct Server {
    process: String,
}

impl Server {
    /// The process that listens on a TCP port, if this system tells, and tells us.
    pub(super) fn listening_on(port: u16) -> Option<Self> {
        let socket = format!("socket:[{}]", inode_of_listener(port)?);
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut numbers = processes.filter_map(|entry| entry.file_name().into_string().ok());
        let process = numbers.find(|name| {
            name.bytes().all(|byte| byte.is_ascii_digit()) && holds(&format!("/proc/{name}/fd"), &socket)
        })?;
        Some(Server { process })
    }

    /// The processor time that its threads have used so far.
    pub(super) fn processor_time(&self) -> Option<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process)).ok()?.flatten();
        Some(threads.filter_map(|thread| on_processor(&thread.path().join("schedstat"))).sum())
    }
}

/// The processor time that this thread has used so far.
pub(super) fn own_processor_time() -> Option<Duration> {
    on_processor("/proc/thread-self/schedstat".as_ref())
}

/// The first field is the time on a processor, in nanoseconds.
fn on_processor(schedstat: &Path) -> Option<Duration> {
    let text = fs::read_to_string(schedstat).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The inode of the socket that listens: fields 1, 3 and 9 of the kernel's table are address, state and inode.
fn inode_of_listener(port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_it = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTEN;
            is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
        })
    })
}

fn holds(descriptors: &str, socket: &str) -> bool {
    let entries = fs::read_dir(descriptors).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter_map(|path| fs::read_link(path).ok())
        .any(|link| link == Path::new(socket))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_behind_a_port_is_found_with_its_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::listening_on(listener.local_addr().unwrap().port()).expect("this process");
        assert_eq!(server.process, std::process::id().to_string());
        assert!(server.processor_time().unwrap() > Duration::ZERO);
        assert!(Server::listening_on(0).is_none());
    }
}
