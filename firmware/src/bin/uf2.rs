//! Makes a file to drag and drop from a firmware image: `uf2 BOARD IMAGE OUT.uf2`.
//!
//! UF2: blocks of 512 bytes with 256 bytes of the image each, and where they belong.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [board, image, out] = &arguments[..] else {
        eprintln!("error: uf2 wants three arguments\nhint: uf2 BOARD IMAGE OUT.uf2, with one of {}", names());
        return ExitCode::from(2);
    };
    match make(board, image, out) {
        Ok(blocks) => {
            eprintln!("{out}: {blocks} blocks of 256 bytes for {board}");
            ExitCode::SUCCESS
        }
        Err((error, hint)) => {
            eprintln!("error: {error}\nhint: {hint}");
            ExitCode::FAILURE
        }
    }
}

fn make(board: &str, image: &str, out: &str) -> Result<usize, (String, String)> {
    let family = FAMILIES.iter().find(|(name, _)| *name == board);
    let (_, family) = family.ok_or((format!("no board {board}"), format!("there are {}", names())))?;
    let elf = std::fs::read(image).map_err(|error| (format!("{image}: {error}"), "build it first".into()))?;
    let segments =
        segments(&elf).ok_or((format!("{image}: no 32-bit ELF image"), "give what cargo built".into()))?;
    let pages = pages(&segments);
    std::fs::write(out, uf2(&pages, *family))
        .map_err(|error| (format!("{out}: {error}"), "name a file in a folder that can be written".into()))?;
    Ok(pages.len())
}

/// What the image puts into flash: addresses and bytes.
fn segments(elf: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    if elf.get(..6)? != b"\x7fELF\x01\x01" {
        return None;
    }
    let (table, size, count) = (word(28)? as usize, half(42)? as usize, half(44)? as usize);
    let mut segments = Vec::new();
    for number in 0..count {
        let header = table + number * size;
        let (kind, offset, address, length) =
            (word(header)?, word(header + 4)? as usize, word(header + 12)?, word(header + 16)? as usize);
        if kind == LOAD && length > 0 {
            segments.push((address, elf.get(offset..offset.checked_add(length)?)?));
        }
    }
    Some(segments)
}

/// Pages of 256 bytes that hold all of it; what is between two segments of a page is erased flash.
fn pages(segments: &[(u32, &[u8])]) -> Vec<(u32, [u8; 256])> {
    let mut pages = std::collections::BTreeMap::new();
    for (address, bytes) in segments {
        for (address, byte) in (*address..).zip(bytes.iter()) {
            pages.entry(address & !0xFF).or_insert([0xFF; 256])[(address & 0xFF) as usize] = *byte;
        }
    }
    pages.into_iter().collect()
}

fn uf2(pages: &[(u32, [u8; 256])], family: u32) -> Vec<u8> {
    let mut file = Vec::with_capacity(pages.len() * 512);
    for (number, (address, page)) in pages.iter().enumerate() {
        let start = file.len();
        let head = [MAGIC_1, MAGIC_2, HAS_FAMILY, *address, 256, number as u32, pages.len() as u32, family];
        head.iter().for_each(|word| file.extend_from_slice(&word.to_le_bytes()));
        file.extend_from_slice(page);
        file.resize(start + 508, 0);
        file.extend_from_slice(&MAGIC_3.to_le_bytes());
    }
    file
}

fn names() -> String {
    FAMILIES.map(|(name, _)| name).join(", ")
}

/// Boards whose boot loader takes UF2, by family id.
const FAMILIES: [(&str, u32); 3] =
    [("pico", 0xE48B_FF56), ("pico2", 0xE48B_FF59), ("nrf52840-dongle", 0xADA5_2840)];
const LOAD: u32 = 1;
const MAGIC_1: u32 = 0x0A32_4655;
const MAGIC_2: u32 = 0x9E5D_5157;
const MAGIC_3: u32 = 0x0AB1_6F30;
const HAS_FAMILY: u32 = 0x2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_filled_at_their_addresses() {
        let pages = pages(&[(0x1000_00FE, &[1, 2, 3]), (0x1000_0110, &[9])]);
        assert_eq!(pages.len(), 2);
        let (first, second) = (&pages[0], &pages[1]);
        assert_eq!((first.0, &first.1[0xFC..]), (0x1000_0000, &[0xFF, 0xFF, 1, 2][..]));
        assert_eq!((second.0, second.1[0], second.1[1], second.1[0x10]), (0x1000_0100, 3, 0xFF, 9));
    }

    #[test]
    fn a_block_is_512_bytes_with_its_magic_numbers() {
        let file = uf2(&[(0x1000_0000, [7; 256]), (0x1000_0100, [8; 256])], 0xE48B_FF56);
        assert_eq!(file.len(), 1024);
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
        assert_eq!([word(0), word(4), word(508)], [MAGIC_1, MAGIC_2, MAGIC_3]);
        assert_eq!([word(512 + 12), word(512 + 20), word(512 + 24)], [0x1000_0100, 1, 2]);
        assert_eq!(file[512 + 32..][..256], [8; 256]);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for bytes in [&b""[..], b"\x7fELF\x01\x01", &[0x7F; 100]] {
            assert_eq!(segments(bytes), None);
        }
    }
}
