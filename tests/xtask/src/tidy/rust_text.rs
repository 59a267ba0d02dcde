//! Reading Rust text just closely enough to tell code from comments and strings.

/// The text with the contents of comments and of string and character literals blanked. Every
/// line and column stays where it was.
pub fn without_comments_and_strings(text: &str) -> String {
    blank(text, true)
}

/// The text with only the comments blanked: assembly is written in strings.
pub fn without_comments(text: &str) -> String {
    blank(text, false)
}

fn blank(text: &str, strings_too: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let hide = |c: char| if c == '\n' { '\n' } else { ' ' };
    while at < chars.len() {
        let end = comment_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|&c| hide(c)));
            at = end;
        } else if let Some((open, close)) = literal(&chars, at) {
            // The delimiters stay, so that `extern "C"` can still be told from other things.
            let inside = at + open..close.saturating_sub(1).max(at + open);
            for (index, &c) in chars.iter().enumerate().take(close).skip(at) {
                out.push(if strings_too && inside.contains(&index) { hide(c) } else { c });
            }
            at = close;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where a comment that begins at `at` ends; `at` itself if none begins there.
fn comment_end(chars: &[char], at: usize) -> usize {
    if chars[at] != '/' {
        return at;
    }
    match chars.get(at + 1) {
        Some('/') => {
            chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length)
        }
        Some('*') => {
            let (mut depth, mut end) = (0, at);
            while end < chars.len() {
                match (chars[end], chars.get(end + 1)) {
                    ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
                    ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
                    _ => end += 1,
                }
                if depth == 0 {
                    return end;
                }
            }
            chars.len()
        }
        _ => at,
    }
}

/// A string or character literal at `at`: the length of its opening and where it ends.
fn literal(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '"' => Some((1, quoted_end(chars, at + 1, '"'))),
        'r' if !after_word || (at > 0 && chars[at - 1] == 'b') => {
            let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                return None;
            }
            let open = hashes + 2;
            let mut end = at + open;
            while end < chars.len() {
                let closes = chars[end] == '"'
                    && chars[end + 1..].iter().take(hashes).filter(|&&c| c == '#').count()
                        == hashes;
                if closes {
                    return Some((open, end + 1 + hashes));
                }
                end += 1;
            }
            Some((open, chars.len()))
        }
        // A lifetime has no closing quote after one character.
        '\'' if chars.get(at + 1) == Some(&'\\') => Some((1, quoted_end(chars, at + 1, '\''))),
        '\'' if chars.get(at + 2) == Some(&'\'') => Some((1, at + 3)),
        _ => None,
    }
}

fn quoted_end(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_in_place() {
        let text = "let a = \"x // y\"; // z\nlet b = 'c'; /* 1 /* 2 */ 3 */ b\n";
        let code = without_comments_and_strings(text);
        assert_eq!(code, "let a = \"      \";     \nlet b = ' ';                   b\n");
        assert_eq!(code.len(), text.len());
    }

    #[test]
    fn strings_stay_when_only_comments_go() {
        assert_eq!(without_comments("asm!(\"mov // x\"); // y"), "asm!(\"mov // x\");     ");
    }

    #[test]
    fn raw_strings_escapes_and_lifetimes() {
        let code = without_comments_and_strings("f(r#\"a\"b\"#, '\\'', \"\\\"q\") as &'static str");
        assert_eq!(code, "f(r#\"    #, '  ', \"   \") as &'static str");
    }
}
