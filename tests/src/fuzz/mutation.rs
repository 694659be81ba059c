//! Mutants of stories, from a seed.

/// Makes one story of others, a little different each time, the same for the same seed.
pub struct Mutator(u64);

impl Mutator {
    /// The mutator of this seed.
    pub fn new(seed: u64) -> Self {
        Mutator(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A mutant of one of these stories; between 1 and 8 changes.
    ///
    /// # Panics
    /// If there are no stories.
    pub fn mutant(&mut self, stories: &[Vec<u8>]) -> Vec<u8> {
        let mut story = stories[self.below(stories.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut story, stories);
        }
        story
    }

    fn change(&mut self, story: &mut Vec<u8>, stories: &[Vec<u8>]) {
        if story.is_empty() {
            return story.push(self.next() as u8);
        }
        let at = self.below(story.len());
        let end = at + 1 + self.below((story.len() - at).min(64));
        match self.below(9) {
            0 => story[at] ^= 1 << self.below(8),
            1 => story[at] = self.next() as u8,
            2 => story[at] = INTERESTING[self.below(INTERESTING.len())],
            3 => story[at] = story[at].wrapping_add(1 + 254 * self.below(2) as u8),
            4 => story.insert(at, INTERESTING[self.below(INTERESTING.len())]),
            5 => drop(story.drain(at..end.min(story.len()))),
            6 => {
                let again = story[at..end.min(story.len())].to_vec();
                story.splice(at..at, again);
            }
            7 => story.truncate(at),
            _ => {
                let other = &stories[self.below(stories.len())];
                let from = self.below(other.len().max(1));
                story.splice(at.., other.get(from..).unwrap_or_default().iter().copied());
            }
        }
        story.truncate(20_000);
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }
}

/// Bytes at which CBOR changes its meaning, and the ends of ranges.
const INTERESTING: [u8; 20] = [
    0x00, 0x01, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1F, 0x20, 0x40, 0x58, 0x5F, 0x60, 0x7F, 0x80, 0x9F, 0xA0,
    0xBF, 0xF6, 0xFF,
];
