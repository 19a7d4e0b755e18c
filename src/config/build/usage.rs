//! What is counted of requests, and what models cost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::auth::model_glob::ModelGlob;
use crate::config::UsageSettings;
use crate::config::build::Builder;
use crate::config::node::Place;
use crate::config::prices::{Price, PriceList};
use crate::config::raw::{RawPrice, RawUsage};
use crate::config::scalar::{Number, Slot, Span, Text};
use crate::money::Money;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Most prices, and most globs of counted models.
const MOST_GLOBS: usize = 1024;

const GLOB_HINT: &str = "a model's name of 1 to 256 bytes, in which * stands for any text";

impl Builder<'_> {
    /// What is counted, and for how long it is kept.
    pub(super) fn usage(&self, slot: Slot<RawUsage>) -> UsageSettings {
        let root = Place::Root;
        let place = root.key("usage");
        let raw = slot.or(RawUsage::default());
        let keep = raw.keep.or(Span(400 * DAY)).0;
        if keep < DAY {
            self.scene.refuse(&place.key("keep"), "must be 1d or more", "400d is the default");
        }
        let models_at = place.key("models");
        let models = match raw.models {
            Slot::Given(models) => self.models(models, &models_at),
            Slot::Absent | Slot::Bad => ModelGlob::new("*").into_iter().collect(),
        };
        UsageSettings { keep, models }
    }

    fn models(&self, models: Vec<Slot<Text>>, place: &Place<'_>) -> Box<[ModelGlob]> {
        self.check_count(models.len(), place);
        let glob = |(index, model): (usize, Slot<Text>)| {
            let Text(text) = model.given()?;
            self.glob(&text, &place.index(index))
        };
        models.into_iter().enumerate().filter_map(glob).collect()
    }

    /// What models cost.
    pub(super) fn prices(&self, slot: Slot<BTreeMap<String, Slot<RawPrice>>>) -> PriceList {
        let root = Place::Root;
        let place = root.key("prices");
        let raw = slot.or(BTreeMap::new());
        self.check_count(raw.len(), &place);
        let priced = |(name, slot): (String, Slot<RawPrice>)| {
            let at = place.key(&name);
            let glob = self.glob(&name, &at)?;
            let raw = slot.given()?;
            let prompt = self.price(&raw.prompt, &at.key("prompt"));
            let completion = self.price(&raw.completion, &at.key("completion"));
            let cached = match raw.cached {
                Slot::Absent => prompt,
                written => self.price(&written, &at.key("cached")),
            };
            Some((glob, Price { prompt, cached, completion }))
        };
        PriceList::new(raw.into_iter().filter_map(priced).collect())
    }

    fn price(&self, slot: &Slot<Number>, place: &Place<'_>) -> Money {
        let price = match slot {
            Slot::Absent => {
                self.scene.refuse(place, "is missing", "what a million tokens cost, such as 2.50");
                None
            }
            Slot::Bad => None,
            Slot::Given(Number(per_million)) => {
                let price = Money::per_token(*per_million);
                if price.is_none() {
                    let hint = "what a million tokens cost: 0 to 1000000, at most 6 digits behind the point";
                    self.scene.refuse(place, "cannot be a price", hint);
                }
                price
            }
        };
        price.unwrap_or_default()
    }

    fn glob(&self, text: &str, place: &Place<'_>) -> Option<ModelGlob> {
        let glob = ModelGlob::new(text);
        if glob.is_none() {
            self.scene.refuse(place, "is no glob over model names", GLOB_HINT);
        }
        glob
    }

    fn check_count(&self, count: usize, place: &Place<'_>) {
        if count > MOST_GLOBS {
            self.scene.refuse(place, format!("at most {MOST_GLOBS}"), "a glob stands for many models");
        }
    }
}
