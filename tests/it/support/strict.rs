//! A reader of requests that takes nothing but the strictest form of RFC 9112, and no framing in two ways.

/// A request that came whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// `METHOD TARGET`.
    pub(crate) line: String,
    /// The body, without framing.
    pub(crate) body: Vec<u8>,
}

/// The requests that `bytes` begins with, and how many bytes they are; what is left is the beginning of another.
///
/// # Errors
/// What of it is not in the strictest form.
pub(crate) fn requests(bytes: &[u8]) -> Result<(Vec<Whole>, usize), String> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some((whole, length)) = request(&bytes[at..])? {
        all.push(whole);
        at += length;
    }
    Ok((all, at))
}

fn request(bytes: &[u8]) -> Result<Option<(Whole, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = request_line(lines.next().unwrap_or_default())?;
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let values = |name: &str| {
        fields.iter().filter(|(key, _)| key == name).map(|(_, value)| *value).collect::<Vec<_>>()
    };
    let framing = (values("host").len(), values("content-length"), values("transfer-encoding"));
    let start = end + 4;
    let body = match (framing.0, framing.1.as_slice(), framing.2.as_slice()) {
        (1, [], []) => Some((Vec::new(), 0)),
        (1, [length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().map_err(|_| format!("a length: {head:?}"))?;
            bytes[start..].get(..length).map(|body| (body.to_vec(), length))
        }
        (1, [], ["chunked"]) => chunked(&bytes[start..])?,
        _ => return Err(format!("a framing in two ways, or hosts: {head:?}")),
    };
    Ok(body.map(|(body, length)| (Whole { line, body }, start + length)))
}

fn request_line(line: &str) -> Result<String, String> {
    let parts: Vec<_> = line.split(' ').collect();
    match parts.as_slice() {
        [method, target, "HTTP/1.1"]
            if is_token(method) && target.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(format!("{method} {target}"))
        }
        _ => Err(format!("a request line: {line:?}")),
    }
}

fn field(line: &str) -> Result<(String, &str), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("a field: {line:?}"))?;
    // Bytes beyond ASCII are text (RFC 9110 §5.5), whatever they would be in UTF-8.
    let is_text = |character: char| character == '\t' || !character.is_ascii_control();
    if !is_token(name) || !value.chars().all(is_text) {
        return Err(format!("a field: {line:?}"));
    }
    Ok((name.to_lowercase(), value.trim_matches([' ', '\t'])))
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The body, and how many bytes it took; `None` if it is not all there.
fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&bytes[at..at + end]).into_owned();
        let is_size = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let length = usize::from_str_radix(&size, 16).ok().filter(|_| is_size);
        let length = length.ok_or_else(|| format!("a chunk size: {size:?}"))?;
        at += end + 2;
        let Some(data) = bytes.get(at..at + length + 2) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err(format!("a chunk without its end: {data:?}"));
        }
        body.extend_from_slice(&data[..length]);
        at += length + 2;
        if length == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[test]
fn it_takes_nothing_but_the_strictest_form() {
    let whole = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabPUT /b HTTP/1.1\r\nHost: h\r\n\
        Transfer-Encoding: chunked\r\n\r\n2\r\ncd\r\n0\r\n\r\n";
    let (all, length) = requests(whole).unwrap();
    let shown: Vec<_> = all.iter().map(|whole| (whole.line.as_str(), whole.body.as_slice())).collect();
    assert_eq!(shown, [("POST /a", &b"ab"[..]), ("PUT /b", b"cd")]);
    assert_eq!(length, whole.len());
    for cut in 1..whole.len() {
        let (all, length) = requests(&whole[..cut]).unwrap();
        assert!(all.len() < 2 && length <= cut, "{cut}");
    }
    for bad in [
        "GET /a HTTP/1.1\r\n\r\n",
        "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: h\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\n X: folded\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: +2\r\n\r\nab",
        "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: trailer\r\n\r\n",
    ] {
        assert!(requests(bad.as_bytes()).is_err(), "{bad:?}");
    }
}
