//! Debian's kernel judges: virtual USB host controller, socket pair and uhid, each with unmodified clients on hidraw.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use end_to_end::firmware::{PICO, ready};
use end_to_end::guest::{FileSystem, Kernel, boot};
use end_to_end::{doppelkey, has_program, root, skipped};

const CLIENTS: [&str; 5] = ["fido2-token", "fido2-cred", "fido2-assert", "ssh-keygen", "pamu2fcfg"];
const MODULES: [&str; 6] = ["virtio_pci", "virtio_net", "vhci-hcd", "usbhid", "hid-generic", "uhid"];

#[test]
fn the_kernel_takes_it_through_vhci_and_uhid_and_its_clients_use_it() {
    let Some(kernel) = kernel() else { return };
    let work = tempfile::tempdir().expect("a folder");
    let files = file_system(&kernel, work.path());
    let server = Server::start();
    let arguments = format!("doppelkey.SERVER=10.0.2.2:{}", server.port);
    let log = boot(&kernel, &files, work.path(), &arguments, Duration::from_secs(240)).expect("qemu runs");
    let steps = log.lines().filter(|line| line.starts_with("STEP ") && line.ends_with(": ok")).count();
    assert!(log.lines().any(|line| line == "RESULT 0"), "the guest said:\n{log}");
    assert!(steps >= 50, "{steps} steps:\n{log}");
}

/// The image that one flashes onto a Raspberry Pi Pico, in an emulator whose USB controller is bridged to USB/IP.
#[test]
fn the_kernel_and_its_clients_use_the_firmware_image() {
    let modules = std::env::var_os("DOPPELKEY_NODE_MODULES").map(PathBuf::from);
    if !modules.is_some_and(|modules| modules.join("rp2040js").is_dir()) {
        return skipped("rp2040js of tests/clients/package.json (set DOPPELKEY_NODE_MODULES)");
    }
    let (Some(kernel), Some(images)) = (kernel(), ready(&[PICO])) else { return };
    let work = tempfile::tempdir().expect("a folder");
    let files = file_system(&kernel, work.path());
    let chip = Server::emulated(&images.join("pico"), &work.path().join("flash"));
    let arguments = format!("doppelkey.FIRMWARE=10.0.2.2:{}", chip.port);
    let log = boot(&kernel, &files, work.path(), &arguments, Duration::from_secs(240)).expect("qemu runs");
    let steps = log.lines().filter(|line| line.starts_with("STEP ") && line.ends_with(": ok")).count();
    assert!(log.lines().any(|line| line == "RESULT 0"), "the guest said:\n{log}");
    assert_eq!(steps, 9, "{log}");
}

/// Debian's kernel, where everything that its guest needs is here; it was said otherwise.
fn kernel() -> Option<Kernel> {
    let missing = CLIENTS
        .iter()
        .chain(&["qemu-system-x86_64", "busybox", "ldd", "strip"])
        .find(|name| !has_program(name));
    if let Some(missing) = missing {
        skipped(&format!("{missing} (see .ci/debian-packages)"));
        return None;
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel");
    // One test at a time: they share the cache.
    static FETCHING: Mutex<()> = Mutex::new(());
    let _fetching = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let kernel = Kernel::fetch(&cache).expect("the cache can be written");
    if kernel.is_none() {
        skipped("Debian's kernel package (apt-get download linux-image-amd64)");
    }
    kernel
}

fn file_system(kernel: &Kernel, work: &Path) -> FileSystem {
    let mut files = FileSystem::default();
    let init = std::fs::read(root().join("tests/guest/init")).expect("it is in the repository");
    files.file("/init", init);
    files.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:alice:/tmp:/bin/sh\n");
    files.file("/etc/group", "root:x:0:\nalice:x:1000:\n");
    let find = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
        found.unwrap_or_else(|| name.into())
    };
    for name in CLIENTS {
        files.program(&find(name), &format!("/usr/bin/{name}")).expect("it can be read");
    }
    let helper = "/usr/lib/openssh/ssh-sk-helper";
    files.program(Path::new(helper), helper).expect("OpenSSH has its helper");
    files.program(&find("busybox"), "/bin/busybox").expect("it can be read");
    let stripped = work.join("doppelkey");
    let strip = Command::new("strip").arg("-o").args([&stripped, doppelkey()]).status();
    assert!(strip.expect("strip runs").success());
    files.program(&stripped, "/bin/doppelkey").expect("it can be read");
    files.modules(kernel, &MODULES).expect("the kernel's package has modules");
    files
}

/// A USB/IP server on this machine, until it is dropped.
struct Server {
    process: Child,
    port: u16,
    /// It ends when these do.
    held: Vec<TcpStream>,
}

impl Server {
    /// An emulated RP2040 with this image, whose button is pressed whenever that is asked for.
    fn emulated(image: &Path, flash: &Path) -> Self {
        // Where it would carry packets and be told of the button, were it not a USB/IP device.
        let unused = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let ports = unused.each_ref().map(|port| port.local_addr().expect("it is bound").port().to_string());
        let mut process = Command::new("node")
            .arg(root().join("tests/clients/rp2040.mjs"))
            .args([image, flash])
            .args(ports)
            .args(["touch=auto", "usbip"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        let connected = unused.map(|port| port.accept().expect("it connects").0);
        BufReader::new(output).read_line(&mut line).expect("it gets its address");
        Server { process, port: line.trim().parse().expect("a port"), held: connected.into() }
    }

    fn start() -> Self {
        let mut process = Command::new(doppelkey())
            .args([
                "run",
                "--ephemeral",
                "--user",
                "auto",
                "--usbip",
                "127.0.0.1:0",
                "--control",
                "off",
                "--json",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it gets ready");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        let address = ready["usbip"].as_str().expect("an address");
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Server { process, port, held: Vec::new() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.held.clear();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
