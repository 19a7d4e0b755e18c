//! The rules applied to files. Each problem reads `file:line: what is wrong`.

use super::rules::{
    BANNED, DOORS, EXEMPT, FENCES, IMPURE, IMPURE_ALLOWED, LAYERS, MAX_LINES, PURE_LAYER, SIBLINGS, UNDONE,
};
use super::source::SourceFile;

/// Everything that is wrong with the tree.
pub(super) fn problems(files: &[SourceFile]) -> Vec<String> {
    files.iter().flat_map(|file| file_problems(file).into_iter().chain(lost(file, files))).collect()
}

/// Everything that is wrong with one file on its own.
pub(super) fn file_problems(file: &SourceFile) -> Vec<String> {
    let mut found = [shape(file), edges(file), fences(file), purity(file), doors(file)].concat();
    if !EXEMPT.contains(&file.path.as_str()) {
        found.extend([banned(file), sleeps(file), undone(file)].concat());
    }
    found
}

fn at(file: &SourceFile, line: usize, problem: &str) -> String {
    format!("{}:{line}: {problem}", file.path)
}

/// The first line, the name, and the length.
fn shape(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    let first = file.lines.first().map_or("", String::as_str);
    if first.strip_prefix("//! ").is_none_or(|doc| doc.trim().is_empty()) {
        found.push(at(file, 1, "the first line says what the file is for: `//! ...`"));
    }
    if file.path.ends_with("/mod.rs") {
        found.push(at(file, 1, "no mod.rs: a folder's file lies beside it"));
    }
    if file.tests_from > MAX_LINES {
        found.push(at(file, file.tests_from, &format!("{} lines, at most {MAX_LINES}", file.tests_from)));
    }
    found
}

/// What the file imports from the library, against the layers.
fn edges(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    let Some(module) = file.module() else { return found };
    if layer(module).is_none() {
        found.push(at(file, 1, &format!("{module} is not in the table of layers")));
    }
    let is_top_level = file.path == format!("src/{module}.rs");
    for (line, code) in file.product() {
        for rest in after(code, "crate::") {
            let target = word(rest);
            if target.is_empty() {
                found.push(at(file, line, "one path an import, written out from crate::"));
            } else if layer(target).is_none() {
                found.push(at(file, line, &format!("{target} is not in the table of layers")));
            } else if !may_import(module, target) {
                found.push(at(file, line, &format!("{module} may not import {target}")));
            }
        }
        if code.contains("super::super") {
            found.push(at(file, line, "super::super hides an edge: write crate::"));
        }
        if is_top_level && code.contains("super::") {
            found.push(at(file, line, "super in a top-level file hides an edge: write crate::"));
        }
    }
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn may_import(from: &str, to: &str) -> bool {
    let is_listed = SIBLINGS.iter().any(|(who, whom, _)| *who == from && *whom == to);
    from == to || layer(to) < layer(from) || is_listed
}

/// Crates outside their places.
fn fences(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    if !file.path.starts_with("src/") {
        return found;
    }
    for (line, code) in file.product() {
        for (name, _, reason) in FENCES {
            let allowed = FENCES.iter().filter(|(other, ..)| other == name).flat_map(|(_, paths, _)| *paths);
            if crates(code).any(|found| found.starts_with(name)) && !is_in(file, allowed) {
                found.push(at(file, line, &format!("{name} does not belong here: {reason}")));
                break;
            }
        }
    }
    found
}

/// Runtime, logs, metrics and serialisation in the pure layer.
fn purity(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    if file.module().and_then(layer) != Some(PURE_LAYER) {
        return found;
    }
    for (line, code) in file.product() {
        let derives =
            code.contains("derive(") && (code.contains("Serialize") || code.contains("Deserialize"));
        if derives {
            found.push(at(
                file,
                line,
                "no serde derive in the pure layer: config and proxy own the outer forms",
            ));
        }
        for name in IMPURE {
            let is_allowed = IMPURE_ALLOWED.iter().any(|(path, what, _)| *path == file.path && what == name);
            if crates(code).any(|found| found.starts_with(name)) && !is_allowed {
                found.push(at(file, line, &format!("no {name} in the pure layer")));
            }
        }
    }
    found
}

/// Clock and environment reads outside their files.
fn doors(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    if !file.path.starts_with("src/") {
        return found;
    }
    for (line, code) in file.product() {
        for (text, paths, instead) in DOORS {
            if code.contains(text) && !is_in(file, *paths) {
                found.push(at(file, line, &format!("no {text} here: {instead}")));
            }
        }
    }
    found
}

/// What no code says.
fn banned(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    for (line, code) in file.numbered_code() {
        for (text, reason) in BANNED {
            if code.contains(text) {
                found.push(at(file, line, &format!("no {text}: {reason}")));
            }
        }
        let code = code.trim();
        if code.starts_with("use ") && code.contains("::*") {
            found.push(at(file, line, "no glob import: name what is used"));
        }
    }
    found
}

/// Tests wait for events, not for time.
fn sleeps(file: &SourceFile) -> Vec<String> {
    let calls = file.tests().filter(|(_, code)| after(code, "sleep(").next().is_some());
    calls.map(|(line, _)| at(file, line, "no sleep in a test: wait for the event")).collect()
}

/// Notes to self, and code that was commented out.
fn undone(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(&file.lines) {
        for word in UNDONE.iter().filter(|word| text.contains(*word)) {
            found.push(at(file, line, &format!("{word}: open an issue or do it")));
        }
        let text = text.trim();
        let is_plain_comment = text.starts_with("//") && !text.starts_with("///") && !text.starts_with("//!");
        if is_plain_comment && text.ends_with([';', '{', '}']) {
            found.push(at(file, line, "commented-out code: delete it, the history keeps it"));
        }
    }
    found
}

/// A file that no parent declares is compiled, and tested, by nobody.
fn lost(file: &SourceFile, files: &[SourceFile]) -> Option<String> {
    let (folder, name) = file.path.rsplit_once('/')?;
    let name = name.trim_end_matches(".rs");
    let roots = ["src/lib.rs", "src/main.rs", "tests/it/main.rs", "tests/browser/clocked.rs"];
    let is_root = roots.contains(&file.path.as_str());
    let parent = match folder {
        "src" => "src/lib.rs".to_owned(),
        "tests/it" => "tests/it/main.rs".to_owned(),
        folder => format!("{folder}.rs"),
    };
    let declares = |line: &String| after(line, "mod ").any(|rest| rest == format!("{name};"));
    let is_declared = files.iter().any(|other| other.path == parent && other.code.iter().any(declares));
    (!is_root && !is_declared)
        .then(|| at(file, 1, &format!("{parent} does not declare it, so nobody compiles it")))
}

/// The first names of the paths in a line of code, and what it imports whole.
pub(super) fn crates(code: &str) -> impl Iterator<Item = &str> {
    let paths = code.match_indices("::").filter_map(|(end, _)| {
        let (before, _) = code.split_at(end);
        let start = before.rfind(|c: char| !is_word(c)).map_or(0, |at| at + 1);
        let (before, name) = before.split_at(start);
        let continues = |path: &str| path.ends_with(|c| is_word(c) || c == '>');
        (!before.strip_suffix("::").is_some_and(continues)).then_some(name)
    });
    paths.chain(after(code, "use ").map(word))
}

/// What follows each `mark` that begins a word.
fn after<'a>(code: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(mark).filter_map(move |(at, _)| {
        let (before, from) = code.split_at(at);
        if before.ends_with(is_word) { None } else { from.strip_prefix(mark) }
    })
}

fn word(text: &str) -> &str {
    text.split(|c: char| !is_word(c)).next().unwrap_or_default()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_in<'a>(file: &SourceFile, places: impl IntoIterator<Item = &'a &'a str>) -> bool {
    places
        .into_iter()
        .any(|place| file.path == *place || (place.ends_with('/') && file.path.starts_with(place)))
}
