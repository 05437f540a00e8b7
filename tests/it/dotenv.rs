//! A `.env` file is edited byte for byte or not at all.

use lockturn::edit::{EditError, read, replace};
use lockturn::model::Secret;
use proptest::prelude::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn text(secret: &Secret) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

/// Replaces the value of `K` by `new`, and back.
#[track_caller]
fn check(before: &str, old: &str, after: &str) {
    let content = secret(before);
    assert_eq!(text(&read(&content, Some("K")).unwrap()), old);
    let edited = replace(&content, Some("K"), &secret("new")).unwrap();
    assert_eq!(text(&edited), after);
    assert_eq!(text(&replace(&edited, Some("K"), &secret(old)).unwrap()), before);
}

#[track_caller]
fn refused(before: &str) -> EditError {
    read(&secret(before), Some("K")).map(|value| text(&value)).unwrap_err()
}

#[test]
fn every_other_byte_stays() {
    check("K=old\n", "old", "K=new\n");
    check("K=old", "old", "K=new");
    check("A=1\r\nK=old\r\nB=2\r\n", "old", "A=1\r\nK=new\r\nB=2\r\n");
    check("\u{feff}K=old\n", "old", "\u{feff}K=new\n");
    check("  export   K = \"old\"\n", "old", "  export   K = \"new\"\n");
    check("K = old  \n", "old", "K = new  \n");
    check("K='a b#c$d'\n", "a b#c$d", "K='new'\n");
    check("# K=x\nKK=1\nXK=2\nK=\nK_=3\n", "", "# K=x\nKK=1\nXK=2\nK=new\nK_=3\n");
    check("K=a=b=c\n\n\nno equals\n", "a=b=c", "K=new\n\n\nno equals\n");
    check("K='a#b c'\n", "a#b c", "K='new'\n");
    check("A='-----BEGIN\nx=\"\n-----END' # it's\nK=old\n", "old", "A='-----BEGIN\nx=\"\n-----END' # it's\nK=new\n");
    check("A=\"say \\\"hi\\\"\"\nB=it's\nK=old\nC='\n", "old", "A=\"say \\\"hi\\\"\"\nB=it's\nK=new\nC='\n");
    check("OTHER=K=1\nK=ol/d%\n", "ol/d%", "OTHER=K=1\nK=new\n");
}

#[test]
fn what_is_missing_or_twice_is_refused() {
    assert!(matches!(refused("#K=old\nk=1\n"), EditError::Missing { .. }));
    assert!(matches!(refused(""), EditError::Missing { .. }));
    for twice in [
        "K=1\nK=2\n",
        "K=1\nexport K=2\n",
        "K=1\n'K'=2\n",
        "K=1\nK =2",
        "K=1\nK: 2",
        "K=1\nexport K\n",
        "K=1\n\u{b}K=2",
    ] {
        assert!(matches!(refused(twice), EditError::Ambiguous { lines, .. } if lines == [1, 2]), "{twice}");
    }
}

#[test]
fn what_readers_read_differently_is_refused() {
    for unclear in [
        "K=a # b\n",
        "K=a#b\n",
        "K=$A\n",
        "K=\"$A\"\n",
        "K=a\\nb\n",
        "K='a\n",
        "K=\"a\nb\"\n",
        "K='it's'\n",
        "K=a\"b\n",
        "K=a\tb\n",
        "K='a' # b\n",
        "K='a' \n",
        "K= a\n",
        "\tK=a\n",
        "K: a\n",
        "'K'=a\n",
        "K='${A}'\n",
        "K=a b\n",
        "K=a;b\n",
        "K=~a\n",
        "K=\n\n\"b\"\n",
        "K='a\u{a0}b'\n",
        "K=a\u{fffe}\n",
        "A=\"open\nK=old\nB=close\"\n",
        "A=\"open\nK=old\n",
        "A: 'open\nK=old\nB=close'\n",
        "A='C:\\'\nK=old\nB=''\n",
        "A=\n'open\nK=old\n'\n",
        "A=x\\\nK=old\n",
        "# x\\\nK=old\n",
    ] {
        assert!(matches!(refused(unclear), EditError::Unclear { .. }), "{unclear:?}: {:?}", refused(unclear));
    }
    for no_text in ["K=a\0b\n", "A=1\rK=a\n", "# \u{2028}A=1\nK=a\n"] {
        assert!(matches!(refused(no_text), EditError::NotText { .. }), "{no_text:?}");
    }
    assert!(matches!(read(&Secret::new(b"\xff\xfeK\0=\0".to_vec()), Some("K")), Err(EditError::NotText { .. })));
}

#[test]
fn a_new_value_that_would_be_read_differently_is_refused_and_not_written() {
    for bad in ["a b ", "a#b", "a$b", "a\\", "a\"b", "a'b", "a\nb", "a\rb"] {
        assert!(replace(&secret("K=old\n"), Some("K"), &secret(bad)).is_err(), "{bad:?}");
    }
    assert!(replace(&secret("K='old'\n"), Some("K"), &secret("a#b$c ")).is_ok());
}

#[test]
fn an_error_never_tells_a_value() {
    let error = refused("K=hunter2$\n");
    assert!(!format!("{error:?} {error} {:?}", error.reason()).contains("hunter2"));
}

#[test]
fn a_whole_file_is_its_value() {
    let all: Vec<u8> = (0..=255).collect();
    let content = Secret::new(all.clone());
    assert_eq!(read(&content, None).unwrap().expose(), all);
    assert_eq!(replace(&content, None, &secret("x")).unwrap().expose(), b"x");
}

proptest! {
    #[test]
    fn there_and_back_is_the_same_file(
        lines in prop::collection::vec("[A-Za-z_ =#'\"\\\\$a-z0-9]{0,20}", 0..6),
        at in 0_usize..6,
        old in "[A-Za-z0-9+/=_.-]{0,40}",
        new in "[A-Za-z0-9+/=_.-]{0,40}",
        ending in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let mut lines = lines;
        lines.insert(at.min(lines.len()), format!("K={old}"));
        let before = lines.join(ending);
        if let Ok(edited) = replace(&secret(&before), Some("K"), &secret(&new)) {
            prop_assert_eq!(text(&read(&edited, Some("K")).unwrap()), new);
            prop_assert_eq!(text(&replace(&edited, Some("K"), &secret(&old)).unwrap()), before);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), key in "[A-Z]{1,3}") {
        let content = Secret::new(bytes);
        let _whatever = replace(&content, Some(&key), &secret("new"));
    }
}
