//! A NOR flash that can lose power in the middle of anything.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

/// What a write or an erase that lost power has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tear {
    /// Nothing that can be seen.
    Nothing,
    /// The first half of it.
    Prefix,
    /// Some of its bits, anywhere.
    Bits,
    /// All of it; only the answer was lost.
    All,
}

pub(crate) const TEARS: [Tear; 4] = [Tear::Nothing, Tear::Prefix, Tear::Bits, Tear::All];

/// The flash. A cell is programmed once between two erases: more is a panic.
#[derive(Clone)]
pub(crate) struct Nor {
    pub(crate) cells: Vec<u8>,
    /// Writes and erases so far.
    pub(crate) steps: usize,
    /// Erases of each sector so far.
    pub(crate) erases: Vec<u32>,
    /// Power is lost in the step with this number, in this way.
    pub(crate) cut: Option<(usize, Tear)>,
    random: u64,
}

pub(crate) const SECTOR: usize = 4096;

impl Nor {
    pub(crate) fn new(sectors: usize) -> Self {
        Nor { cells: vec![0xFF; sectors * SECTOR], steps: 0, erases: vec![0; sectors], cut: None, random: 1 }
    }

    /// The same cells under power again.
    pub(crate) fn powered(&self) -> Self {
        Nor { cut: None, steps: 0, ..self.clone() }
    }

    /// The same cells, with power to be lost in this step from now.
    pub(crate) fn cut_at(&self, step: usize, tear: Tear) -> Self {
        Nor { cut: Some((step, tear)), random: step as u64 * 7919 + 1, ..self.powered() }
    }

    /// Whether this step is the one that loses power; fails from then on.
    fn step(&mut self) -> Result<Option<Tear>, PowerLost> {
        let step = self.steps;
        self.steps += 1;
        match self.cut {
            Some((cut, _)) if step > cut => Err(PowerLost),
            Some((cut, tear)) if step == cut => Ok(Some(tear)),
            _ => Ok(None),
        }
    }

    fn random(&mut self) -> u8 {
        // xorshift64: repeatable, and good enough to tear bits.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u8
    }
}

#[derive(Debug)]
pub(crate) struct PowerLost;

impl NorFlashError for PowerLost {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for Nor {
    type Error = PowerLost;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PowerLost> {
        let offset = offset as usize;
        bytes.copy_from_slice(&self.cells[offset..offset + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.cells.len()
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = SECTOR;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerLost> {
        let torn = self.step()?;
        let offset = offset as usize;
        assert!(offset.is_multiple_of(8) && bytes.len().is_multiple_of(8), "a write that is not aligned");
        for (position, byte) in bytes.iter().enumerate() {
            assert_eq!(self.cells[offset + position], 0xFF, "cell {} is programmed twice", offset + position);
            let random = self.random();
            self.cells[offset + position] = match torn {
                None | Some(Tear::All) => *byte,
                Some(Tear::Prefix) if position < bytes.len() / 2 => *byte,
                Some(Tear::Bits) => *byte | random,
                _ => 0xFF,
            };
        }
        torn.map_or(Ok(()), |_| Err(PowerLost))
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), PowerLost> {
        let torn = self.step()?;
        let (from, to) = (from as usize, to as usize);
        assert!(from.is_multiple_of(SECTOR) && to.is_multiple_of(SECTOR), "an erase that is not aligned");
        for sector in from / SECTOR..to / SECTOR {
            self.erases[sector] += 1;
        }
        for position in from..to {
            let random = self.random();
            match torn {
                None | Some(Tear::All) => self.cells[position] = 0xFF,
                Some(Tear::Prefix) if position < (from + to) / 2 => self.cells[position] = 0xFF,
                // A sector is programmed to zeros before it is erased: bits may go both ways.
                Some(Tear::Bits) => self.cells[position] = random,
                _ => {}
            }
        }
        torn.map_or(Ok(()), |_| Err(PowerLost))
    }
}
