//! What ships beside the binary, and the commands that look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safecache::cli::hash_key;
use safecache::config::node::{Kind, Node};
use safecache::config::problem::Sink;
use safecache::config::{self, yaml};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_file_that_ships_passes_with_its_key_list() {
    let (config, listed) = config::check(&root().join("gateway.yaml"), &BTreeMap::new()).unwrap();
    assert_eq!(1, listed.len());
    assert!(listed[0].options.disabled);
    assert_eq!(1, config.routes.iter().count());
    assert!(config.admin.token.is_none());
    assert!(config.upstreams[0].authorization.is_none(), "a bare scheme sends no credentials");
}

/// What `gateway.yaml` shows as the defaults are the defaults.
#[test]
fn the_file_that_ships_holds_the_defaults() {
    let shipped = config::load(&root().join("gateway.yaml"), &BTreeMap::new()).unwrap();
    let bare = config::parse(
        "upstreams: {llm: {servers: [http://127.0.0.1:8000]}}\nroutes: [{path: /v1/*, upstream: llm, cache: {}}]\nkeys_file: keys.example.yaml",
        "bare",
        &BTreeMap::new(),
        root(),
    )
    .unwrap();
    let written = format!("{shipped:?}").replace("/./", "/");
    assert_eq!(format!("{bare:?}"), written);
}

#[test]
fn the_file_that_ships_shows_every_key_and_no_other() {
    let text = std::fs::read_to_string(root().join("gateway.yaml")).unwrap();
    let all: String = text
        .lines()
        .map(|line| if is_setting(line) { line.replacen('#', "", 1) + "\n" } else { line.to_owned() + "\n" })
        .collect();
    let sink = Sink::new("gateway.yaml");
    let tree = yaml::parse(&all, yaml::Document::Configuration, &sink);
    let report = sink.into_report();
    assert!(report.is_empty(), "with every setting uncommented:\n{report}");
    let mut shown = BTreeSet::new();
    paths_of_tree(&tree.unwrap(), "", &mut shown);

    let schema = schemars::schema_for!(config::raw::RawConfig);
    let schema = serde_json::to_value(&schema).unwrap();
    let mut known = BTreeSet::new();
    paths_of_schema(&schema, &schema, "", &mut known);
    // The file says "tls as above" there.
    known.retain(|path| !path.starts_with("admin.listen."));
    // Names of plans, prices and upstreams, and the elements of lists, stand as `*` in both.
    assert_eq!(known, shown);
    assert!(
        known.contains("routes.*.cache.max_temperature") && known.contains("upstreams.*.servers.*.weight")
    );
}

/// A `#` in the first column, and behind it not the one space of prose: a setting that can be taken into use.
fn is_setting(line: &str) -> bool {
    let Some(rest) = line.strip_prefix('#') else { return false };
    !rest.is_empty() && (!rest.starts_with(' ') || rest.starts_with("  "))
}

fn paths_of_tree(node: &Node<'_>, path: &str, paths: &mut BTreeSet<String>) {
    const NAMED: [&str; 3] = ["plans", "prices", "upstreams"];
    match &node.kind {
        Kind::Map(entries) => {
            for entry in entries {
                let key = if NAMED.contains(&path) { "*" } else { entry.key.as_ref() };
                let below = join(path, key);
                if key != "*" {
                    paths.insert(below.clone());
                }
                paths_of_tree(&entry.value, &below, paths);
            }
        }
        Kind::Seq(items) => items.iter().for_each(|item| paths_of_tree(item, &join(path, "*"), paths)),
        _ => {}
    }
}

fn paths_of_schema(schema: &Value, whole: &Value, path: &str, paths: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = whole.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        paths_of_schema(target, whole, path, paths);
    }
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        paths.insert(join(path, key));
        paths_of_schema(below, whole, &join(path, key), paths);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            // A listener stands alone or in a list; the paths below are the same.
            let below =
                if path == "listen" && inner == "items" { "listen.*".to_owned() } else { join(path, "*") };
            paths_of_schema(&schema[inner], whole, &below, paths);
        }
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        let is_single_listener = path == "listen" && choice["items"].is_null();
        if !is_single_listener {
            paths_of_schema(choice, whole, path, paths);
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[test]
fn hash_key_prints_the_line_of_the_key_list() {
    let hashed = |text: &str| {
        let mut out = Vec::new();
        hash_key::run(&mut text.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    // SHA-256 of the lower-case alphabet, as `sha256sum` prints it.
    let expected = "71c480df93d6ae2f1efad1447c66c9525e316218cf51fc8d9ed832f2daf18b73\n";
    for text in
        ["abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz\n", "abcdefghijklmnopqrstuvwxyz\r\n"]
    {
        assert_eq!(expected, hashed(text).unwrap());
    }
    for refused in ["", "nineteen-characters\n", "twenty characters and more", "two-newlines-at-its-end\n\n"]
    {
        assert!(hashed(refused).is_err(), "{refused:?}");
    }
    assert!(hashed(&"x".repeat(4097)).is_err());
}

#[test]
fn commands_end_with_their_exit_codes() {
    let run = |arguments: &[&str]| {
        let command = std::process::Command::new(env!("CARGO_BIN_EXE_safecache"))
            .args(arguments)
            .current_dir(root())
            .output()
            .unwrap();
        (
            command.status.code(),
            String::from_utf8(command.stdout).unwrap(),
            String::from_utf8(command.stderr).unwrap(),
        )
    };
    let (code, out, err) = run(&["check"]);
    assert_eq!(
        (Some(0), "gateway.yaml: ok (3 plans, 1 upstream, 1 route, 1 key)\n", ""),
        (code, &*out, &*err)
    );
    let (code, out, err) = run(&["check", "--config", "tests/data/config/bad/threads_negative.yaml"]);
    assert_eq!((Some(1), ""), (code, &*out));
    let line = "threads_negative.yaml:1:10: threads: expected a whole number from 0 to 4294967295, found `-1` (hint: digits alone, such as 8)\n";
    assert!(err.ends_with(line), "{err}");
    assert_eq!(1, err.lines().count(), "{err}");
    let (code, _, err) = run(&["check", "--config", "no-such.yaml"]);
    assert!(code == Some(1) && err.starts_with("no-such.yaml: the file cannot be read"), "{err}");
    assert_eq!(Some(2), run(&[]).0);
    assert_eq!(Some(2), run(&["chek"]).0);
    let (code, out, _) = run(&["schema"]);
    assert_eq!(Some(0), code);
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(false, schema["additionalProperties"]);
}
