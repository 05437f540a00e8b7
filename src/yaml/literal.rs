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
