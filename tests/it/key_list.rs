//! The key list: both forms, every rule broken once, and its speed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use safecache::auth::key::{Environment, KeyEntry};
use safecache::clock::UnixTime;
use safecache::config::key_list::{self, Known};
use safecache::config::problem::Report;
use safecache::config::{self, Config};

fn configuration() -> Config {
    let text = format!(
        "keys: [{{id: inline, account: acme, plan: free, sha256: '{:064x}'}}]\n",
        0xF00D_0000_0000_u64
    );
    config::parse(&text, "gateway.yaml", &BTreeMap::new(), Path::new("")).unwrap()
}

fn read(file: &str, text: &str) -> Result<Vec<KeyEntry>, Report> {
    let config = configuration();
    key_list::parse(Path::new(file), text.as_bytes(), Known::of(&config))
}

/// The reports on all of these lists, one after the other.
#[track_caller]
fn check<const N: usize>(file: &str, texts: [String; N], expected: &Expect) {
    let reports = texts.map(|text| read(file, &text).expect_err("accepted"));
    for problem in reports.iter().flat_map(Report::problems) {
        assert!(problem.line > 0 && problem.column > 0 && !problem.hint.is_empty(), "{problem:?}");
    }
    expected.assert_eq(&reports.map(|report| report.to_string()).concat());
}

const FULL: &str = "keys:
  - id: acme-prod
    account: acme
    plan: pro
    sha256: 717A05f462712c3f780509a9797c12894747fcb4066c1e94f480b39bfce40b9d
    name: production backend
    environment: production
    expires_at: 2027-01-01T01:00:00+01:00
    allowed_ips: [10.0.0.0/8, '2001:db8::/32', '::ffff:192.0.2.1']
    allowed_models: ['gpt-4o*']
    disabled: true
";

fn line(n: usize) -> String {
    format!(
        "{{\"id\":\"k{n}\",\"account\":\"a{}\",\"plan\":\"free\",\"sha256\":\"{n:064x}\",\"name\":\"key {n}\",\"environment\":\"production\"}}\n",
        n / 10
    )
}

#[test]
fn every_member_is_read() {
    let keys = read("keys.yaml", FULL).unwrap_or_else(|report| panic!("{report}"));
    let [key] = keys.as_slice() else { panic!("{} keys", keys.len()) };
    assert_eq!(("acme-prod", "acme", "pro"), (key.id.as_str(), key.account.as_str(), key.plan.as_str()));
    assert_eq!([0x71, 0x7a, 0x05], key.digest[..3]);
    let options = &key.options;
    assert_eq!(Some("production backend"), options.name.as_deref());
    assert_eq!(Some(Environment::Production), options.environment);
    assert_eq!(Some(UnixTime::from_secs(1_798_761_600)), options.expires_at);
    let networks: Vec<String> = options.allowed_ips.iter().map(ToString::to_string).collect();
    assert_eq!(vec!["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"], networks);
    assert_eq!(1, options.allowed_models.len());
    assert!(options.disabled);
}

#[test]
fn both_forms_mean_the_same() {
    let json = "{\"id\":\"acme-prod\",\"account\":\"acme\",\"plan\":\"pro\",\"sha256\":\
        \"717a05f462712c3f780509a9797c12894747fcb4066c1e94f480b39bfce40b9d\",\"name\":\"production backend\",\
        \"environment\":\"production\",\"expires_at\":\"2027-01-01T00:00:00Z\",\"allowed_ips\":[\"10.0.0.0/8\",\
        \"2001:db8::/32\",\"192.0.2.1\"],\"allowed_models\":[\"gpt-4o*\"],\"disabled\":true}\n";
    assert_eq!(read("keys.yaml", FULL).unwrap(), read("keys.jsonl", json).unwrap());
}

#[test]
fn a_byte_order_mark_is_no_part_of_either_form() {
    for (file, text) in [("keys.yaml", FULL.to_owned()), ("keys.jsonl", line(1))] {
        assert_eq!(read(file, &text).unwrap(), read(file, &format!("\u{feff}{text}")).unwrap(), "{file}");
        assert!(read(file, &format!("{text}\u{feff}{text}")).is_err(), "{file}");
        assert!(read(file, "\u{feff}").is_err(), "{file}");
    }
}

#[test]
fn a_problem_of_a_line_stands_at_the_member() {
    let hash = format!("{:064x}", 1);
    let good = format!("{{\"id\":\"é\", \"account\":\"b\", \"plan\":\"free\", \"sha256\":\"{hash}\"}}\n");
    let report = read("keys.jsonl", &good.replace("\"free\"", "7")).unwrap_err();
    let at: Vec<_> = report.problems().iter().map(|p| (p.path.as_str(), p.line, p.column)).collect();
    assert_eq!(at, [("id", 1, 2), ("plan", 1, 27)]);
}

/// One good key, and one mistake after the other in it.
#[test]
fn each_rule_of_a_key() {
    let hash = format!("{:064x}", 1);
    let good = format!("id: a, account: b, plan: free, sha256: '{hash}'");
    let changed = |from: &str, to: &str| good.replace(from, to);
    let longer = |more: &str| format!("{good}, {more}");
    let keys = [
        "name: x".to_owned(),
        changed("id: a", "id: 'a b'"),
        changed("id: a", "id: 12"),
        changed("id: a", &format!("id: {}", "x".repeat(129))),
        changed("id: a", "id: inline"),
        changed("account: b", "account: acct_b"),
        changed("account: b", "account: ''"),
        changed("plan: free", "plan: gold"),
        changed("plan: free", "plan: fre"),
        changed(&hash, &"0".repeat(63)),
        changed(&hash, &format!("{:064x}", 0xF00D_0000_0000_u64)),
        changed(&hash, "sk-sc-a-key-itself-instead-of-its-hash"),
        longer("name: ''"),
        longer("environment: prod"),
        longer("expires_at: 2027-01-01"),
        longer("expires_at: '1969-01-01T00:00:00Z'"),
        longer("allowed_ips: [10.0.0.0/40]"),
        longer("allowed_ips: 10.0.0.0/8"),
        longer("allowed_models: ['']"),
        longer("disabled: yes"),
        longer("allowed_model: x"),
        longer("id: c"),
        format!("{good}}}\n  - {{{good}"),
    ];
    check(
        "keys.yaml",
        keys.map(|members| format!("keys:\n  - {{{members}}}\n")),
        &expect![[r#"
            keys.yaml:2:5: keys[0].account: is missing (hint: the owner, such as acme)
            keys.yaml:2:5: keys[0].id: is missing (hint: a name of your choice, such as acme-prod)
            keys.yaml:2:5: keys[0].plan: is missing (hint: a plan's name, such as free)
            keys.yaml:2:5: keys[0].sha256: is missing (hint: the line that `safecache hash-key` prints)
            keys.yaml:2:10: keys[0].id: must be 1 to 128 visible ASCII characters without spaces (hint: such as acme-prod)
            keys.yaml:2:10: keys[0].id: expected text, found a number (hint: put it in quotes)
            keys.yaml:2:10: keys[0].id: must be 1 to 128 visible ASCII characters without spaces (hint: such as acme-prod)
            keys.yaml:2:10: keys[0].id: this id is taken: a key of the configuration has it (hint: every key needs its own)
            keys.yaml:2:22: keys[0].account: accounts that begin with `acct_` are made in the console (hint: choose another name)
            keys.yaml:2:22: keys[0].account: must be 1 to 128 visible ASCII characters without spaces (hint: such as acme-prod)
            keys.yaml:2:31: keys[0].plan: no plan is named `gold` (hint: defined are enterprise, free, pro)
            keys.yaml:2:31: keys[0].plan: no plan is named `fre` (hint: did you mean `free`?)
            keys.yaml:2:45: keys[0].sha256: must be 64 hexadecimal digits (hint: the line that `safecache hash-key` prints)
            keys.yaml:2:45: keys[0].sha256: this sha256 is taken: a key of the configuration has it (hint: every key needs its own)
            keys.yaml:2:45: keys[0].sha256: must be 64 hexadecimal digits (hint: the line that `safecache hash-key` prints)
            keys.yaml:2:119: keys[0].name: must be 1 to 128 bytes without control characters (hint: such as production backend)
            keys.yaml:2:126: keys[0].environment: unknown value `prod` (hint: allowed are development, staging, production)
            keys.yaml:2:125: keys[0].expires_at: must be a time in RFC 3339 form, 1970 to 2554 (hint: such as 2027-01-01T00:00:00Z)
            keys.yaml:2:125: keys[0].expires_at: must be a time in RFC 3339 form, 1970 to 2554 (hint: such as 2027-01-01T00:00:00Z)
            keys.yaml:2:127: keys[0].allowed_ips[0]: expected an address or a network such as 10.0.0.0/8 or 2001:db8::/32, found `10.0.0.0/40` (hint: the prefix of IPv4 is at most 32, of IPv6 at most 128)
            keys.yaml:2:126: keys[0].allowed_ips: expected a list, found text (hint: write it between [ and ])
            keys.yaml:2:130: keys[0].allowed_models[0]: must be 1 to 256 bytes (hint: such as gpt-4o*)
            keys.yaml:2:123: keys[0].disabled: expected true or false, found `yes` (hint: one of these words, without quotes)
            keys.yaml:2:113: keys[0].allowed_model: unknown key `allowed_model` (hint: did you mean `allowed_models`?)
            keys.yaml:2:113: keys[0].id: the key `id` is written twice (hint: remove one of them)
            keys.yaml:3:10: keys[1].id: this id is taken: the key of line 2 has it (hint: every key needs its own)
            keys.yaml:3:45: keys[1].sha256: this sha256 is taken: the key of line 2 has it (hint: every key needs its own)
        "#]],
    );
}

#[test]
fn each_rule_of_a_list() {
    let lists = ["", "keys: []\n", "keys:\n", "keys: x\n", "- id: a\n", "other: 1\n", "keys: [\n"];
    check(
        "keys.yaml",
        lists.map(str::to_owned),
        &expect![[r#"
            keys.yaml:1:1: the key list is empty (hint: a list without keys would lock everyone out)
            keys.yaml:1:7: keys: the key list is empty (hint: a list without keys would lock everyone out)
            keys.yaml:1:5: keys: expected a list of keys, found nothing (hint: write `keys:` and a list below it)
            keys.yaml:1:7: keys: expected a list of keys, found `x` (hint: write `keys:` and a list below it)
            keys.yaml:1:1: expected a mapping with `keys`, found a list (hint: write `keys:` and a list below it)
            keys.yaml:1:1: keys: is missing (hint: write `keys:` and a list below it)
            keys.yaml:1:1: other: unknown key `other` (hint: a key list holds `keys` alone)
            keys.yaml:2:1: not YAML: while parsing a node, did not find expected node content (hint: indent with spaces alone; quote a text with `: ` or ` #` in it, or that begins with a sign)
        "#]],
    );
    let config = configuration();
    let report = key_list::parse(Path::new("keys.yaml"), b"keys: \xff", Known::of(&config)).unwrap_err();
    assert_eq!("keys.yaml: the file is not UTF-8 text (hint: save it as UTF-8)\n", report.to_string());
}

#[test]
fn each_rule_of_a_line() {
    let lists = [
        String::new(),
        "\n".to_owned(),
        line(1).trim_end().to_owned(),
        format!("{}{}", line(1), line(1)),
        line(1).replace("{\"id\"", "{\"id\":\"x\",\"id\""),
        "{\"id\": }\n".to_owned(),
        "{\"id\": \"a\"\n".to_owned(),
        "[]\n".to_owned(),
        format!("{}{}", line(1), line(2).replace("free", "gold")),
        format!("{}x\n", line(1).trim_end()),
    ];
    check(
        "keys.jsonl",
        lists,
        &expect![[r#"
            keys.jsonl:1:1: the key list is empty (hint: a list without keys would lock everyone out)
            keys.jsonl:1:1: not JSON: the line ends too early (hint: one object a line)
            keys.jsonl:1:159: the last line has no newline (hint: the file may not have been written to its end)
            keys.jsonl:2:2: id: this id is taken: the key of line 1 has it (hint: every key needs its own)
            keys.jsonl:2:41: sha256: this sha256 is taken: the key of line 1 has it (hint: every key needs its own)
            keys.jsonl:1:14: a member is written twice, or there are more than any key has (hint: one object a line)
            keys.jsonl:1:8: not JSON (hint: one object a line)
            keys.jsonl:1:10: not JSON: the line ends too early (hint: one object a line)
            keys.jsonl:1:1: expected a mapping, found a list (hint: write `key: value` lines below it)
            keys.jsonl:2:27: plan: no plan is named `gold` (hint: defined are enterprise, free, pro)
            keys.jsonl:1:159: not JSON (hint: one object a line)
        "#]],
    );
}

#[test]
fn a_hundred_problems_are_named_and_the_others_counted() {
    let text: String = (0..250).map(|n| line(n).replace("free", "gold")).collect();
    let report = read("keys.jsonl", &text).unwrap_err();
    assert_eq!((100, 150), (report.problems().len(), report.unlisted()));
    assert!(report.to_string().ends_with("and 150 more\n"));
}

/// Long lists must be read within the second in which a change goes live. The bounds are several times what is
/// measured, so that a busy machine does not fail them; a reader that is quadratic does.
#[test]
fn long_lists_are_read_in_time() {
    let mut yaml = "keys:\n".to_owned();
    for n in 0..10_000 {
        write!(
            yaml,
            "  - id: k{n}\n    account: a{}\n    plan: free\n    sha256: \"{n:064x}\"\n    name: key {n}\n    allowed_ips: [10.0.0.0/8]\n",
            n / 10
        )
        .unwrap();
    }
    let lines: String = (0..100_000).map(line).collect();
    let config = configuration();
    for (file, text, count, bound) in
        [("keys.yaml", yaml, 10_000, 1500), ("keys.jsonl", lines, 100_000, 3000)]
    {
        let before = clock();
        let keys = key_list::parse(Path::new(file), text.as_bytes(), Known::of(&config)).unwrap();
        let took = before.elapsed();
        println!("{file}: {count} keys in {took:?}");
        assert_eq!(count, keys.len());
        assert!(took < Duration::from_millis(bound), "{file}: {took:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "this test measures")]
fn clock() -> Instant {
    Instant::now()
}

/// The members of a key, most of them right, in any order.
fn members() -> impl Strategy<Value = String> {
    let one = |name: &'static str, right: &'static [&'static str], wrong: &'static [&'static str]| {
        let value = prop_oneof![12 => prop::sample::select(right), 1 => prop::sample::select(wrong)];
        value.prop_map(move |value| format!("\"{name}\":{value}"))
    };
    let hash = "[0-9a-fA-F]{64}|[0-9a-g]{63,65}".prop_map(|hash| format!("\"sha256\":\"{hash}\""));
    let needed = (
        one("id", &["\"ID1\"", "\"ID2\"", "\"ID3\""], &["\"ID \"", "null"]),
        one("account", &["\"a\"", "\"b\""], &["\"acct_1\"", "\"\""]),
        one("plan", &["\"free\"", "\"pro\""], &["\"gold\"", "7"]),
        hash,
    );
    let more = (
        prop::option::of(one("name", &["\"x y\""], &["\"\"", "null", "\"\\n\""])),
        prop::option::of(one("environment", &["\"staging\""], &["\"test\"", "null"])),
        prop::option::of(one("expires_at", &["\"2027-01-01T00:00:00Z\""], &["\"2027\"", "null"])),
        prop::option::of(one("disabled", &["true", "false"], &["\"no\"", "null", "1"])),
        prop::option::of(one("allowed_ips", &["[\"10.0.0.0/8\"]", "[]"], &["null"])),
    );
    (needed, more)
        .prop_map(|((id, account, plan, hash), (name, environment, expires_at, disabled, ips))| {
            let optional = [name, environment, expires_at, disabled, ips];
            [id, account, plan, hash].into_iter().chain(optional.into_iter().flatten()).collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(|members| members.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However a line is read, in the way of most lines or in that of unusual ones, as an escaped character makes it.
    #[test]
    fn usual_and_unusual_lines_mean_the_same(lines in prop::collection::vec(members(), 1..4)) {
        let text = |id: &str| -> String { lines.iter().map(|line| format!("{{{}}}\n", line.replace("ID", id))).collect() };
        let (usual, unusual) = (read("keys.jsonl", &text("k")), read("keys.jsonl", &text("\\u006b")));
        match (usual, unusual) {
            (Ok(usual), Ok(unusual)) => prop_assert_eq!(usual, unusual),
            (Err(usual), Err(unusual)) => {
                let paths = |report: &Report| report.problems().iter().map(|p| p.path.clone()).collect::<Vec<_>>();
                prop_assert_eq!(paths(&usual), paths(&unusual));
            }
            (usual, unusual) => prop_assert!(false, "{usual:?} {unusual:?}"),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|(\\{\"[a-z]{2}\":[\\[\\]\\{\\}\"a-z0-9,:.]*\\}?\n){0,5}") {
        let _ = read("keys.yaml", &text);
        let _ = read("keys.jsonl", &text);
    }
}
