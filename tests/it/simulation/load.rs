//! Which key is asked for next: uniform, or zipf as in practice, a few keys of most.

use fastrand::Rng;

pub(crate) enum Load {
    Uniform(u32),
    /// The sum of the weights up to each key.
    Zipf(Vec<f64>),
}

impl Load {
    pub(crate) fn zipf(keys: u32) -> Self {
        let mut sum = 0.0;
        let weights = (1..=keys).map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        });
        Self::Zipf(weights.collect())
    }

    pub(crate) fn pick(&self, rng: &mut Rng) -> u32 {
        match self {
            Self::Uniform(keys) => rng.u32(..*keys),
            Self::Zipf(sums) => {
                let point = rng.f64() * sums.last().expect("a key");
                sums.partition_point(|sum| *sum < point).min(sums.len() - 1) as u32
            }
        }
    }
}
