//! Names of things, validated once where they are read, so that no later room needs to check or quote them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name in bytes: that of a DNS name (RFC 1035 §2.3.4).
pub const NAME_BYTES_MAX: usize = 253;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// There is nothing in it.
    Empty,
    /// It has more than [`NAME_BYTES_MAX`] bytes.
    TooLong,
    /// It begins with `-` or `.`: a program could take it for an option, a shell for a hidden file.
    BadStart(char),
    /// This character is not a letter, a digit, `.`, `_` or `-`.
    BadCharacter(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a name is empty"),
            Self::TooLong => write!(f, "a name is longer than {NAME_BYTES_MAX} bytes"),
            Self::BadStart(c) => write!(f, "a name must not begin with `{c}`"),
            Self::BadCharacter(c) => {
                write!(f, "a name has letters, digits, `.`, `_` and `-`, not `{}`", c.escape_debug())
            }
        }
    }
}

impl std::error::Error for NameError {}

fn check(text: &str) -> Result<(), NameError> {
    let Some(first) = text.chars().next() else { return Err(NameError::Empty) };
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        return Err(NameError::BadCharacter(bad));
    }
    if matches!(first, '-' | '.') {
        return Err(NameError::BadStart(first));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of one machine of the inventory.
    HostName
);
name!(
    /// The name of a set of hosts in the inventory.
    GroupName
);
name!(
    /// The name of a secret in a playbook.
    SecretName
);
name!(
    /// The identity of one run: a ULID, so that runs sort by the time they began.
    RunId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_shell_or_a_program_could_misread_is_refused() {
        for bad in ["", "-oProxyCommand=x", "$(id)", "a;b", "a\nb", "a b", "..", "a/b", "host%00", "хост"] {
            assert!(HostName::from_str(bad).is_err(), "{bad:?} was taken for a name");
        }
        assert!(HostName::from_str(&"a".repeat(NAME_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn ordinary_names_are_taken_as_they_are() {
        for good in ["worker-1", "db_2.example.net", "10.0.0.7", "a"] {
            assert_eq!(HostName::from_str(good).map(|n| n.to_string()), Ok(good.to_owned()));
        }
    }
}
