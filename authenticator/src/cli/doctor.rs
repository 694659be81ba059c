//! `doppelkey doctor`: what works on this machine, and what to do about the rest.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

#[cfg(target_os = "linux")]
use super::attach::attach_command;
use super::{Failure, print};
#[cfg(target_os = "linux")]
use crate::uhid::UDEV_RULE;
use crate::usbip::client;
use crate::vault::{CustodyKind, Vault, VaultError, kernel_forgets, try_custodies};

/// Say what works on this machine, and what to do about the rest
///
/// Changes nothing. Exits with 0 whatever it finds.
#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let findings = examine();
        if self.json {
            // Plain data: nothing in it can fail.
            let json = serde_json::to_string_pretty(&findings).expect("plain data");
            print(&format!("{json}\n"));
        } else {
            print(&findings.iter().map(ToString::to_string).collect::<String>());
        }
        Ok(())
    }
}

/// One thing that works here, or does not.
#[derive(Debug, Serialize)]
struct Finding {
    /// What it is for.
    what: &'static str,
    works: bool,
    /// What was found.
    found: String,
    /// What to do where it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Finding {
    fn works(what: &'static str, found: impl Into<String>) -> Self {
        Finding { what, works: true, found: found.into(), hint: None }
    }

    fn fails(what: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding { what, works: false, found: found.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let works = if self.works { "works" } else { "no   " };
        writeln!(f, "{works}  {}: {}", self.what, self.found)?;
        match &self.hint {
            Some(hint) => writeln!(f, "       hint: {hint}"),
            None => Ok(()),
        }
    }
}

fn examine() -> Vec<Finding> {
    let mut findings = vec![surroundings(), usbip(USBIP)];
    #[cfg(target_os = "linux")]
    findings.extend([vhci(), uhid(), hidraw()]);
    findings.extend(try_custodies().into_iter().map(custody));
    findings.extend([vault(), browsers()]);
    findings
}

fn surroundings() -> Finding {
    let system = format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH);
    let version = std::fs::read_to_string("/proc/version").unwrap_or_default();
    let exists = |path| Path::new(path).exists();
    let place = if version.to_lowercase().contains("microsoft") {
        ", in WSL"
    } else if exists("/.dockerenv") || exists("/run/.containerenv") {
        ", in a container"
    } else {
        ""
    };
    Finding::works(
        "demo, bridge, packets, phone",
        format!("{system}{place}; these need nothing of the system"),
    )
}

fn usbip(address: SocketAddr) -> Finding {
    let unanswered = match client::devices(address) {
        Ok(devices) => {
            let busids: Vec<_> = devices.into_iter().map(|device| device.busid).collect();
            return Finding::works("USB/IP", format!("{address} offers {}", busids.join(", ")));
        }
        Err(error) => error,
    };
    match TcpListener::bind(address) {
        Ok(_) => Finding::works("USB/IP", format!("{address} is free for `doppelkey run`")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::fails(
            "USB/IP",
            format!("something else listens at {address}: {unanswered}"),
            "choose another port: `doppelkey run --usbip 127.0.0.1:0`",
        ),
        Err(error) => Finding::fails(
            "USB/IP",
            format!("{address}: {error}"),
            "choose another port: `doppelkey run --usbip 127.0.0.1:0`",
        ),
    }
}

#[cfg(target_os = "linux")]
fn vhci() -> Finding {
    use crate::usbip::vhci::{Vhci, VhciError};
    let what = "attach (vhci-hcd)";
    let attach = attach_command(USBIP);
    match Vhci::find().and_then(|vhci| vhci.used()) {
        Ok(used) if rustix::process::geteuid().is_root() => {
            Finding::works(what, format!("loaded, {} of its ports in use", used.len()))
        }
        Ok(_) => Finding::works(what, format!("loaded; plugging in needs root: `sudo {attach}`")),
        Err(VhciError::NotLoaded) => Finding::works(what, format!("there; `sudo {attach}` loads it")),
        Err(error) => Finding::fails(what, error.to_string(), error.hint(&attach)),
    }
}

#[cfg(target_os = "linux")]
fn uhid() -> Finding {
    let what = "run --uhid";
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/uhid") {
        Ok(_) => Finding::works(what, "/dev/uhid can be written to"),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::fails(
            what,
            "/dev/uhid is there, but not for this user",
            format!("run as root, or put into /etc/udev/rules.d/60-doppelkey.rules: {UDEV_RULE}"),
        ),
        Err(error) => Finding::fails(
            what,
            format!("/dev/uhid: {error}"),
            "run `sudo modprobe uhid`; a kernel or container without it has no such door",
        ),
    }
}

/// What clients of a plugged-in device open.
#[cfg(target_os = "linux")]
fn hidraw() -> Finding {
    let what = "security keys for programs (hidraw)";
    let names = std::fs::read_dir("/sys/class/hidraw").map(|folder| folder.flatten().count());
    match names {
        Ok(count) => Finding::works(what, format!("the kernel has it, with {count} devices now")),
        Err(_) => Finding::fails(
            what,
            "this kernel has no hidraw",
            "programs here can use a security key over `--packets` only; browsers through `doppelkey bridge`",
        ),
    }
}

fn custody((kind, tried): (CustodyKind, Result<(), VaultError>)) -> Finding {
    let what = match kind {
        CustodyKind::Keyutils => "vault key in the kernel",
        _ => "vault key in the keyring",
    };
    match tried {
        Ok(()) if kind == CustodyKind::Keyutils => {
            Finding::works(what, format!("it keeps what it is given, and forgets it {}", kernel_forgets()))
        }
        Ok(()) => Finding::works(what, "it keeps what it is given"),
        Err(error) => Finding::fails(what, error.to_string(), error.hint()),
    }
}

fn vault() -> Finding {
    match Vault::default_path() {
        Ok(path) if path.exists() => Finding::works("vault", format!("{} is there", path.display())),
        Ok(path) => Finding::works("vault", format!("{} will be made by `doppelkey run`", path.display())),
        Err(error) => Finding::fails("vault", error.to_string(), error.hint()),
    }
}

fn browsers() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &&str| -> Option<PathBuf> {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    let found: Vec<_> = BROWSERS.iter().filter_map(find).map(|path| path.display().to_string()).collect();
    if found.is_empty() {
        let hint = "install one, or use Doppelkey without: `doppelkey demo`";
        return Finding::fails("browsers", "none of those known is on the PATH", hint);
    }
    Finding::works("browsers", format!("{}; `doppelkey bridge` serves them", found.join(", ")))
}

/// Where `doppelkey run` offers its devices.
const USBIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3240);

const BROWSERS: [&str; 7] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "microsoft-edge",
    "brave-browser",
    "firefox",
    "firefox-esr",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_listener_on_the_usbip_port_is_told_and_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let found = usbip(address);
        assert!(!found.works);
        assert!(found.found.contains("something else listens"), "{found}");
        assert!(found.found.contains("does not answer"), "{found}");
    }
}
