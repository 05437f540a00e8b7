//! Ranges in names: `worker-[01:10]` is ten of them, `[a:f]` six, `[1:9:2]` five (Ansible's host ranges).

/// One word names no more hosts than this.
const NAMES_MAX: usize = 100_000;

/// A longer word is no name, and not one range after the other without end.
const WORD_BYTES_MAX: usize = 1_000;

/// A bound has no more digits than this.
const DIGITS_MAX: usize = 12;

/// All names that a word with ranges stands for; one without a range stands for itself.
///
/// # Errors
/// What is wrong with a range, as a phrase.
pub fn expand_ranges(word: &str) -> Result<Vec<String>, String> {
    if word.len() > WORD_BYTES_MAX {
        return Err(format!("it is longer than {WORD_BYTES_MAX} bytes"));
    }
    let Some((before, rest)) = word.split_once('[') else {
        return if word.contains(']') { Err("a `]` closes no `[`".to_owned()) } else { Ok(vec![word.to_owned()]) };
    };
    let (inside, after) = rest.split_once(']').ok_or("the `[` of a range is never closed")?;
    let parts = range(inside)?;
    let rests = expand_ranges(after)?;
    if parts.len().saturating_mul(rests.len()) > NAMES_MAX {
        return Err(format!("its ranges name more than {NAMES_MAX} hosts"));
    }
    Ok(parts.iter().flat_map(|part| rests.iter().map(move |rest| format!("{before}{part}{rest}"))).collect())
}

fn range(inside: &str) -> Result<Vec<String>, String> {
    let bad = || format!("`[{}]` is no range; `[01:10]` and `[a:f]` are", inside.escape_debug());
    let bounds: Vec<&str> = inside.split(':').collect();
    let (first, last, step) = match bounds[..] {
        [first, last] => (first, last, 1),
        [first, last, step] => (first, last, step.parse().ok().filter(|step| *step > 0).ok_or_else(bad)?),
        _ => return Err(bad()),
    };
    // Without a beginning it begins at 0, as in Ansible.
    let first = if first.is_empty() { "0" } else { first };
    let digits = |text: &str| !text.is_empty() && text.len() <= DIGITS_MAX && text.chars().all(|c| c.is_ascii_digit());
    if digits(first) && digits(last) {
        let padded = first.len() > 1 && first.starts_with('0');
        if padded && first.len() != last.len() {
            return Err(format!("`[{inside}]` has bounds of different lengths; write zeros before the shorter one"));
        }
        let (from, to): (u64, u64) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        let width = if padded { first.len() } else { 0 };
        return some((from..=to).step_by(step).map(|number| format!("{number:0width$}")), inside);
    }
    let letter = |text: &str| text.parse().ok().filter(char::is_ascii_alphabetic);
    // Ansible's alphabet has the small letters first.
    let place = |c: char| (c.is_ascii_uppercase(), c);
    let (from, to) = letter(first).zip(letter(last)).ok_or_else(bad)?;
    let alphabet = ('a'..='z').chain('A'..='Z').filter(|c| (place(from)..=place(to)).contains(&place(*c)));
    some(alphabet.step_by(step).map(String::from), inside)
}

fn some(names: impl Iterator<Item = String>, inside: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = names.take(NAMES_MAX + 1).collect();
    match names.len() {
        0 => Err(format!("`[{inside}]` ends before it begins")),
        count if count > NAMES_MAX => Err(format!("`[{inside}]` names more than {NAMES_MAX} hosts")),
        _ => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(word: &str) -> Result<String, String> {
        expand_ranges(word).map(|names| names.join(" "))
    }

    #[test]
    fn ranges_are_those_of_ansible() {
        assert_eq!(names("w"), Ok("w".into()));
        assert_eq!(names("w[08:11].x"), Ok("w08.x w09.x w10.x w11.x".into()));
        assert_eq!(names("w[8:11]"), Ok("w8 w9 w10 w11".into()));
        assert_eq!(names("db-[a:c]"), Ok("db-a db-b db-c".into()));
        assert_eq!(names("[y:B]"), Ok("y z A B".into()));
        assert_eq!(names("w[1:9:4]"), Ok("w1 w5 w9".into()));
        assert_eq!(names("r[1:2]n[:1]"), Ok("r1n0 r1n1 r2n0 r2n1".into()));
    }

    #[test]
    fn what_is_no_range_is_refused_and_none_is_endless() {
        for bad in ["w[", "w]", "w[1]", "w[1:2:3:4]", "w[2:1]", "w[01:100]", "w[a:9]", "w[1:2:0]", "w[b:a]", "w[é:z]"]
        {
            assert!(names(bad).is_err(), "{bad}: {:?}", names(bad));
        }
        for large in ["w[1:999999999999]", "[1:1000][1:1000]", "[0:9][0:9][0:9][0:9][0:9][0:9][0:9][0:9][0:9]"] {
            assert!(names(large).unwrap_err().contains("more than"), "{large}");
        }
        assert!(names(&"[1:2]".repeat(5_000)).is_err());
    }
}
