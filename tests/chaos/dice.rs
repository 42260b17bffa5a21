//! Random choices that a seed repeats.

use std::time::Duration;

/// xorshift64*: even enough to choose faults.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, round: u64) -> Dice {
        // Spread by a splitmix step, so that neighbouring rounds have nothing in common.
        let mixed = (seed ^ round.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mut dice = Dice((mixed ^ (mixed >> 27)) | 1);
        dice.below(2);
        dice
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// As often below a tenth as above: what matters at a start happens in microseconds, what follows in milliseconds.
    pub fn moment(&mut self, longest: Duration) -> Duration {
        let shift = self.below(12) as u32;
        let longest = (longest.as_micros() as u64 >> shift).max(1);
        Duration::from_micros(self.below(longest))
    }
}
