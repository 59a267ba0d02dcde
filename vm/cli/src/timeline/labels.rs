//! How things are written in timelines.

/// A time.
pub fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    let decimals = if value >= 100.0 { 0 } else { 2 - usize::from(value >= 10.0) };
    format!("{value:.decimals$} {unit}")
}

/// A number of bytes.
pub fn bytes(bytes: u64) -> String {
    let number = bytes as f64;
    match bytes {
        0..0x2800 => format!("{bytes} B"),
        0x2800..0x10_0000 => format!("{:.0} KiB", number / 1024.0),
        _ => format!("{:.1} MiB", number / (1024.0 * 1024.0)),
    }
}

/// So many of these, in words.
pub fn count(number: usize, one: &str, many: &str) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {}", if number == 1 { one } else { many })
}

/// The beginning of a text, with a mark if that is not all.
pub fn shortened(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(characters.saturating_sub(1)).collect();
    beginning + "…"
}

/// A text as XML can hold it.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            // XML has no way to write these.
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

/// Round numbers from 0 to `most`, about `wanted` of them: multiples of 1, 2 or 5 times a power of ten.
pub fn ticks(most: f64, wanted: f64) -> Vec<f64> {
    if most <= 0.0 || !most.is_finite() {
        return vec![0.0];
    }
    let power = 10f64.powf((most / wanted).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| most / s <= wanted);
    let step = step.unwrap_or(10.0 * power);
    (0..=(most / step + 1e-9) as u64).map(|n| n as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_that_fit() {
        assert_eq!([time(2.5), time(0.0123), time(0.000_45)], ["2.50 s", "12.3 ms", "450 µs"]);
        assert_eq!([bytes(5), bytes(20 << 10), bytes(12 << 20)], ["5 B", "20 KiB", "12.0 MiB"]);
        assert_eq!(count(1, "function", "functions"), "1 function");
        assert_eq!(count(1_234_567, "function", "functions"), "1,234,567 functions");
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(10.0, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.031, 8.0).len(), 7);
        assert_eq!(ticks(0.0, 8.0), [0.0]);
        for most in [1e-9, 0.37, 1.0, 99.9, 1e7] {
            let ticks = ticks(most, 9.0);
            assert!((3..=11).contains(&ticks.len()) && *ticks.last().unwrap() <= most, "{ticks:?}");
        }
    }

    #[test]
    fn xml_gets_nothing_that_it_cannot_hold() {
        assert_eq!(escaped("a<b> & \"c\"\u{1}"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("äbc", 3), "äbc");
    }
}
