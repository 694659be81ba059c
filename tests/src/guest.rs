//! A Linux of our own: Debian's kernel under qemu, with an initial file system made of this machine's programs.
//!
//! No image, no root, no installation of the kernel: the kernel's Debian package is downloaded once and unpacked in
//! the target folder; programs and their libraries are this machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::has_program;

/// Debian's kernel, unpacked.
pub struct Kernel {
    image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// Downloads and unpacks it, unless that was done before. `None` where that is not to be had: no Debian, no
    /// network.
    pub fn fetch(cache: &Path) -> io::Result<Option<Self>> {
        let root = cache.join("root");
        if !root.join("complete").exists() {
            fs::create_dir_all(&root)?;
            let Some(package) = newest_package()? else { return Ok(None) };
            // A mirror has bad moments.
            let is_downloaded = (0..3).any(|_| {
                let mut download = Command::new("apt-get");
                let done = download.args(["download", &package]).current_dir(cache).output();
                done.is_ok_and(|done| done.status.success())
            });
            let found = fs::read_dir(cache)?
                .flatten()
                .map(|entry| entry.path())
                .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
            let (true, Some(archive)) = (is_downloaded, found) else { return Ok(None) };
            let unpacked = Command::new("dpkg-deb").arg("-x").args([&archive, &root]).status()?;
            if !unpacked.success() {
                return Ok(None);
            }
            fs::remove_file(archive)?;
            fs::write(root.join("complete"), "")?;
        }
        let first = |folder: &str, start: &str| -> io::Result<PathBuf> {
            let starts = |path: &PathBuf| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start))
            };
            let found = fs::read_dir(root.join(folder))?.flatten().map(|entry| entry.path()).find(starts);
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let image = unpacked_image(&first("boot", "vmlinuz-")?, &cache.join("vmlinux"))?;
        Ok(Some(Kernel { image, modules: first("lib/modules", "")? }))
    }
}

/// The package that `linux-image-amd64` stands for today.
fn newest_package() -> io::Result<Option<String>> {
    if !has_program("apt-get") || !has_program("dpkg-deb") {
        return Ok(None);
    }
    let shown = Command::new("apt-cache").args(["depends", "linux-image-amd64"]).output()?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    Ok(text.lines().find_map(|line| line.trim().strip_prefix("Depends: ").map(str::to_owned)))
}

/// The kernel as an ELF file, which boots without unpacking itself first: that takes an emulated processor long.
/// The compressed image if it cannot be unpacked here.
fn unpacked_image(compressed: &Path, unpacked: &Path) -> io::Result<PathBuf> {
    const XZ: &[u8] = b"\xfd7zXZ\0";
    if unpacked.exists() {
        return Ok(unpacked.to_owned());
    }
    let bytes = fs::read(compressed)?;
    let Some(start) = bytes.windows(XZ.len()).position(|window| window == XZ).filter(|_| has_program("xz"))
    else {
        return Ok(compressed.to_owned());
    };
    let payload = unpacked.with_extension("xz");
    fs::write(&payload, &bytes[start..])?;
    // What follows the payload in the image is no error, but xz says it is one.
    let output =
        Command::new("xz").args(["--decompress", "--stdout", "--single-stream"]).arg(&payload).output()?;
    fs::remove_file(&payload)?;
    if !output.stdout.starts_with(b"\x7fELF") {
        return Ok(compressed.to_owned());
    }
    fs::write(unpacked, output.stdout)?;
    Ok(unpacked.to_owned())
}

/// What a guest starts with: a tree of files in memory.
#[derive(Default)]
pub struct FileSystem {
    /// By path without the leading slash: mode with its kind, and content (a link's is its target).
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

impl FileSystem {
    /// Adds a folder, and those it is in.
    pub fn folder(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            self.entries.entry(path[..end].to_owned()).or_insert((FOLDER | 0o755, Vec::new()));
        }
    }

    /// Adds a file that can be run.
    pub fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entries.insert(path.trim_start_matches('/').to_owned(), (FILE | 0o755, content.into()));
    }

    /// Adds a program of this machine at a path, and every library that it needs where it looks for it.
    pub fn program(&mut self, from: &Path, to: &str) -> io::Result<()> {
        self.file(to, fs::read(from)?);
        let listed = Command::new("ldd").arg(from).output()?;
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            // `name => /path (address)` or `/path (address)`.
            let path =
                line.split("=>").last().unwrap_or_default().split_whitespace().next().unwrap_or_default();
            if path.starts_with('/') && !self.entries.contains_key(path.trim_start_matches('/')) {
                self.file(path, fs::read(path)?);
            }
        }
        Ok(())
    }

    /// Adds kernel modules and what they need, and `/modules/order`, a list to load them by.
    pub fn modules(&mut self, kernel: &Kernel, wanted: &[&str]) -> io::Result<()> {
        let mut files = BTreeMap::new();
        collect_modules(&kernel.modules.join("kernel"), &mut files)?;
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            place_module(&normal(name), &files, &mut seen, &mut order)?;
        }
        for name in &order {
            self.file(&format!("/modules/{name}.ko"), fs::read(&files[name])?);
        }
        self.file("/modules/order", order.join("\n") + "\n");
        Ok(())
    }

    /// The archive that Linux unpacks ("newc" of cpio).
    fn archive(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        let end = [(&"TRAILER!!!".to_owned(), &(0, Vec::new()))];
        for (number, (path, (mode, content))) in self.entries.iter().chain(end).enumerate() {
            let fields = [
                number as u32,
                *mode,
                0,
                0,
                1,
                0,
                content.len() as u32,
                0,
                0,
                0,
                0,
                path.len() as u32 + 1,
                0,
            ];
            archive.extend(b"070701");
            archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
            archive.extend(path.bytes().chain([0]));
            archive.resize(archive.len().next_multiple_of(4), 0);
            archive.extend(content);
            archive.resize(archive.len().next_multiple_of(4), 0);
        }
        archive
    }
}

/// A module's name as other modules call it.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn collect_modules(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_modules(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            files.insert(normal(name), path);
        }
    }
    Ok(())
}

/// Puts a module into the order after those it depends on. One that is no file is part of the kernel.
fn place_module(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<String>,
) -> io::Result<()> {
    let Some(path) = files.get(name).filter(|_| seen.insert(name.to_owned())) else { return Ok(()) };
    let bytes = fs::read(path)?;
    const DEPENDS: &[u8] = b"\0depends=";
    if let Some(start) = bytes.windows(DEPENDS.len()).position(|window| window == DEPENDS) {
        let list = bytes[start + DEPENDS.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
        for needed in String::from_utf8_lossy(list).split(',').filter(|needed| !needed.is_empty()) {
            place_module(&normal(needed), files, seen, order)?;
        }
    }
    order.push(name.to_owned());
    Ok(())
}

/// Boots a guest and returns what it wrote to its serial console until it powered off, or until time was over.
///
/// The guest has a network in which this machine's 127.0.0.1 is 10.0.2.2. `work` is a folder for the archive.
pub fn boot(
    kernel: &Kernel,
    files: &FileSystem,
    work: &Path,
    arguments: &str,
    limit: Duration,
) -> io::Result<String> {
    let archive = work.join("initramfs");
    fs::write(&archive, files.archive())?;
    let mut guest = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-smp", "1", "-m", "512"])
        // Emulated everywhere, also where there is hardware for it: what is nested in which machine matters no more.
        .args(["-accel", "tcg", "-cpu", "max"])
        .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&archive)
        .args(["-append", &format!("console=ttyS0 panic=-1 quiet {arguments}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let console = guest.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let mut log = String::new();
    // Each wait is short against the limit; a guest that says nothing for so long is stuck.
    while let Ok(line) = lines.recv_timeout(limit) {
        log += &line;
        log.push('\n');
    }
    // It has ended, or it will never.
    let _ = guest.kill();
    guest.wait()?;
    drop(lines);
    let _ = reader.join();
    Ok(log)
}

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
