//! What is said where the service of accounts and keys has refused something.

use axum::response::Response;

use crate::accounts::refused::Refused;
use crate::console::answers::told;
use crate::store::directory::edit::Denial;

/// Where a form is wrong, and why.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// The field, by its name in the form; empty: it is no field's fault.
    field: &'static str,
    /// What is wrong, and what would be right.
    pub(super) text: String,
}

impl Problem {
    /// Of one field.
    pub(super) fn of_field(field: &'static str, text: &str) -> Self {
        Self { field, text: text.to_owned() }
    }

    /// What a refusal has to say of a form that has these fields.
    pub(super) fn of(refused: &Refused, fields: &[&str]) -> Self {
        match refused {
            Refused::Wrong { field, message } if fields.contains(field) => {
                Self { field, text: as_sentence(message) }
            }
            Refused::Denied(Denial::OtherRequest) => {
                let text =
                    "This form has done something else already. Press the button again to do this as well.";
                Self { field: "", text: text.to_owned() }
            }
            refused => Self { field: "", text: format!("That was not done: {refused}.") },
        }
    }

    /// What is wrong with that field, if it is this one.
    pub(super) fn at(&self, field: &str) -> Option<&str> {
        (self.field == field).then_some(self.text.as_str())
    }
}

/// A page that says why something cannot be shown.
pub(super) fn failed(refused: &Refused) -> Response {
    told(refused.status(), &as_sentence(&refused.to_string()))
}

/// `text` with a capital at its beginning and a full stop at its end.
pub(super) fn as_sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
