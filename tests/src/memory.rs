//! The memory of a running program, looked through for what should be gone.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

/// Which of these are in the writable memory of a process; `None` if that may not be read.
pub fn scan(process: u32, secrets: &[(String, Vec<u8>)]) -> Option<Vec<String>> {
    let maps =
        std::fs::read_to_string(format!("/proc/{process}/maps")).ok().filter(|maps| !maps.is_empty())?;
    let mut memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|may| may.starts_with("rw"))) {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).unwrap_or_default());
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        // Some of the kernel's own cannot be read.
        if memory.seek(SeekFrom::Start(from)).is_err() || memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        for (what, secret) in secrets {
            if !found.contains(what) && bytes.windows(secret.len()).any(|window| window == secret) {
                found.push(what.clone());
            }
        }
    }
    Some(found)
}

/// As [`scan`], some seconds later at most: connections that are over take a moment to be put away.
pub fn scan_until_gone(process: u32, secrets: &[(String, Vec<u8>)]) -> Option<Vec<String>> {
    let mut found = scan(process, secrets)?;
    for _ in 0..30 {
        if found.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        found = scan(process, secrets)?;
    }
    Some(found)
}
