//! Many names in few words: `worker-[1:8]` instead of eight names.

use std::collections::BTreeMap;

use super::HostName;

/// Names whose last numbers follow each other become one range, written as selectors write it, so that it can be pasted into one.
#[must_use]
pub fn fold<'a>(names: impl IntoIterator<Item = &'a HostName>) -> Vec<String> {
    let mut alike: BTreeMap<(&str, &str), Vec<Number<'_>>> = BTreeMap::new();
    for name in names {
        let (before, digits, after) = split(name.as_str());
        alike.entry((before, after)).or_default().push(Number::new(digits));
    }
    let mut folded = Vec::new();
    for ((before, after), mut numbers) in alike {
        numbers.sort_by_key(|number| number.value);
        for run in numbers.chunk_by(|one, next| one.is_followed_by(next)) {
            folded.push(match run {
                [first, .., last] => format!("{before}[{}:{}]{after}", first.digits, last.digits),
                [only] => format!("{before}{}{after}", only.digits),
                [] => continue,
            });
        }
    }
    folded
}

/// So many names at most, and how many more there are.
#[must_use]
pub fn fold_few<'a>(names: impl IntoIterator<Item = &'a HostName>, most: usize) -> String {
    let mut folded = fold(names);
    let more = folded.len().saturating_sub(most);
    folded.truncate(most);
    match more {
        0 => folded.join(", "),
        more => format!("{} and {more} more", folded.join(", ")),
    }
}

/// The number in a name, as it is written and as it counts.
struct Number<'a> {
    digits: &'a str,
    value: Option<u64>,
}

impl<'a> Number<'a> {
    fn new(digits: &'a str) -> Self {
        Self { digits, value: digits.parse().ok() }
    }

    /// `09` is followed by `10` and `9` by `10`, but `9` not by `010` and `099` not by `100` and `1000`.
    fn is_followed_by(&self, next: &Self) -> bool {
        let (Some(value), Some(next_value)) = (self.value, next.value) else { return false };
        let padded = |number: &Self| number.digits.len() > 1 && number.digits.starts_with('0');
        let alike = self.digits.len() == next.digits.len() || !(padded(self) || padded(next));
        alike && value.checked_add(1) == Some(next_value)
    }
}

/// What stands before the last number of a name, the number, and what follows it.
fn split(name: &str) -> (&str, &str, &str) {
    let is_digit = |c: char| c.is_ascii_digit();
    let end = name.rfind(is_digit).map_or(name.len(), |at| at + 1);
    let start = name[..end].trim_end_matches(is_digit).len();
    (&name[..start], &name[start..end], &name[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(names: &[&str]) -> String {
        let names: Vec<HostName> = names.iter().map(|name| name.parse().unwrap()).collect();
        fold(&names).join(" ")
    }

    #[test]
    fn numbers_that_follow_each_other_are_a_range() {
        assert_eq!(folded(&["w-1", "w-2", "w-3", "control"]), "control w-[1:3]");
        assert_eq!(folded(&["w-9", "w-10", "w-11", "w-13"]), "w-[9:11] w-13");
        assert_eq!(folded(&["w08.eu", "w09.eu", "w10.eu", "w10.us"]), "w[08:10].eu w10.us");
    }

    #[test]
    fn what_is_written_otherwise_is_not_the_same_range() {
        assert_eq!(folded(&["w9", "w010"]), "w9 w010");
        assert_eq!(folded(&["a", "b", "10.0.0.1", "10.0.0.2"]), "10.0.0.[1:2] a b");
        assert_eq!(folded(&["w99999999999999999999999", "w1"]), "w99999999999999999999999 w1");
    }

    #[test]
    fn few_are_shown_and_the_others_counted() {
        let names: Vec<HostName> = ["a", "b", "c", "w1", "w2"].map(|name| name.parse().unwrap()).into();
        assert_eq!(fold_few(&names, 2), "a, b and 2 more");
        assert_eq!(fold_few(&names, 9), "a, b, c, w[1:2]");
    }
}
