//! The format case by case, and its bounds.

use super::{EventParser, KEPT_BUFFER, MAX_EVENT, Overlong};

/// The events of `stream`, each as its name, a colon and its data; `-` for no data.
fn events(stream: &[u8]) -> Vec<String> {
    let mut events = Vec::new();
    let mut parser = EventParser::default();
    parser
        .feed(stream, |event| {
            let data = event.data.map_or("-".into(), String::from_utf8_lossy);
            events.push(format!("{}:{data}", String::from_utf8_lossy(event.name)));
        })
        .expect("short events");
    events
}

#[track_caller]
fn check(stream: &str, expected: &[&str]) {
    assert_eq!(events(stream.as_bytes()), expected, "{stream:?}");
}

#[test]
fn fields_make_events() {
    check("data: a\n\n", &[":a"]);
    check("data:a\n\n", &[":a"]);
    check("data:  a \n\n", &[": a "]);
    check("data: a\ndata\ndata: b\n\n", &[":a\n\nb"]);
    check("data\n\n", &[":"]);
    check("data:\ndata:\n\n", &[":\n"]);
    check("event: x\ndata: a\n\ndata: b\n\n", &["x:a", ":b"]);
    check("data: a\nevent: x\nevent: y\n\n", &["y:a"]);
    check("event: x\nevent\ndata: a\n\n", &[":a"]);
    check("event: error\n\n", &["error:-"]);
}

#[test]
fn what_is_no_field_of_ours_makes_none() {
    check(": data: a\n\n", &[]);
    check("id: 1\nretry: 2\n\n", &[]);
    check("Data: a\ndatas: a\n data: a\ndat: a\n\n", &[]);
    check("id: 1\n: x\ndata: a\nretry: 2\nother\n\n", &[":a"]);
    check("\n\n\n", &[]);
}

#[test]
fn lines_end_in_three_ways() {
    for stream in ["data: a\r\ndata: b\r\n\r\n", "data: a\rdata: b\r\r", "data: a\rdata: b\n\r"] {
        check(stream, &[":a\nb"]);
    }
    check("data: a\n\r\ndata: b\r\n\n", &[":a", ":b"]);
    check("data: a\r\n\ndata: b\r\r\n", &[":a", ":b"]);
}

#[test]
fn only_the_first_byte_order_mark_is_none() {
    check("\u{feff}data: a\n\n", &[":a"]);
    check("\u{feff}\ndata: a\n\n", &[":a"]);
    check("\u{feff}\u{feff}data: a\n\n", &[]);
    check("\n\u{feff}data: a\n\n", &[]);
    check("data: \u{feff}\n\n", &[":\u{feff}"]);
}

#[test]
fn an_event_without_its_blank_line_is_none() {
    check("data: a", &[]);
    check("data: a\n", &[]);
    check("data: a\r\n", &[]);
}

/// What happens to a stream that is fed in pieces of `size`.
fn fed(stream: &[u8], size: usize) -> (Vec<usize>, Result<(), Overlong>) {
    let mut lengths = Vec::new();
    let mut parser = EventParser::default();
    let mut verdict = Ok(());
    for piece in stream.chunks(size) {
        verdict = parser.feed(piece, |event| lengths.push(event.data.unwrap_or_default().len()));
        let held = [&parser.line, &parser.name, &parser.data].map(Vec::capacity);
        assert!(held.iter().sum::<usize>() <= 4 * MAX_EVENT, "{held:?}");
    }
    (lengths, verdict)
}

#[test]
fn an_event_up_to_the_bound_is_read_and_a_longer_one_ends_the_reading() {
    let of_lines = |count: usize, length: usize| format!("data:{}\n", "x".repeat(length - 5)).repeat(count);
    let line = format!("data: 1\n\n{}\ndata: 2\n\n", of_lines(1, MAX_EVENT));
    let long_line = format!("data: 1\n\n{}\ndata: 2\n\n", of_lines(1, MAX_EVENT + 1));
    let comment = format!("data: 1\n\n:{}\n\ndata: 2\n\n", "x".repeat(MAX_EVENT));
    let unended = format!("data: 1\n\n{}", "x".repeat(3 * MAX_EVENT));
    let event = format!("data: 1\n\n{}\ndata: 2\n\n", of_lines(1040, 1024));
    let name = format!("data: 1\n\nevent:{}\ndata: 123456\n\n", "x".repeat(MAX_EVENT - 6));
    for size in [usize::MAX, 64 << 10, 1000] {
        assert_eq!(fed(line.as_bytes(), size), (vec![1, MAX_EVENT - 5, 1], Ok(())));
        for stream in [&long_line, &comment, &unended, &event, &name] {
            assert_eq!(fed(stream.as_bytes(), size), (vec![1], Err(Overlong)), "{size}");
        }
    }
}

#[test]
fn buffers_are_given_back_after_a_long_event() {
    let mut parser = EventParser::default();
    let stream = format!("event:{0}\ndata:{0}\n\n", "x".repeat(300 << 10));
    for piece in stream.as_bytes().chunks(1 << 10) {
        parser.feed(piece, |_| ()).expect("within the bound");
    }
    for buffer in [&parser.line, &parser.name, &parser.data] {
        assert!(buffer.capacity() <= KEPT_BUFFER, "{}", buffer.capacity());
    }
}
