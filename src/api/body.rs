//! The body of a request: read once onto a tape, and looked through for all that would let two readers see two requests.

use http::HeaderValue;
use sha2::{Digest, Sha256};

use crate::api::content_type::require_json;
use crate::api::wrong::{UNDEFINED, said, type_of, wrong};
use crate::llm::canonical;
use crate::llm::json::{JsonFault, Kind, MAX_DEPTH, MAX_NODES, Tape, Value};
use crate::outcome::api_error::{ApiError, Details};
use crate::store::answer::PromptHash;

/// Where errors about the whole body are.
const FIELD: &str = "body";

/// The member that says what was asked.
pub(super) const MESSAGES: &str = "messages";

/// A body that is one JSON object with a canonical form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'t> {
    object: Value<'t>,
    /// SHA-256 of its canonical `messages`, whatever these are; of nothing, if they are not there.
    pub(super) prompt_hash: PromptHash,
}

impl<'t> Body<'t> {
    /// Reads a body onto `tape`.
    ///
    /// # Errors
    /// A 415 for what is not said to be JSON; a 400 for what is no object, or has no canonical form.
    pub(super) fn read(
        tape: &'t mut Tape,
        content_type: Option<&HeaderValue>,
        body: &'t [u8],
    ) -> Result<Self, ApiError> {
        require_json(content_type)?;
        if body.is_empty() {
            return Err(said("A JSON body is required", FIELD, "object", UNDEFINED));
        }
        let document = tape.read(body).map_err(fault)?;
        let object = document.root();
        if object.kind() != Kind::Object {
            return Err(wrong(FIELD, "object", type_of(Some(object))));
        }
        let mut hasher = Sha256::new();
        canonical::write_member(document, MESSAGES, &mut |piece| hasher.update(piece)).map_err(fault)?;
        Ok(Self { object, prompt_hash: PromptHash(hasher.finalize().into()) })
    }

    /// A member, null or not.
    pub(super) fn member(self, name: &str) -> Option<Value<'t>> {
        self.object.member(name)
    }

    /// An optional member: nothing, if it is null.
    pub(super) fn optional(self, name: &str) -> Option<Value<'t>> {
        self.member(name).filter(|value| !value.is_null())
    }
}

/// Why a body has no canonical form, as its sender is told.
fn fault(fault: JsonFault) -> ApiError {
    match fault {
        JsonFault::NotJson => said("The body is not valid JSON in UTF-8", FIELD, "object", "invalid JSON"),
        JsonFault::TooDeep => said(
            format!("The body is nested deeper than {MAX_DEPTH} levels"),
            FIELD,
            format!("at most {MAX_DEPTH} levels of arrays and objects"),
            "more",
        ),
        JsonFault::TooLarge => {
            let details = Details {
                field: FIELD.into(),
                expected: format!("at most {MAX_NODES} values and member names").into(),
                received: "more".into(),
            };
            ApiError::new(413, "The body holds too many values").about(details)
        }
        JsonFault::Duplicate => said(
            "A member name stands twice in one JSON object of the body",
            FIELD,
            "each member name once in its object",
            "duplicate member name",
        ),
        JsonFault::LoneSurrogate => said(
            "A string of the body holds half of a surrogate pair, which is no character",
            FIELD,
            "strings of whole characters",
            "lone surrogate",
        ),
        JsonFault::NonFinite => said(
            "A number of the body is beyond the range of double precision",
            FIELD,
            "numbers within the range of double precision",
            "number out of range",
        ),
    }
}
