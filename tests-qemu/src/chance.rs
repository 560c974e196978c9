//! Chance that can be repeated: `SHARK_SEED=N` begins it elsewhere, `SHARK_CUTS=N` asks for so many
//! cuts of power; the seed is printed. Not here: what is left to it.

use std::time::Duration;

use anyhow::Context as _;

/// The number that the environment has for `variable`.
///
/// # Errors
/// When it is no number.
pub fn number(variable: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable}={text}: expected a number")),
        Err(_) => Ok(default),
    }
}

/// Moments of chance, the same for the same seed (splitmix64).
pub struct Chance(u64);

impl Chance {
    /// A chance of its own for each `purpose`, from the seed that the environment has.
    ///
    /// # Errors
    /// When that is no number.
    pub fn new(purpose: u64) -> anyhow::Result<Self> {
        let seed = number("SHARK_SEED", 1)?;
        println!("SHARK_SEED={seed}");
        Ok(Self(seed.wrapping_add(purpose << 32)))
    }

    /// A span below `limit`.
    pub fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros((z ^ (z >> 31)) % micros.max(1))
    }
}
