//! Texts that look like a secret value, wherever they stand.

/// So many hex digits are a key of 128 bits.
const HEX_MIN: usize = 32;

/// So many characters of a larger alphabet, all kinds mixed, are no word of a person.
const MIXED_MIN: usize = 24;

/// How tokens of well-known issuers begin.
const ISSUERS: [&str; 12] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk_live_",
    "AKIA",
    "hvs.",
    "AGE-SECRET-KEY-",
];

/// Whether a part of a text looks like a secret value: a key in hex or base64, a token of a known issuer, a private key. Paths may
/// hold hashes of releases, and do not count.
#[must_use]
pub fn holds_a_secret(text: &str) -> bool {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return true;
    }
    let words = text.split(|c: char| c.is_whitespace() || "\"'`,;()[]{}<>|&".contains(c));
    words.filter(|word| !word.starts_with(['/', '~', '.'])).any(|word| {
        // What stands behind `--token=` or `https://…/`.
        let parts = word.split(['=', ':', '@', '?']).filter(|part| !part.is_empty());
        parts.flat_map(|part| part.split("//")).any(looks_like_a_secret)
    })
}

/// Whether a name is that of a credential: `X-Api-Key`, `--password`, `client_secret`. One that ends in `file`, `path` or `name` is not.
#[must_use]
pub fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let names_a_place = ["_file", "_path", "_name", "_method", "_id"].iter().any(|ending| name.ends_with(ending));
    let words =
        ["password", "passwd", "_pass", "secret", "token", "api_key", "apikey", "authorization", "hmac", "cookie"];
    !names_a_place && words.iter().any(|word| name.contains(word))
}

/// Whether a text gives a credential its value: `--password=…`, `token: …`, `?api_key=…`. A template is no value, nor is a name in
/// capitals, a variable or a path.
#[must_use]
pub fn assigns_a_secret(text: &str) -> bool {
    let parts = text.split(|c: char| c.is_whitespace() || "\"'`,;()[]{}&?".contains(c)).filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    let is_literal = |value: &str| {
        let reference = value.starts_with(['$', '/', '~', '@', ':', '%', '-', '.', '<']);
        value.len() >= 6 && !reference && value.chars().any(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let assigned = |part: &&str| {
        part.split_once(['=', ':']).is_some_and(|(name, value)| names_a_secret(name) && is_literal(value))
    };
    // In prose a word follows a colon too, but seldom one with a digit in it.
    let odd = |value: &str| is_literal(value) && value.contains(|c: char| c.is_ascii_digit());
    let follows = |pair: &[&str]| match pair {
        [name, value] if name.starts_with("--") => names_a_secret(name) && !name.contains('=') && is_literal(value),
        [name, value] => name.strip_suffix(':').is_some_and(names_a_secret) && odd(value),
        _ => false,
    };
    // As JSON has it, its quotes taken away.
    let quoted = |three: &[&str]| matches!(three, [name, ":", value] if names_a_secret(name) && is_literal(value));
    !text.contains("{{")
        && (parts.iter().any(assigned) || parts.windows(2).any(follows) || parts.windows(3).any(quoted))
}

fn looks_like_a_secret(part: &str) -> bool {
    let all = |fits: fn(char) -> bool| part.chars().all(fits);
    let any = |fits: fn(char) -> bool| part.chars().any(fits);
    let issued = ISSUERS.iter().any(|issuer| part.len() >= issuer.len() + 16 && part.starts_with(issuer));
    // Digits alone are a number, letters alone a word, one character again and again an example.
    let hex = part.len() >= HEX_MIN && all(|c| c.is_ascii_hexdigit()) && any(|c| c.is_ascii_digit());
    let hex = hex && any(|c| c.is_ascii_alphabetic()) && kinds(part) >= 8;
    let mixed = part.len() >= MIXED_MIN && all(|c| c.is_ascii_alphanumeric() || "+/_-".contains(c));
    let mixed =
        mixed && any(|c| c.is_ascii_lowercase()) && any(|c| c.is_ascii_uppercase()) && changes(part) * 3 >= part.len();
    issued || hex || (mixed && any(|c| c.is_ascii_digit()))
}

/// How many different characters there are.
fn kinds(text: &str) -> usize {
    text.chars().collect::<std::collections::BTreeSet<_>>().len()
}

/// How often the kind of character changes from one to the next within a run: `WorkerDispatchV2` rarely, a random text nearly always.
fn changes(text: &str) -> usize {
    let kind = |c: char| (c.is_ascii_digit(), c.is_ascii_uppercase());
    let letters = || text.chars().filter(char::is_ascii_alphanumeric);
    letters().zip(letters().skip(1)).filter(|(a, b)| kind(*a) != kind(*b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_seen_wherever_they_stand() {
        for text in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "curl --token=9f86d081884c7d659a2feaa0c55ad015 http://x/",
            "http://u:9f86d081884c7d659a2feaa0c55ad015@h/",
            "Bearer ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=",
            "UPDATE t SET s = '9F86D081884C7D659A2FEAA0C55AD015'",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
        ] {
            assert!(holds_a_secret(text), "{text}");
        }
    }

    #[test]
    fn a_credential_with_a_value_is_seen_and_one_without_is_not() {
        for text in [
            "curl --password=hunter2 x",
            "mysql --password hunter2",
            "http://127.0.0.1/?api_key=hunter2",
            "{\"client_secret\": \"hunter2\"}",
            "X-Token: hunter2",
        ] {
            assert!(assigns_a_secret(text), "{text}");
        }
        for text in [
            "--password-file /etc/x",
            "--token-file=/run/token",
            "--token=$TOKEN",
            "secret={{ secret }}",
            "--token TOKEN_NAME",
            "UPDATE workers SET shared_secret = :secret WHERE id = :host",
            "Rotate the secret: workers and the control plane share it",
            "probe",
        ] {
            assert!(!assigns_a_secret(text), "{text}");
        }
    }

    #[test]
    fn words_names_and_paths_are_not() {
        for text in [
            "",
            "the control plane takes the secret of each worker",
            "/nix/store/9f86d081884c7d659a2feaa0c55ad015-nanoclaw/bin/x",
            "6f1f9e4c-58f2-4d0f-9d55-0a3b1a6f4b21",
            "00000000000000000000000000000000",
            "{{ hmac_sha256(secret, now ~ '\\n' ~ uuid ~ '\\n' ~ body) }}",
            "http://127.0.0.1:7700/ops/worker/completion",
            "UPDATE workers SET shared_secret = :secret WHERE id = :host",
            "COCKPIT_WRITE_SECRET_CURRENT",
            "nanoclaw-worker-tunnel@worker-1.service",
            "2026-11-24T18:31:18Z",
            "ApplicationConfigurationManagerV2Service",
        ] {
            assert!(!holds_a_secret(text), "{text}");
        }
    }
}
