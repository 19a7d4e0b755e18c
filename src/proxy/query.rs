//! The query string of a request, where one of its values decides.

use crate::form;

/// The value of the one pair named `name`, decoded. `None` if there is none, or a second one, which another reader
/// might prefer; a name in other letters, `Model` say, counts as one, as some readers make no difference between them.
pub(super) fn only_value(query: &str, name: &str) -> Option<String> {
    let mut pairs = form::pairs(query).filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    let (key, value) = pairs.next()?;
    let is_only = key == name.as_bytes() && pairs.next().is_none();
    String::from_utf8(form::decoded(value)).ok().filter(|_| is_only)
}

#[cfg(test)]
mod tests {
    use super::only_value;

    #[test]
    fn one_value_is_found_however_it_is_written() {
        for query in ["model=a%20b", "x=1&model=a+b&y", "%6Dodel=a%20%62", "model=a b&models=c"] {
            assert_eq!(only_value(query, "model").as_deref(), Some("a b"), "{query}");
        }
        assert_eq!(only_value("model=100%&x", "model").as_deref(), Some("100%"));
        assert_eq!(only_value("model", "model").as_deref(), Some(""));
    }

    #[test]
    fn no_value_or_two_are_none() {
        for query in [
            "",
            "models=a",
            "Model=a",
            "model=a&model=a",
            "model=a&Model=a",
            "MODEL=a&model=b",
            "model=a&%6dodel=b",
            "model=a&%4dODEL=b",
            "model=%ff",
        ] {
            assert_eq!(only_value(query, "model"), None, "{query}");
        }
    }
}
