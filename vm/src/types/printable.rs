//! Names out of a module, as they can be printed.

use std::fmt::{self, Write};

/// A text that comes out of a module, as it can be shown to a person. For names there is [`PrintableName`].
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

/// A name out of a module, as it can be shown to a person: as [`Printable`], and not too long.
///
/// Names can be of 100,000 bytes, and a message may have many of them. Of a longer one than a person reads, the first
/// 400 characters are shown, and `…`.
///
/// ```
/// use midair::PrintableName;
///
/// assert_eq!(PrintableName("a\rb").to_string(), r"a\rb");
/// assert_eq!(PrintableName(&"a".repeat(1000)).to_string(), "a".repeat(400) + "…");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintableName<'a>(pub &'a str);

impl fmt::Display for PrintableName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Beginning::of(format_args!("{}", self.0));
        write!(f, "{}{}", Printable(&shown.text), if shown.is_all() { "" } else { "…" })
    }
}

/// The name of a function as it can be printed: readable, if a compiler has made it from another one.
pub(crate) fn function_name(name: &str) -> String {
    // What it is made from may be a million times as long.
    let shown = Beginning::of(format_args!("{:#}", rustc_demangle::demangle(name)));
    format!("{}{}", Printable(&shown.text), if shown.is_all() { "" } else { "…" })
}

/// How many characters of a name are shown.
const SHOWN: usize = 400;

/// The first characters of what is written to it. It is an error to write more.
struct Beginning {
    text: String,
    /// How many characters there is room for; none if there were too many.
    room: Option<usize>,
}

impl Beginning {
    fn of(text: fmt::Arguments<'_>) -> Beginning {
        let mut beginning = Beginning { text: String::new(), room: Some(SHOWN) };
        // What fails is known by `room`, and nothing else does.
        let _ = beginning.write_fmt(text);
        beginning
    }

    fn is_all(&self) -> bool {
        self.room.is_some()
    }
}

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.room.ok_or(fmt::Error)?;
        if let Some((end, _)) = text.char_indices().nth(room) {
            self.text.push_str(&text[..end]);
            self.room = None;
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        self.room = Some(room - text.chars().count());
        Ok(())
    }
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

    /// A name in the newest of Rust's manglings, whose type is a pair of twice the type before, and so on.
    fn doubling(times: usize) -> String {
        const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let back = |to: usize| {
            let Some(mut number) = to.checked_sub(1) else { return "B_".to_owned() };
            let mut digits = Vec::new();
            loop {
                digits.push(char::from(DIGITS[number % 62]));
                number /= 62;
                if number == 0 {
                    break;
                }
            }
            format!("B{}_", digits.into_iter().rev().collect::<String>())
        };
        let mut name = "_RINvC1a1bTuuE".to_owned();
        let mut last = name.len() - "TuuE".len() - "_R".len();
        for _ in 0..times {
            let this = name.len() - "_R".len();
            name += &format!("T{0}{0}E", back(last));
            last = this;
        }
        name + "E"
    }

    #[test]
    fn names_are_not_shown_beyond_some_hundred_characters() {
        let exact = "é".repeat(SHOWN);
        assert_eq!(PrintableName(&exact).to_string(), exact);
        assert_eq!(function_name(&exact), exact);
        let longer = format!("{exact}a");
        assert_eq!(PrintableName(&longer).to_string(), format!("{exact}…"));
        assert_eq!(function_name(&longer), format!("{exact}…"));
        assert_eq!(
            function_name(&doubling(2)),
            "a::b::<((), ()), (((), ()), ((), ())), ((((), ()), ((), ())), (((), ()), ((), ())))>"
        );
        // Also where they get long only when they are made readable.
        let doubled = function_name(&doubling(60));
        assert!(doubled.starts_with("a::b::<((), ()), (((), ()), "), "{doubled}");
        assert_eq!(doubled.chars().count(), SHOWN + 1);
    }
}
