//! What is read from the sources: which tests there are, and what they do with secrets.

pub mod routes;
pub mod secrets;

/// The names of the tests in a file of Rust or Python.
pub fn tests_of(file: &str, text: &str) -> Vec<String> {
    let name = |line: &str, before: &str| {
        let rest = line.strip_prefix(before)?;
        rest.split_once('(').map(|(name, _)| name.to_owned())
    };
    if file.ends_with(".py") {
        return text
            .lines()
            .filter_map(|line| name(line, "def "))
            .filter(|name| name.starts_with("test_"))
            .collect();
    }
    let mut marked = false;
    let mut tests = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            marked = true;
        } else if marked && !line.starts_with('#') {
            marked = false;
            tests.extend(name(line.strip_prefix("async ").unwrap_or(line), "fn "));
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_or_a_name_in_passing_is_no_test() {
        let rust = "#[test]\n#[cfg_attr(x, ignore = \"y\")]\nfn a() {\n    fn b() {}\n}\nfn c() {}\n// #[test]\n\
                    #[tokio::test]\nasync fn d() {}\n";
        assert_eq!(tests_of("x.rs", rust), ["a", "d"]);
        assert_eq!(tests_of("x.py", "def test_a(x):\n    test_b()\ndef c():\n"), ["test_a"]);
    }
}
