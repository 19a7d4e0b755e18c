//! The form of a new key: what somebody has typed into it, and what is wrong with that.

use crate::accounts::draft::KeyDraft;
use crate::accounts::refused::Refused;
use crate::auth::key::Environment;
use crate::console::asked::Asked;
use crate::console::refusals::Problem;

const FIELDS: [&str; 5] = ["name", "environment", "expires", "allowed_ips", "allowed_models"];

/// When a key may be said to expire: as the form sends it, and as people read it.
const EXPIRIES: [(&str, &str); 5] =
    [("", "never"), ("7d", "in 7 days"), ("30d", "in 30 days"), ("90d", "in 90 days"), ("365d", "in a year")];

/// The form.
#[derive(Default)]
pub(super) struct NewKey {
    /// What people are to call the key.
    pub(super) name: String,
    environment: String,
    expires: String,
    /// Addresses and networks, with white space or commas between them.
    pub(super) allowed_ips: String,
    /// Models, in the same way.
    pub(super) allowed_models: String,
    problem: Option<Problem>,
}

/// One of several that can be chosen.
pub(super) struct Choice {
    /// As the form sends it.
    pub(super) value: String,
    /// As people read it.
    pub(super) text: String,
    /// Whether it is chosen.
    pub(super) is_chosen: bool,
}

impl NewKey {
    /// What the form says.
    pub(super) fn of(asked: &Asked) -> Self {
        let text = |field: &str| asked.text(field).trim().to_owned();
        Self {
            name: text("name"),
            environment: text("environment"),
            expires: text("expires"),
            allowed_ips: text("allowed_ips"),
            allowed_models: text("allowed_models"),
            problem: None,
        }
    }

    /// The key that it describes.
    pub(super) fn draft(&self) -> KeyDraft {
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let listed = |text: &str| {
            let words = text.split(|c: char| c.is_whitespace() || c == ',');
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        KeyDraft {
            name: some(&self.name),
            environment: some(&self.environment),
            plan: None,
            expires: some(&self.expires),
            allowed_ips: listed(&self.allowed_ips),
            allowed_models: listed(&self.allowed_models),
        }
    }

    /// The same form with why it was refused.
    pub(super) fn refused(self, refused: &Refused) -> Self {
        Self { problem: Some(Problem::of(refused, &FIELDS)), ..self }
    }

    /// What is wrong with a field; with none of them, if it is empty.
    pub(super) fn problem_at(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().and_then(|problem| problem.at(field))
    }

    /// Whether something stands in the part of the form that is folded away.
    pub(super) fn is_bound(&self) -> bool {
        !(self.allowed_ips.is_empty() && self.allowed_models.is_empty())
    }

    /// The environments to choose from.
    pub(super) fn environments(&self) -> Vec<Choice> {
        let names = Environment::ALL.map(|environment| (environment.as_str(), environment.as_str()));
        choices([("", "not said")].into_iter().chain(names), &self.environment)
    }

    /// The expiries to choose from.
    pub(super) fn expiries(&self) -> Vec<Choice> {
        choices(EXPIRIES, &self.expires)
    }
}

/// What can be chosen, with what is; that is kept even where it is none of those that are `known`.
pub(super) fn choices<'a>(
    known: impl IntoIterator<Item = (&'a str, &'a str)>,
    chosen: &'a str,
) -> Vec<Choice> {
    let known: Vec<_> = known.into_iter().collect();
    let other = Some((chosen, chosen)).filter(|_| known.iter().all(|(value, _)| *value != chosen));
    let choice = |(value, text): (&str, &str)| Choice {
        value: value.to_owned(),
        text: text.to_owned(),
        is_chosen: value == chosen,
    };
    known.into_iter().chain(other).map(choice).collect()
}
