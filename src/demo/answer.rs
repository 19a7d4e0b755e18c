//! What the demo LLM answers: a few readable sentences, chosen by a hash of the conversation.
//!
//! A hash rather than a random choice, so that a cached answer can be told from a fresh one by its headers alone
//! and a test may compare texts.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One message of a conversation; members that the demo LLM has no use for are not read.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    role: String,
    content: Option<Content>,
}

/// The content of a message in either of OpenAI's forms.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// One part of a content; only text counts here.
#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

/// An answer in the pieces in which it is streamed.
#[derive(Debug)]
pub(super) struct Answer {
    /// 24 hexadecimal digits that name the conversation.
    pub(super) id: String,
    /// The words, each with the space that follows it. Each counts as one token.
    pub(super) words: Vec<&'static str>,
    /// What comes before the words: it repeats the question.
    pub(super) opening: Vec<String>,
    /// A quarter of the conversation's bytes, rounded up, the usual rule of thumb; at least 1.
    pub(super) prompt_tokens: usize,
}

const SECOND: [&str; 6] = [
    "A short answer first: it depends on what you want to keep. ",
    "There is a plain way to see it. ",
    "Most people meet this question sooner than they expect. ",
    "The honest answer has two halves. ",
    "Let us take it one step at a time. ",
    "It helps to begin with what stays the same. ",
];

const THIRD: [&str; 6] = [
    "Write down what must not change, and the rest becomes a choice between good options. ",
    "Start small, measure once, and only then decide what deserves more care. ",
    "What looks like one problem is usually two, and the second one is the easier. ",
    "Look at the simplest case that could surprise you, and work outward from there. ",
    "Ask who waits for the result, for that settles most of the details. ",
    "Keep the part that you can explain in one sentence, and question the others. ",
];

const LAST: [&str; 6] = [
    "I am a demo, so please do not quote me on it.",
    "A real model would go on; this demo stops here.",
    "Ask me again and you will hear the same, from the cache.",
    "That is all that a demo should say about it.",
    "Put a real model behind the gateway for more.",
    "The same question always gets this same answer.",
];

/// The most characters of the question that are repeated.
const EXCERPT: usize = 80;

/// Answers a conversation. Equal conversations get equal answers, whatever the model.
pub(super) fn answer(messages: &[Message]) -> Answer {
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    for message in messages {
        for text in std::iter::once(message.role.as_str()).chain(message.texts()) {
            hasher.update(text.len().to_be_bytes());
            hasher.update(text);
        }
        bytes += message.texts().map(str::len).sum::<usize>();
    }
    let digest = hasher.finalize();
    let (name, choices) = digest.split_at(12);
    let sentences = [SECOND, THIRD, LAST].into_iter().zip(choices).filter_map(|(of, by)| pick(of, *by));
    Answer {
        id: HEXLOWER.encode(name),
        opening: words(&opening(messages)).map(str::to_owned).collect(),
        words: sentences.flat_map(words).collect(),
        prompt_tokens: bytes.div_ceil(4).max(1),
    }
}

impl Message {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (text, parts) = match &self.content {
            None => (None, [].as_slice()),
            Some(Content::Text(text)) => (Some(text.as_str()), [].as_slice()),
            Some(Content::Parts(parts)) => (None, parts.as_slice()),
        };
        text.into_iter().chain(parts.iter().map(|part| part.text.as_str()))
    }
}

impl Answer {
    /// The pieces in order, at most `limit` of them, and OpenAI's `finish_reason`: `length` if that cut them.
    pub(super) fn pieces(&self, limit: usize) -> (Vec<&str>, &'static str) {
        let all = self.opening.iter().map(String::as_str).chain(self.words.iter().copied());
        let pieces = all.take(limit).collect::<Vec<_>>();
        let is_complete = pieces.len() == self.opening.len() + self.words.len();
        (pieces, if is_complete { "stop" } else { "length" })
    }
}

fn pick(of: [&'static str; 6], by: u8) -> Option<&'static str> {
    of.get(usize::from(by) % of.len()).copied()
}

/// `You asked: "…". `, with the beginning of what the user said last, its white space made single spaces.
fn opening(messages: &[Message]) -> String {
    let asked = messages.iter().rev().find(|message| message.role == "user");
    let question = asked.map(|message| message.texts().collect::<Vec<_>>().join(" ")).unwrap_or_default();
    let mut excerpt = String::new();
    let mut shortened = false;
    for word in question.split_whitespace() {
        let room = EXCERPT.saturating_sub(excerpt.chars().count());
        shortened = word.chars().count() > room;
        if shortened {
            excerpt.extend(word.chars().take(room));
            break;
        }
        excerpt.push_str(word);
        excerpt.push(' ');
    }
    match (excerpt.trim_end(), shortened) {
        ("", _) => "You asked nothing yet. ".to_owned(),
        (excerpt, false) => format!("You asked: \"{excerpt}\". "),
        (excerpt, true) => format!("You asked: \"{excerpt}...\". "),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::{Message, answer};

    fn user(text: &str) -> Message {
        let message = serde_json::json!({"role": "user", "content": text});
        serde_json::from_value(message).expect("a message")
    }

    fn text(messages: &[Message]) -> String {
        answer(messages).pieces(usize::MAX).0.concat()
    }

    fn messages() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec(any::<String>(), 1..4)
    }

    #[test]
    fn repeats_the_question() {
        assert!(text(&[user("What is\n a cache?")]).starts_with("You asked: \"What is a cache?\". "));
        assert!(text(&[user("")]).starts_with("You asked nothing yet. "));
        assert!(
            text(&[user(&"x".repeat(200))]).starts_with(&format!("You asked: \"{}...\". ", "x".repeat(80)))
        );
    }

    #[test]
    fn parts_count_as_text() {
        let parts = r#"{"role":"user","content":[{"type":"text","text":"Hello"},{"type":"image_url","image_url":{}}]}"#;
        let message: Message = serde_json::from_str(parts).expect("a message");
        assert!(text(&[message]).starts_with("You asked: \"Hello\". "));
    }

    #[test]
    fn where_one_message_ends_matters() {
        let joined = answer(&[user("ab")]).id;
        let split = answer(&[user("a"), user("b")]).id;
        assert_ne!(joined, split);
    }

    #[test]
    fn a_limit_cuts_and_says_so() {
        let answer = answer(&[user("Hello")]);
        let (pieces, reason) = answer.pieces(3);
        assert_eq!((pieces.concat().as_str(), reason), ("You asked: \"Hello\". ", "length"));
        assert_eq!(answer.pieces(usize::MAX).1, "stop");
    }

    proptest! {
        #[test]
        fn equal_conversations_get_equal_answers(contents in messages()) {
            let ask = || contents.iter().map(|content| user(content)).collect::<Vec<_>>();
            let (first, second) = (answer(&ask()), answer(&ask()));
            prop_assert_eq!(&first.id, &second.id);
            prop_assert_eq!(text(&ask()), text(&ask()));
            prop_assert!(first.prompt_tokens >= 1);
        }
    }
}
