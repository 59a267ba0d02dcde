//! Names out of a module, as they can be printed.

use std::fmt;

/// A text that comes out of a module, such as a name, as it can be shown to a person.
///
/// Names may hold anything: also characters that a terminal obeys instead of showing them, line breaks
/// that make one message look like two, and marks that reorder what stands around them. All these are
/// printed as escapes; what can be read stays as it is. Messages of this crate print names in this way;
/// functions that return names return what the module says.
///
/// ```
/// use midair::Printable;
///
/// assert_eq!(Printable("grüße 'x'").to_string(), "grüße 'x'");
/// assert_eq!(Printable("a\u{1b}[2Jb\n").to_string(), r"a\u{1b}[2Jb\n");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escapes are the language's own, except that here no quotes have to be told apart from the text.
        for part in self.0.split_inclusive(['\'', '"', '\\']) {
            let text = part.trim_end_matches(['\'', '"', '\\']);
            write!(f, "{}{}", text.escape_debug(), &part[text.len()..])?;
        }
        Ok(())
    }
}

/// The name of a function as it can be printed: readable, if a compiler has made it from another one.
pub(crate) fn function_name(name: &str) -> String {
    Printable(&format!("{:#}", rustc_demangle::demangle(name))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let all: String = ('\0'..='\u{ff}').chain(['\u{202e}', '\u{2028}', '\u{200b}']).collect();
        let printed = Printable(&all).to_string();
        assert!(!printed.contains(char::is_control), "{printed:?}");
        assert!(!printed.contains(['\u{202e}', '\u{2028}', '\u{200b}']), "{printed:?}");
        for readable in ["it's \"so\" \\ and é", "функция", "名前", "e\u{301}", ""] {
            assert_eq!(Printable(readable).to_string(), readable);
        }
        assert_eq!(function_name("a\rb"), r"a\rb");
        assert_eq!(function_name("_ZN3foo3barE"), "foo::bar");
    }
}
