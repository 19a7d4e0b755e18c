//! `POST /v1/embeddings`: one unit vector for each input, the same for the same text.
//!
//! A vector is the sum of one pseudo-random direction per word, so texts that share words lie closer together, as
//! those of a real model would.

use std::future::{Ready, ready};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::demo::failure::{Failure, read_json};

/// How long a vector is if the request does not say, and at most.
const DIMENSIONS: usize = 256;
const MAX_DIMENSIONS: usize = 3072;

/// The most inputs of one request, as OpenAI bounds them.
const MAX_INPUTS: usize = 2048;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    input: Option<Input>,
    dimensions: Option<usize>,
    #[serde(default)]
    encoding_format: Encoding,
}

/// Text or token ids, one or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

/// A vector as numbers, or as base64 of little-endian 32-bit floats.
#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Answers one request.
pub(super) fn embed(body: Result<Bytes, BytesRejection>) -> Ready<Result<Json<List>, Failure>> {
    ready(read_json(body).and_then(answer).map(Json))
}

fn answer(request: Request) -> Result<List, Failure> {
    let missing = |what| Failure::invalid(Some(what), format!("you must provide a {what} parameter"));
    let model = request.model.ok_or_else(|| missing("model"))?;
    let inputs = request.input.ok_or_else(|| missing("input"))?.word_lists();
    if !(1..=MAX_INPUTS).contains(&inputs.len()) {
        return Err(Failure::invalid(Some("input"), format!("'input' takes 1 to {MAX_INPUTS} inputs")));
    }
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(Failure::invalid(Some("dimensions"), format!("'dimensions' is 1 to {MAX_DIMENSIONS}")));
    }
    let tokens = inputs.iter().map(Vec::len).sum::<usize>().max(1);
    let data = inputs.iter().enumerate().map(|(index, words)| Embedding {
        object: "embedding",
        index,
        embedding: Vector::encode(unit_vector(words, dimensions), request.encoding_format),
    });
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(List { object: "list", data: data.collect(), model, usage })
}

impl Input {
    /// The words of each input; a token id counts as a word.
    fn word_lists(self) -> Vec<Vec<String>> {
        let split = |text: String| text.split_whitespace().map(str::to_lowercase).collect();
        let name = |tokens: Vec<u32>| tokens.iter().map(u32::to_string).collect();
        match self {
            Self::Text(text) => vec![split(text)],
            Self::Texts(texts) => texts.into_iter().map(split).collect(),
            Self::Tokens(tokens) => vec![name(tokens)],
            Self::TokenLists(lists) => lists.into_iter().map(name).collect(),
        }
    }
}

impl Vector {
    fn encode(floats: Vec<f32>, encoding: Encoding) -> Self {
        match encoding {
            Encoding::Float => Self::Floats(floats),
            Encoding::Base64 => {
                let bytes = floats.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<_>>();
                Self::Base64(BASE64.encode(&bytes))
            }
        }
    }
}

/// The sum of the words' directions, brought to length 1. No words: the direction of the empty word.
fn unit_vector(words: &[String], dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; dimensions];
    add_direction(&mut sum, "");
    for word in words {
        add_direction(&mut sum, word);
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    // Directions that cancel out to nothing have no length to divide by; none is known to.
    if length > 0.0 {
        sum.iter_mut().for_each(|x| *x /= length);
    }
    sum
}

/// Adds a direction made from SHA-256 of `word` in counter mode: every 8 bits give a coordinate in -1 to 1.
fn add_direction(sum: &mut [f32], word: &str) {
    for (counter, block) in (0_u64..).zip(sum.chunks_mut(32)) {
        let digest = Sha256::new().chain_update(counter.to_be_bytes()).chain_update(word).finalize();
        for (x, byte) in block.iter_mut().zip(digest) {
            *x += (f32::from(byte) - 127.5) / 127.5;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Request, Vector, answer, unit_vector};

    fn vectors(request: serde_json::Value) -> Vec<Vector> {
        let request: Request = serde_json::from_value(request).expect("a request");
        answer(request).expect("an answer").data.into_iter().map(|item| item.embedding).collect()
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn similarity(a: &str, b: &str) -> f32 {
        unit_vector(&words(a), 256).iter().zip(unit_vector(&words(b), 256)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn every_vector_has_length_one() {
        for dimensions in [1, 31, 32, 33, 3072] {
            for text in ["", "one", "one two three"] {
                let length: f32 = unit_vector(&words(text), dimensions).iter().map(|x| x * x).sum();
                assert!((length - 1.0).abs() < 1e-4, "{dimensions} {text:?} {length}");
            }
        }
    }

    #[test]
    fn texts_that_share_words_are_closer() {
        let near = similarity("the red house on the hill", "the blue house on the hill");
        let far = similarity("the red house on the hill", "seventeen unrelated green umbrellas");
        assert!(near > far + 0.2, "{near} {far}");
    }

    #[test]
    fn base64_holds_the_same_floats() {
        let ask = |format: &str| {
            vectors(
                serde_json::json!({"model": "m", "input": ["a b"], "dimensions": 8, "encoding_format": format}),
            )
        };
        let (floats, text) = (ask("float").remove(0), ask("base64").remove(0));
        let (Vector::Floats(floats), Vector::Base64(text)) = (floats, text) else { panic!("both encodings") };
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).expect("base64");
        let decoded =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes")));
        assert_eq!(floats, decoded.collect::<Vec<_>>());
    }

    #[test]
    fn each_form_of_input_is_read() {
        for (input, count) in [
            (serde_json::json!("a"), 1),
            (serde_json::json!(["a", "b"]), 2),
            (serde_json::json!([1, 2]), 1),
            (serde_json::json!([[1], [2], [3]]), 3),
        ] {
            assert_eq!(vectors(serde_json::json!({"model": "m", "input": input})).len(), count, "{input}");
        }
    }
}
