//! A second reader of requests, written from RFC 9112 and from what the engine is known to let pass: the measure of the
//! first.

/// What some bytes are, to a reader who waits for a request.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Nothing, or empty lines.
    Nothing,
    /// A head that has not come to its end.
    Part,
    /// No head.
    Unreadable,
    /// A head, and what follows it.
    Headed(Head),
}

/// A head and its body.
#[derive(Debug)]
pub(crate) struct Head {
    /// The method.
    pub(crate) method: String,
    /// The target as it came.
    pub(crate) target: Vec<u8>,
    /// Names in lower case, in their order.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// The body.
    pub(crate) body: Body,
}

/// What follows a head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A whole body, without framing.
    Whole(Vec<u8>),
    /// The beginning of one.
    Part,
    /// Nothing that could be told to be one.
    Broken,
}

/// Fields about the client's connection, its credentials, and what the gateway says itself.
const NOT_PASSED: [&str; 22] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "authorization",
    "x-api-key",
    "api-key",
    "proxy-authorization",
    "cookie",
    "host",
    "content-length",
    "expect",
    "accept-encoding",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "date",
];

/// Reads the request that `bytes` begin with.
pub(crate) fn read(bytes: &[u8]) -> Reading {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
        rest = after;
    }
    if rest.is_empty() {
        return Reading::Nothing;
    }
    let mut lines = Vec::new();
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Reading::Part };
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    head(&lines, rest).map_or(Reading::Unreadable, Reading::Headed)
}

fn head(lines: &[&[u8]], rest: &[u8]) -> Option<Head> {
    let (first, others) = lines.split_first()?;
    let method_ends = first.iter().position(|byte| *byte == b' ')?;
    let target_ends = first.iter().rposition(|byte| *byte == b' ')?;
    let (method, version) = (&first[..method_ends], &first[target_ends + 1..]);
    let target = first.get(method_ends + 1..target_ends).filter(|target| !target.is_empty())?;
    let is_out_of_place = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
    if !is_token(method)
        || target.iter().any(is_out_of_place)
        || !matches!(version, b"HTTP/1.1" | b"HTTP/1.0")
    {
        return None;
    }
    let fields = others.iter().map(|line| field(line)).collect::<Option<Vec<_>>>()?;
    let method = String::from_utf8(method.to_vec()).ok()?;
    let mut head = Head { method, target: target.to_vec(), fields, body: Body::Broken };
    let is_old = version == b"HTTP/1.0";
    head.body = if is_old && head.has("transfer-encoding") { Body::Broken } else { head.body_in(rest) };
    Some(head)
}

fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], trimmed(&line[colon + 1..]));
    let is_field = is_token(name) && value.iter().all(is_text);
    is_field.then(|| Some((String::from_utf8(name.to_ascii_lowercase()).ok()?, value.to_vec())))?
}

/// Without the spaces and tabs around it: a second CR before a line's end is no white space.
fn trimmed(value: &[u8]) -> &[u8] {
    let is_no_space = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let from = value.iter().position(is_no_space).unwrap_or(value.len());
    let to = value.iter().rposition(is_no_space).map_or(from, |last| last + 1);
    &value[from..to]
}

fn is_text(byte: &u8) -> bool {
    *byte == b'\t' || !byte.is_ascii_control()
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// A chunked body (RFC 9112 §7.1). Extensions and trailers are skipped, as long as they are text.
fn chunked(bytes: &[u8]) -> Body {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\r') else { return Body::Part };
        let (line, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix(b"\r\n") else {
            return if after.len() == 1 { Body::Part } else { Body::Broken };
        };
        let Some(size) = chunk_size(line) else { return Body::Broken };
        if size == 0 {
            return trailers(after).map_or_else(|broken| broken, |()| Body::Whole(body));
        }
        let Some(data) = after.get(..size) else { return Body::Part };
        body.extend_from_slice(data);
        match &after[size..] {
            [] | [b'\r'] => return Body::Part,
            [b'\r', b'\n', next @ ..] => rest = next,
            _ => return Body::Broken,
        }
    }
}

/// Looks for the empty line that ends the trailers; a CR in them ends a line or is none.
fn trailers(mut rest: &[u8]) -> Result<(), Body> {
    loop {
        let end = rest.iter().position(|byte| *byte == b'\r').ok_or(Body::Part)?;
        match &rest[end..] {
            [_] => return Err(Body::Part),
            _ if !rest[..end].iter().all(is_text) => return Err(Body::Broken),
            [_, b'\n', ..] if end == 0 => return Ok(()),
            [_, b'\n', next @ ..] => rest = next,
            _ => return Err(Body::Broken),
        }
    }
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let extension = rest.trim_ascii_start();
    if !extension.is_empty() && extension[0] != b';' || !rest.iter().all(is_text) {
        return None;
    }
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

impl Head {
    /// The values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_slice()).collect()
    }

    /// True if a field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    fn body_in(&self, rest: &[u8]) -> Body {
        match (self.values("content-length").as_slice(), self.values("transfer-encoding").as_slice()) {
            ([], []) => Body::Whole(Vec::new()),
            ([length], []) if length.iter().all(u8::is_ascii_digit) => {
                let length = std::str::from_utf8(length).ok().and_then(|length| length.parse::<usize>().ok());
                let Some(length) = length else { return Body::Broken };
                rest.get(..length).map_or(Body::Part, |body| Body::Whole(body.to_vec()))
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => chunked(rest),
            _ => Body::Broken,
        }
    }

    /// The target as a server behind the gateway gets it: in origin form.
    pub(crate) fn sent_target(&self) -> String {
        let target = String::from_utf8_lossy(&self.target).into_owned();
        let absolute = target.split_once("://").filter(|_| !target.starts_with('/'));
        let Some((_, after)) = absolute else { return target };
        match after.split_at_checked(after.find(['/', '?']).unwrap_or(after.len())) {
            Some((_, path)) if path.starts_with('/') => path.to_owned(),
            Some((_, query)) => format!("/{query}"),
            None => "/".to_owned(),
        }
    }

    /// The fields that are the client's to say, each name's in their order.
    pub(crate) fn sent_fields(&self) -> Vec<(String, Vec<u8>)> {
        let connection = self.values("connection").join(&b","[..]);
        let named: Vec<_> = connection
            .split(|byte| *byte == b',')
            .map(|name| String::from_utf8_lossy(&name.trim_ascii().to_ascii_lowercase()).into_owned())
            .filter(|name| name != "content-type")
            .collect();
        let is_sent = |name: &String| !NOT_PASSED.contains(&name.as_str()) && !named.contains(name);
        let mut fields: Vec<_> = self.fields.iter().filter(|(name, _)| is_sent(name)).cloned().collect();
        fields.sort_by(|left, right| left.0.cmp(&right.0));
        fields
    }
}
