//! What models cost: prices by globs over their names.

use crate::auth::model_glob::ModelGlob;
use crate::money::Money;

/// What a token costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// One that a model reads.
    pub prompt: Money,
    /// One that it reads, and that the upstream's own prompt cache held.
    pub cached: Money,
    /// One that it writes.
    pub completion: Money,
}

/// Prices by model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList(Box<[(ModelGlob, Price)]>);

impl PriceList {
    /// A list. Where several globs fit a model, the one without a star is taken, and else the longest.
    pub fn new(mut prices: Vec<(ModelGlob, Price)>) -> Self {
        let rank = |glob: &ModelGlob| {
            let text = glob.to_string();
            (text.contains('*'), std::cmp::Reverse(text.len()), text)
        };
        prices.sort_by_cached_key(|(glob, _)| rank(glob));
        Self(prices.into())
    }

    /// True if nothing has a price.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The price of a model; `None` if it has none.
    pub fn of(&self, model: &str) -> Option<&Price> {
        self.0.iter().find(|(glob, _)| glob.matches(model)).map(|(_, price)| price)
    }
}

impl Price {
    /// What it costs to read `prompt` tokens, `cached` of which the upstream's cache held, and to write `completion`.
    pub fn cost(&self, prompt: u64, cached: u64, completion: u64) -> Money {
        let cached = cached.min(prompt);
        self.prompt.times(prompt - cached) + self.cached.times(cached) + self.completion.times(completion)
    }
}

#[cfg(test)]
mod tests {
    use super::{Price, PriceList};
    use crate::auth::model_glob::ModelGlob;
    use crate::money::Money;

    fn per_token(per_million: f64) -> Money {
        Money::per_token(per_million).expect("a price")
    }

    fn price(prompt: f64) -> Price {
        Price { prompt: per_token(prompt), cached: per_token(0.0), completion: per_token(0.0) }
    }

    #[test]
    fn costs_are_exact_and_rounded_only_where_they_are_shown() {
        let price = Price { prompt: per_token(0.15), cached: per_token(0.075), completion: per_token(0.6) };
        assert_eq!(price.cost(1000, 400, 10), Money::from_units(600 * 150_000 + 400 * 75_000 + 10 * 600_000));
        let mut sum = Money::default();
        for _ in 0..10 {
            sum += price.cost(1, 0, 0);
        }
        assert_eq!(sum.rounded(), 0.000002, "1.5 millionths");
        assert_eq!(price.cost(3, 9, 0), Money::from_units(3 * 75_000), "no more was cached than was read");
    }

    #[test]
    fn the_closest_glob_wins() {
        let glob = |text| ModelGlob::new(text).expect("a glob");
        let list = PriceList::new(vec![
            (glob("*"), price(1.0)),
            (glob("gpt-4o*"), price(2.0)),
            (glob("gpt-4o"), price(3.0)),
            (glob("gpt-4o-mini*"), price(4.0)),
        ]);
        for (model, expected) in [("o3", 1.0), ("gpt-4o-2024", 2.0), ("gpt-4o", 3.0), ("gpt-4o-mini-x", 4.0)]
        {
            assert_eq!(list.of(model), Some(&price(expected)), "{model}");
        }
        assert_eq!(PriceList::default().of("o3"), None);
    }
}
