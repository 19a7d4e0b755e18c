//! The few request fields that decide about caching, and what each API leaves out of the cache key.

use std::sync::Arc;

use crate::llm::json::{Document, JsonFault, Kind, Value};
use crate::llm::translate::{AnswerForm, StreamUsage};

/// Which API a path belongs to, by its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI's chat completions.
    ChatCompletions,
    /// OpenAI's older completions.
    Completions,
    /// Embeddings.
    Embeddings,
    /// Moderations.
    Moderations,
    /// Rerank.
    Rerank,
    /// Anthropic's messages.
    Messages,
    /// OpenAI's responses.
    Responses,
    /// Any other.
    Other,
}

/// What a stream of an API ends with when it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// `data: [DONE]`.
    Done,
    /// An event of type `response.completed`.
    ResponseCompleted,
    /// An event of type `message_stop`.
    MessageStop,
}

impl Api {
    /// The API of `path` (without query). A path that merely contains an API's name is [`Api::Other`].
    pub fn of(path: &str) -> Self {
        const SUFFIXES: [(&str, Api); 7] = [
            ("/chat/completions", Api::ChatCompletions),
            ("/completions", Api::Completions),
            ("/embeddings", Api::Embeddings),
            ("/moderations", Api::Moderations),
            ("/rerank", Api::Rerank),
            ("/messages", Api::Messages),
            ("/responses", Api::Responses),
        ];
        SUFFIXES.iter().find(|(suffix, _)| path.ends_with(suffix)).map_or(Self::Other, |&(_, api)| api)
    }

    /// The top-level members that do not change the answer's content and are left out of the cache key. Everything
    /// else is in it, known to us or not.
    pub fn left_out(self) -> &'static [&'static str] {
        match self {
            Self::ChatCompletions => &["stream", "stream_options", "prompt_cache_key", "safety_identifier"],
            Self::Completions
            | Self::Embeddings
            | Self::Moderations
            | Self::Rerank
            | Self::Messages
            | Self::Responses
            | Self::Other => &[],
        }
    }

    /// What its streams end with.
    pub fn terminal(self) -> Terminal {
        match self {
            Self::Responses => Terminal::ResponseCompleted,
            Self::Messages => Terminal::MessageStop,
            Self::ChatCompletions
            | Self::Completions
            | Self::Embeddings
            | Self::Moderations
            | Self::Rerank
            | Self::Other => Terminal::Done,
        }
    }

    /// True if its answers are made of `choices`, each with a `finish_reason`.
    pub fn has_choices(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }
}

/// Why a request is neither looked up, nor stored, nor collapsed with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BypassReason {
    /// The body has no canonical form.
    Body(JsonFault),
    /// The body is JSON, but no object.
    NotAnObject,
    /// `store`: the upstream keeps the answer under an id of its own.
    Store,
    /// `background`: the answer is fetched later.
    Background,
    /// `conversation`: the answer depends on what the upstream keeps.
    Conversation,
    /// `previous_response_id`: likewise.
    PreviousResponse,
    /// `prompt` names a stored template.
    StoredPrompt,
    /// `web_search_options`: the answer depends on the web.
    WebSearch,
    /// A tool that the upstream runs.
    ServerTool,
    /// `service_tier` is longer than any that is known of.
    ServiceTier,
    /// `stream` or `stream_options` of a type that only the upstream can make sense of.
    Stream,
    /// `temperature` above the route's bound, or not a number.
    Temperature,
}

impl BypassReason {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Body(fault) => fault.as_str(),
            Self::NotAnObject => "not_an_object",
            Self::Store => "store",
            Self::Background => "background",
            Self::Conversation => "conversation",
            Self::PreviousResponse => "previous_response",
            Self::StoredPrompt => "stored_prompt",
            Self::WebSearch => "web_search",
            Self::ServerTool => "server_tool",
            Self::ServiceTier => "service_tier",
            Self::Stream => "stream",
            Self::Temperature => "temperature",
        }
    }
}

/// What is read of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFields {
    /// `model`, if it is a string, and if no member has that name in other letters, `Model` say: some upstreams
    /// make no difference between the two, and would obey the one that was not checked.
    pub model: Option<Arc<str>>,
    /// `stream`.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// `temperature`, if it is a number.
    pub temperature: Option<f64>,
    /// `service_tier`, if it is a string.
    pub service_tier: Option<Box<str>>,
    /// Why the body by itself forbids caching.
    pub unlookable: Option<BypassReason>,
}

/// The longest `service_tier` that is made sense of, in bytes.
const LONGEST_TIER: usize = 64;

impl RequestFields {
    /// `service_tier`, if it is a string. One that is too long forbids caching: it would be kept beside the body.
    fn tier(&mut self, value: Value<'_>) -> Option<Box<str>> {
        let tier = owned(value);
        if tier.as_ref().is_some_and(|tier| tier.len() > LONGEST_TIER) {
            self.unlookable = self.unlookable.or(Some(BypassReason::ServiceTier));
            return None;
        }
        tier
    }

    /// The form in which the answer is asked for.
    pub fn form(&self) -> AnswerForm {
        match (self.stream, self.include_usage) {
            (false, _) => AnswerForm::Json,
            (true, true) => AnswerForm::Stream(StreamUsage::Included),
            (true, false) => AnswerForm::Stream(StreamUsage::Omitted),
        }
    }

    /// Reads the top-level members of a request of `api`. Of a name that stands twice the last counts; the
    /// canonical form refuses such bodies.
    pub fn read(api: Api, document: Document<'_>) -> Self {
        let root = document.root();
        let mut fields = Self::default();
        if root.kind() != Kind::Object {
            fields.unlookable = Some(BypassReason::NotAnObject);
        }
        let mut is_ambiguous = false;
        for (name, value) in root.members() {
            let Some(name) = name.as_str() else { continue };
            match name.as_ref() {
                "model" => fields.model = value.as_str().map(Into::into),
                "temperature" => fields.temperature = fields.degree(value),
                "service_tier" => fields.service_tier = fields.tier(value),
                "stream" => fields.stream = fields.switch(value),
                "stream_options" => fields.read_stream_options(value),
                other if other.eq_ignore_ascii_case("model") => is_ambiguous = true,
                other => fields.unlookable = fields.unlookable.or(forbids(api, other, value)),
            }
        }
        if is_ambiguous {
            fields.model = None;
        }
        fields
    }

    /// A member that should be a boolean or null. What else it may be, an upstream may take for `true`.
    fn switch(&mut self, value: Value<'_>) -> bool {
        if !value.is_null() && value.as_bool().is_none() {
            self.unlookable.get_or_insert(BypassReason::Stream);
        }
        value.as_bool().unwrap_or(false)
    }

    /// A member that should be a number or null. What else it may be, an upstream may take for any number.
    fn degree(&mut self, value: Value<'_>) -> Option<f64> {
        let degree = value.as_f64();
        if !value.is_null() && degree.is_none() {
            self.unlookable.get_or_insert(BypassReason::Temperature);
        }
        degree
    }

    fn read_stream_options(&mut self, options: Value<'_>) {
        if !matches!(options.kind(), Kind::Object | Kind::Null) {
            self.unlookable.get_or_insert(BypassReason::Stream);
        }
        self.include_usage = options.member("include_usage").is_some_and(|value| self.switch(value));
    }
}

fn owned(value: Value<'_>) -> Option<Box<str>> {
    value.as_str().map(Box::from)
}

/// Why the member `name` forbids caching, if it does.
fn forbids(api: Api, name: &str, value: Value<'_>) -> Option<BypassReason> {
    let is_set = !value.is_null();
    // An upstream may take 1 or "true" for true: only null and false are surely off.
    let is_on = is_set && value.as_bool() != Some(false);
    let (reason, forbidden) = match name {
        "store" => (BypassReason::Store, is_on),
        "background" => (BypassReason::Background, is_on),
        "conversation" => (BypassReason::Conversation, is_set),
        "previous_response_id" => (BypassReason::PreviousResponse, is_set),
        "prompt" => (BypassReason::StoredPrompt, value.member("id").is_some()),
        "web_search_options" => (BypassReason::WebSearch, is_set),
        "tools" => (BypassReason::ServerTool, value.elements().any(|tool| runs_upstream(api, tool))),
        "mcp_servers" => (BypassReason::ServerTool, value.elements().next().is_some()),
        _ => return None,
    };
    forbidden.then_some(reason)
}

/// True if `tool` is one that the upstream runs by itself. A tool without a type is the client's.
fn runs_upstream(api: Api, tool: Value<'_>) -> bool {
    let Some(kind) = tool.member("type").and_then(Value::as_str) else { return false };
    match api {
        Api::Messages => kind != "custom",
        _ => kind != "function" && kind != "custom",
    }
}

#[cfg(test)]
mod tests {
    use super::{Api, BypassReason, RequestFields};
    use crate::llm::json::Tape;

    fn read(api: Api, body: &str) -> RequestFields {
        RequestFields::read(api, Tape::default().read(body.as_bytes()).expect("JSON"))
    }

    #[track_caller]
    fn check(api: Api, body: &str, expected: Option<BypassReason>) {
        assert_eq!(read(api, body).unlookable, expected, "{body}");
    }

    #[test]
    fn tells_apis_by_the_end_of_the_path() {
        let table = [
            ("/v1/chat/completions", Api::ChatCompletions),
            ("/v1/completions", Api::Completions),
            ("/openai/deployments/x/embeddings", Api::Embeddings),
            ("/v1/moderations", Api::Moderations),
            ("/rerank", Api::Rerank),
            ("/v1/messages", Api::Messages),
            ("/v1/responses", Api::Responses),
            ("/v1/responses/", Api::Other),
            ("/v1/messages/batches", Api::Other),
            ("/v1/xcompletions", Api::Other),
        ];
        for (path, api) in table {
            assert_eq!(Api::of(path), api, "{path}");
        }
    }

    #[test]
    fn reads_the_fields() {
        let body = r#"{"model":"gpt-\u0034o","stream":true,"stream_options":{"include_usage":true},
            "temperature":2e-1,"service_tier":"flex","messages":[{"model":"other","stream":false}]}"#;
        let expected = RequestFields {
            model: Some("gpt-4o".into()),
            stream: true,
            include_usage: true,
            temperature: Some(0.2),
            service_tier: Some("flex".into()),
            unlookable: None,
        };
        assert_eq!(read(Api::ChatCompletions, body), expected);
    }

    #[test]
    fn fields_of_another_type_are_absent() {
        let body = r#"{"model":["gpt-4o"],"stream":null,"stream_options":null,"temperature":null,"service_tier":null}"#;
        assert_eq!(read(Api::ChatCompletions, body), RequestFields::default());
    }

    #[test]
    fn a_model_that_an_upstream_may_read_elsewhere_is_none() {
        for body in [r#"{"model":"a","MODEL":"b"}"#, r#"{"Model":"b","model":"a"}"#, r#"{"mOdel":"b"}"#] {
            assert_eq!(read(Api::ChatCompletions, body).model, None, "{body}");
        }
        let others = r#"{"model":"a","models":["b"],"x":{"MODEL":"b"}}"#;
        assert_eq!(read(Api::ChatCompletions, others).model.as_deref(), Some("a"));
    }

    #[test]
    fn ordinary_requests_are_lookable() {
        check(Api::ChatCompletions, r#"{"store":false,"background":null,"conversation":null}"#, None);
        check(
            Api::Responses,
            r#"{"previous_response_id":null,"web_search_options":null,"background":false}"#,
            None,
        );
        check(Api::Completions, r#"{"prompt":"hi"}"#, None);
        check(Api::Completions, r#"{"prompt":["id","x"]}"#, None);
        check(Api::ChatCompletions, r#"{"tools":[{"type":"function"},{"type":"custom"},{}]}"#, None);
        check(
            Api::Messages,
            r#"{"tools":[{"name":"f","input_schema":{}},{"type":"custom"}],"mcp_servers":[]}"#,
            None,
        );
        check(Api::ChatCompletions, r#"{"messages":[{"store":true,"conversation":"c"}]}"#, None);
    }

    #[test]
    fn each_rule_forbids() {
        let table = [
            (r#"{"store":true}"#, BypassReason::Store),
            (r#"{"store":1}"#, BypassReason::Store),
            (r#"{"st\u006fre":true}"#, BypassReason::Store),
            (r#"{"background":true}"#, BypassReason::Background),
            (r#"{"background":"yes"}"#, BypassReason::Background),
            (r#"{"conversation":"conv_1"}"#, BypassReason::Conversation),
            (r#"{"conversation":{"id":"conv_1"}}"#, BypassReason::Conversation),
            (r#"{"previous_response_id":"resp_1"}"#, BypassReason::PreviousResponse),
            (r#"{"prompt":{"id":"pmpt_1"}}"#, BypassReason::StoredPrompt),
            (r#"{"web_search_options":{}}"#, BypassReason::WebSearch),
            (r#"{"tools":[{"type":"function"},{"type":"web_search"}]}"#, BypassReason::ServerTool),
            (r#"{"mcp_servers":[{"url":"https://example.com"}]}"#, BypassReason::ServerTool),
            (r#"{"stream":"true"}"#, BypassReason::Stream),
            (r#"{"stream_options":[]}"#, BypassReason::Stream),
            (r#"{"stream_options":{"include_usage":1}}"#, BypassReason::Stream),
            (r#"{"temperature":"0"}"#, BypassReason::Temperature),
            (r#"{"temperature":[0]}"#, BypassReason::Temperature),
            (r#"["model"]"#, BypassReason::NotAnObject),
            ("null", BypassReason::NotAnObject),
        ];
        for (body, reason) in table {
            for api in [Api::ChatCompletions, Api::Responses, Api::Messages] {
                check(api, body, Some(reason));
            }
        }
        check(Api::Messages, r#"{"tools":[{"type":"web_search_20250305"}]}"#, Some(BypassReason::ServerTool));
        check(Api::Messages, r#"{"tools":[{"type":"function"}]}"#, Some(BypassReason::ServerTool));
    }
}
