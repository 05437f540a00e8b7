//! A line into words.

/// Words as a POSIX shell splits them; `None` if a quote is never closed.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    split(text, false).map(|words| words.into_iter().map(|(_, word)| word).collect())
}

/// Words, and at which character each begins. With `comments`, a `#` ends the line.
pub(super) fn split(text: &str, comments: bool) -> Option<Vec<(usize, String)>> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let (mut quote, mut inside) = (None, false);
    let mut chars = text.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() {
            if comments && c == '#' {
                break;
            }
            if c.is_whitespace() {
                inside = false;
                continue;
            }
            if !inside {
                words.push((at, String::new()));
                inside = true;
            }
        }
        let word = &mut words.last_mut()?.1;
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (None, '\\') => word.push(chars.next()?.1),
            (Some('"'), '\\') if chars.peek().is_some_and(|(_, next)| matches!(next, '"' | '\\')) => {
                word.push(chars.next()?.1);
            }
            (Some(open), close) if open == close => quote = None,
            (_, c) => word.push(c),
        }
    }
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let split = |text| words(text).map(|words| words.join("|"));
        assert_eq!(split(r#"-o 'A B' "c\"d" e\ f g'h'i"#), Some(r#"-o|A B|c"d|e f|ghi"#.into()));
        assert_eq!(split("'open"), None);
        assert_eq!(split(""), Some(String::new()));
        assert_eq!(super::split("a b#c d", true), Some(vec![(0, "a".into()), (2, "b".into())]));
    }
}
