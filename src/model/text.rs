//! Text from elsewhere, as it may be shown to a person or pasted by one.

/// The most that is shown of one text.
const SHOWN_CHARS_MAX: usize = 300;

/// No control characters, nothing that turns the direction of writing or has no width (they hide what stands beside them), not long.
#[must_use]
pub fn harmless(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{061c}')
    };
    text.trim().chars().take(SHOWN_CHARS_MAX).map(|c| if hides(c) { '·' } else { c }).collect()
}

/// As one word of any POSIX shell.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_fool_an_eye_or_a_terminal_is_replaced() {
        assert_eq!(harmless("\u{1b}[31mred\u{202e}txt\u{200b}\r\n"), "·[31mred·txt·");
        assert_eq!(harmless(&"x".repeat(1_000)).len(), SHOWN_CHARS_MAX);
        assert_eq!(harmless("größe 日本"), "größe 日本");
    }

    #[test]
    fn what_a_shell_would_read_differently_is_quoted() {
        assert_eq!(quote("/opt/nanoclaw/.env"), "/opt/nanoclaw/.env");
        assert_eq!(quote("/opt/my app/$(id)'s"), r"'/opt/my app/$(id)'\''s'");
        assert_eq!(quote(""), "''");
    }
}
