//! What the console's style sheet is refused for.

/// Units of length; a length is given a name once, and used by it.
const UNITS: [&str; 9] = ["px", "rem", "em", "ch", "pt", "vw", "vh", "vmin", "vmax"];

/// Colours that are spelled out.
const COLOURS: [&str; 10] =
    ["#", "rgb(", "rgba(", "hsl(", "hsla(", "oklch(", "white", "black", "gray", "grey"];

/// Properties whose numbers are named, too.
const NAMED: [&str; 2] = ["font-weight", "line-height"];

/// What is wrong with `css`: literals outside of `:root`. Conditions of `@media` are let pass: nothing can be named there.
pub(super) fn problems(css: &str) -> Vec<String> {
    let (mut problems, mut open, mut text): (Vec<String>, Vec<String>, String) = Default::default();
    for mark in without_comments(css).chars() {
        if !"{};".contains(mark) {
            text.push(mark);
            continue;
        }
        let said = std::mem::take(&mut text).trim().to_owned();
        if mark == '{' {
            open.push(said);
            continue;
        }
        if open.last().is_none_or(|selector| selector != ":root") {
            problems.extend(literal(&said).map(|why| format!("{said}: {why}")));
        }
        if mark == '}' {
            open.pop();
        }
    }
    problems
}

fn without_comments(css: &str) -> String {
    let pieces = css.split("/*").enumerate();
    let kept = pieces.map(|(index, piece)| match index {
        0 => piece,
        _ => piece.split_once("*/").map_or("", |(_, rest)| rest),
    });
    kept.collect()
}

/// The literal in a declaration, if there is one.
fn literal(declaration: &str) -> Option<String> {
    let (property, value) = declaration.split_once(':')?;
    let words = value.split(|c: char| c.is_whitespace() || ",()".contains(c));
    for word in words.filter(|word| !word.starts_with("--")) {
        let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        let is_number = unit.len() < word.len() && word.contains(|c: char| c.is_ascii_digit());
        if is_number && UNITS.contains(&unit) {
            return Some(format!("{word} is a length without a name"));
        }
        if is_number && unit.is_empty() && NAMED.contains(&property.trim()) {
            return Some(format!("{word} has no name"));
        }
    }
    let colour = COLOURS.into_iter().find(|colour| value.contains(colour));
    colour.map(|colour| format!("{colour} is a colour without a name"))
}
