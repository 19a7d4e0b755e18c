//! The house rules that no compiler checks: who may import whom, what may stand where, how long a file may be.
//!
//! - `rules` holds them as tables: a new edge or exception is one visible line there, with its reason.
//! - `source` reads a file: which part is test code, and what a line says without its strings and comments.
//! - `style` reads the console's style sheet.
//! - `checks` applies the one to the other. Each check is a pure function over files, tested below with planted
//!   violations, so that a rule that never fires is noticed.

use std::fs;
use std::path::Path;

mod checks;
mod rules;
mod source;
mod style;

use checks::{crates, problems};
use source::SourceFile;

/// Every Rust file below `src` and `tests`, the folders that hold the project's own code.
fn tree() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        collect(root, &root.join(folder), &mut files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder of the tree") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("below the root").to_str().expect("a plain name");
            files.push(SourceFile::new(name, &fs::read_to_string(&path).expect("a readable file")));
        }
    }
}

#[test]
fn the_tree_is_tidy() {
    let files = tree();
    assert!(files.len() > 20, "only {} files found", files.len());
    let found = problems(&files);
    assert!(found.is_empty(), "{} problems:\n{}\n", found.len(), found.join("\n"));
}

#[test]
fn lock_files_name_no_addresses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for lock in [
        "tests/clients/python/requirements.txt",
        "tests/clients/schema/requirements.txt",
        "tests/clients/node/package-lock.json",
        "tests/browser/package-lock.json",
    ] {
        let text = fs::read_to_string(root.join(lock)).expect("the lock file");
        assert!(!text.contains("://"), "{lock} names an address");
        assert!(text.contains("sha256:") || text.contains("sha512-"), "{lock} carries no hashes");
    }
}

/// `make test` builds no fuzzer, so that a crate they lack would show only when somebody runs them.
#[test]
fn the_fuzzers_link_what_their_layers_use() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a file of the tree");
    let linked = |path: &str| -> Vec<String> {
        let text = read(path);
        let (_, dependencies) = text.split_once("[dependencies]\n").expect("dependencies");
        let names = dependencies.lines().take_while(|line| !line.starts_with('['));
        names.filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_"))).collect()
    };
    let (all, fuzzers) = (linked("Cargo.toml"), linked("fuzz/Cargo.toml"));
    let layers = read("fuzz/src/lib.rs");
    let is_fuzzed = |file: &SourceFile| {
        file.module().is_some_and(|module| layers.contains(&format!("    pub mod {module};\n")))
    };
    let (mut looked_at, mut missing) = (0, Vec::new());
    for file in tree().iter().filter(|file| is_fuzzed(file)) {
        looked_at += 1;
        for name in file.product().flat_map(|(_, code)| crates(code)) {
            let is_linked = fuzzers.iter().any(|linked| linked == name);
            if all.iter().any(|linked| linked == name) && !is_linked {
                missing.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert!(looked_at > 20, "only {looked_at} files");
    assert_eq!(missing, Vec::<String>::new(), "not in fuzz/Cargo.toml");
}

/// The problems of one file on its own, without the rule that each file is declared by its parent.
fn planted(path: &str, text: &str) -> Vec<String> {
    checks::file_problems(&SourceFile::new(path, text))
}

#[track_caller]
fn refused(path: &str, text: &str, rule: &str) {
    let found = planted(path, text);
    assert!(found.iter().any(|problem| problem.contains(rule)), "{rule:?} not in {found:?}");
}

#[track_caller]
fn accepted(path: &str, text: &str) {
    assert_eq!(planted(path, text), Vec::<String>::new());
}

#[test]
fn imports_go_downward() {
    accepted("src/limits/bucket.rs", "//! D.\nuse crate::clock::Now;\n");
    accepted("src/limits/bucket.rs", "//! D.\nuse crate::limits::plan::Plan;\n");
    accepted("src/proxy/admit.rs", "//! D.\nuse crate::runtime::live::Live;\n");
    refused("src/limits/bucket.rs", "//! D.\nuse crate::proxy::ctx::Ctx;\n", "limits may not import proxy");
    refused("src/clock.rs", "//! D.\nfn f() { crate::limits::x(); }\n", "clock may not import limits");
    refused(
        "src/telemetry.rs",
        "//! D.\nuse crate::runtime::live::Live;\n",
        "telemetry may not import runtime",
    );
    refused("src/proxy.rs", "//! D.\nuse crate::admin::x;\n", "proxy may not import admin");
    refused("src/server.rs", "//! D.\nuse crate::cli::x;\n", "server may not import cli");
}

#[test]
fn siblings_import_only_what_the_table_says() {
    accepted("src/cache/key.rs", "//! D.\nuse crate::llm::canonical::Hash;\n");
    accepted("src/usage/record.rs", "//! D.\nuse crate::llm::usage::Tokens;\n");
    accepted("src/routing/route.rs", "//! D.\nuse crate::cache::policy::Policy;\n");
    refused("src/llm/sse.rs", "//! D.\nuse crate::cache::key::Key;\n", "llm may not import cache");
    accepted("src/auth/key_record.rs", "//! D.\nuse crate::limits::plan::Plan;\n");
    refused("src/limits/plan.rs", "//! D.\nuse crate::auth::key::Key;\n", "limits may not import auth");
}

#[test]
fn imports_are_written_so_that_they_can_be_read() {
    refused("src/proxy.rs", "//! D.\nuse crate::{clock::Now, ids::KeyId};\n", "one path an import");
    refused("src/limits/bucket.rs", "//! D.\nuse super::super::proxy::Ctx;\n", "super::super");
    refused("src/limits.rs", "//! D.\nuse super::proxy::Ctx;\n", "super in a top-level file");
    refused("src/newcomer.rs", "//! D.\n", "not in the table of layers");
    refused(
        "src/proxy.rs",
        "//! D.\nuse crate::newcomer::Thing;\n",
        "newcomer is not in the table of layers",
    );
}

#[test]
fn edges_in_tests_strings_and_comments_do_not_count() {
    accepted("src/clock.rs", "//! See crate::proxy.\n");
    accepted("src/clock.rs", "//! D.\n/// Like crate::proxy.\nfn f() -> &'static str { \"crate::proxy\" }\n");
    accepted("src/clock.rs", "//! D.\nconst A: &str = r#\"use crate::proxy; \"quoted\" \"#;\n");
    accepted("src/clock.rs", "//! D.\n#[cfg(test)]\nmod tests {\n    use crate::proxy::x;\n}\n");
    refused(
        "src/clock.rs",
        "//! D.\nconst Q: char = '\"'; use crate::proxy::x;\n",
        "clock may not import proxy",
    );
    refused(
        "src/clock.rs",
        "//! D.\nfn f<'a>(_: &'a str) { crate::proxy::x(\"a\"); }\n",
        "may not import proxy",
    );
}

#[test]
fn crates_stay_in_their_places() {
    accepted("src/proxy/fetch.rs", "//! D.\nuse pingora::proxy::Session;\n");
    accepted("src/server.rs", "//! D.\nuse pingora::server::Server;\n");
    accepted("src/demo/chat.rs", "//! D.\nuse axum::Json;\n");
    refused("src/runtime/live.rs", "//! D.\nuse pingora::proxy::Session;\n", "pingora");
    refused("src/runtime/live.rs", "//! D.\nuse pingora_core::Error;\n", "pingora");
    refused("src/proxy.rs", "//! D.\nuse axum::Json;\n", "axum");
    refused("src/runtime/live.rs", "//! D.\nuse sqlx::Row;\n", "sqlx");
    refused("src/config/build.rs", "//! D.\nuse saphyr_parser::Parser;\n", "saphyr_parser");
    refused("src/runtime/live.rs", "//! D.\nuse prometheus::IntCounter;\n", "prometheus");
    accepted("src/proxy/ctx.rs", "//! D.\nuse prometheus::IntCounter;\n");
    accepted("src/telemetry/metrics.rs", "//! D.\nuse prometheus::IntCounter;\n");
    refused("src/proxy/finish.rs", "//! D.\nuse anyhow::Context;\n", "anyhow");
}

#[test]
fn the_pure_layer_is_pure() {
    for (line, rule) in [
        ("#[derive(Debug, Serialize)]", "serde derive"),
        ("#[derive(serde::Deserialize)]", "serde derive"),
        ("use tokio::sync::Mutex;", "tokio"),
        ("fn f() { tracing::info!(\"x\"); }", "tracing"),
        ("use prometheus::IntCounter;", "prometheus"),
    ] {
        refused("src/upstream/pool.rs", &format!("//! D.\n{line}\n"), rule);
    }
    accepted("src/config/raw.rs", "//! D.\n#[derive(Debug, Deserialize)]\nstruct A;\n");
    accepted("src/upstream/pool.rs", "//! D.\nfn tokio_is_not_here() {}\n");
}

#[test]
fn hidden_inputs_have_one_door_each() {
    for (line, rule) in [
        ("fn f() { Instant::now(); }", "Instant::now"),
        ("fn f() { std::time::SystemTime::now(); }", "SystemTime::now"),
        ("fn f() { jiff::Timestamp::now(); }", "Timestamp::now"),
        ("use prometheus::Registry;", "prometheus::Registry"),
        ("fn f() { registry.register(Box::new(counter)); }", ".register("),
        ("fn f() { IntCounter::with_opts(Opts::new(a, b)); }", "Opts::new"),
        ("use std::env;", "std::env"),
        ("fn f() { std::env::var(\"A\"); }", "std::env"),
    ] {
        refused("src/proxy/admit.rs", &format!("//! D.\n{line}\n"), rule);
    }
    accepted("src/clock.rs", "//! D.\nfn f() { Instant::now(); }\n");
    accepted("src/cli/serve.rs", "//! D.\nuse std::env;\n");
}

#[test]
fn tests_are_honest() {
    refused("tests/it/a.rs", "//! D.\n#[ignore]\n#[test]\nfn f() {}\n", "ignore");
    refused("tests/it/a.rs", "//! D.\n#[should_panic(expected = \"x\")]\nfn f() {}\n", "should_panic");
    refused("tests/it/a.rs", "//! D.\nfn f() { std::thread::sleep(x); }\n", "sleep");
    refused("tests/it/a.rs", "//! D.\nasync fn f() { tokio::time::sleep(x).await; }\n", "sleep");
    let inline = "//! D.\n#[cfg(test)]\nmod tests {\n    async fn f() { sleep(x).await; }\n}\n";
    refused("src/proxy.rs", inline, "src/proxy.rs:4: no sleep in a test");
    refused("src/cache/tests.rs", "//! D.\nasync fn f() { sleep(x).await; }\n", "sleep");
    accepted("src/proxy.rs", "//! D.\nasync fn f() { tokio::time::sleep(x).await; }\n");
}

#[test]
fn nothing_is_left_for_later() {
    for word in ["TODO", "FIXME", "XXX"] {
        refused("src/proxy.rs", &format!("//! D.\n// {word} more\n"), word);
    }
    refused("src/proxy.rs", "//! D.\nfn f() { todo!() }\n", "todo!");
    refused("src/proxy.rs", "//! D.\nfn f() { unimplemented!() }\n", "unimplemented!");
    refused("src/proxy.rs", "//! D.\n    // let a = 1;\n", "commented-out");
    refused("src/proxy.rs", "//! D.\n// if a {\n", "commented-out");
    accepted("src/proxy.rs", "//! D.\n// A sentence that ends.\n/// `let a = 1;`\n");
}

#[test]
fn modules_have_one_face() {
    refused("src/proxy/mod.rs", "//! D.\n", "mod.rs");
    refused("src/proxy.rs", "//! D.\npub use crate::clock::Now;\n", "pub use");
    refused("src/proxy.rs", "//! D.\npub(crate) use crate::clock::Now;\n", "pub use");
    refused("src/proxy.rs", "//! D.\nuse crate::clock::*;\n", "glob");
    refused("src/proxy.rs", "//! D.\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n", "glob");
    refused("src/proxy.rs", "fn f() {}\n", "src/proxy.rs:1: the first line says what the file is for");
    refused("src/proxy.rs", "//!\nfn f() {}\n", "the first line");
}

#[test]
fn files_stay_short() {
    let long = format!("//! D.\n{}", "fn f() {}\n".repeat(400));
    refused("src/proxy.rs", &long, "401 lines");
    accepted("src/proxy.rs", &format!("//! D.\n{}", "fn f() {}\n".repeat(399)));
    let tested = format!("//! D.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn f() {}\n".repeat(500));
    accepted("src/proxy.rs", &tested);
}

#[test]
fn every_file_is_compiled() {
    let lib = SourceFile::new("src/lib.rs", "//! D.\npub mod proxy;\n");
    let proxy = SourceFile::new("src/proxy.rs", "//! D.\nmod admit;\n");
    let admit = SourceFile::new("src/proxy/admit.rs", "//! D.\n");
    let lost = SourceFile::new("src/proxy/lost.rs", "//! D.\n");
    let main = SourceFile::new("tests/it/main.rs", "//! D.\n");
    let area = SourceFile::new("tests/it/area.rs", "//! D.\n");
    assert_eq!(problems(&[lib, proxy, admit]), Vec::<String>::new());
    let found = problems(&[SourceFile::new("src/lib.rs", "//! D.\n"), lost, main, area]);
    for path in ["src/proxy/lost.rs", "tests/it/area.rs"] {
        assert!(found.iter().any(|problem| problem.starts_with(path)), "{path} in {found:?}");
    }
}

#[test]
fn the_style_names_every_colour_and_every_length() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets/console.css");
    let problems = style::problems(&fs::read_to_string(path).expect("the style"));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    for (css, problem) in [
        ("a { margin: 4px; }", "4px is a length"),
        ("a { margin: 0 -1.5rem }", "-1.5rem is a length"),
        ("a { width: calc(100% - 2em); }", "2em is a length"),
        ("a { color: #fff; }", "# is a colour"),
        ("@media (min-width: 40rem) { a { color: rgb(0 0 0); } }", "rgb( is a colour"),
        ("a { border-color: white; }", "white is a colour"),
        ("a { font-weight: 600; }", "600 has no name"),
        (":root { --a: 1px; } b { line-height: 1.5; }", "1.5 has no name"),
    ] {
        let found = style::problems(css);
        assert!(found.len() == 1 && found[0].contains(problem), "{css}: {found:?}");
    }
    for css in [
        ":root { --a: 4px; --b: #fff; }",
        "@media (min-width: 40rem) { :root { --a: 4px; } }",
        "a { margin: 0 var(--space-4px); flex: 1 1 auto; white-space: nowrap; /* 4px */ }",
    ] {
        assert_eq!(style::problems(css), Vec::<String>::new(), "{css}");
    }
}
