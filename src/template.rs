//! Templates of headers and bodies: `{{ secret }}`, `{{ hmac_sha256(secret, now ~ '\n' ~ uuid ~ '\n' ~ body) }}`. Checked when a playbook
//! is read, rendered when a probe is made.
//!
//! **Invariant:** a template never holds a value: it holds a mark that is replaced in bytes afterwards. Tested beside the code.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, context};

use crate::model::{Secret, hmac_sha256};
use crate::yaml::closest;

/// What a template can say.
const WORDS: [&str; 5] = ["now", "uuid", "host", "body", "secret"];

/// What a template can call: ours, and the engine's own.
const FUNCTIONS: [&str; 5] = ["hmac_sha256", "range", "dict", "namespace", "debug"];

/// A template that does more than this many steps is not a header.
const FUEL: u64 = 10_000;

/// What the words of a template stand for.
pub struct Context<'a> {
    /// `now`: ISO 8601 in UTC with milliseconds.
    pub now: &'a str,
    /// `uuid`: a fresh UUID v4.
    pub uuid: &'a str,
    /// `host`: whom the value is about.
    pub host: &'a str,
    /// `body`: the rendered body.
    pub body: &'a str,
    /// `secret`: the value that is tried.
    pub secret: Option<Arc<Secret>>,
    /// What stands for the secret until the text is done: random, so that no text contains it by chance.
    pub mark: &'a str,
}

/// The secret as the template engine sees it: something to hand to a function, or a mark.
struct Opaque {
    secret: Arc<Secret>,
    mark: String,
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Object for Opaque {
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mark)
    }
}

/// Renders a template. The result may hold the value, so it is one.
///
/// # Errors
/// What is wrong with the template, as a phrase without any value.
pub fn render(template: &str, context: &Context<'_>) -> Result<Secret, String> {
    let secret = context.secret.as_ref().map_or(Value::UNDEFINED, |secret| {
        Value::from_object(Opaque { secret: Arc::clone(secret), mark: context.mark.to_owned() })
    });
    let words = context! {
        now => context.now, uuid => context.uuid, host => context.host, body => context.body, secret => secret,
    };
    let text = environment().render_str(template, words).map_err(|error| phrase(&error))?;
    let mut bytes = Vec::with_capacity(text.len() + 128);
    let mut parts = text.split(context.mark);
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        bytes.extend_from_slice(context.secret.as_ref().map_or(&[][..], |secret| secret.expose()));
        bytes.extend_from_slice(part.as_bytes());
    }
    Ok(Secret::new(bytes))
}

/// Why a template cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// One phrase.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Whether a template can be rendered at all; every word in it that is not known is named.
///
/// # Errors
/// What is wrong with it.
pub fn check_template(template: &str) -> Result<(), TemplateError> {
    let environment = environment();
    let broken =
        |error: &Error| TemplateError { message: format!("this is no template: {}", phrase(error)), hint: None };
    let parsed = environment.template_from_str(template).map_err(|error| broken(&error))?;
    let mut unknown: Vec<String> = parsed.undeclared_variables(false).into_iter().collect();
    unknown.retain(|word| !WORDS.contains(&word.as_str()) && !FUNCTIONS.contains(&word.as_str()));
    unknown.sort();
    if let Some(first) = unknown.first() {
        let known = || WORDS.into_iter().chain(["hmac_sha256"]);
        let hint = match closest(first, known()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
        };
        let words: Vec<String> = unknown.iter().map(|word| format!("`{word}`")).collect();
        let message = format!("a template cannot say {}", words.join(", "));
        return Err(TemplateError { message, hint: Some(hint) });
    }
    let secret = Some(Arc::new(Secret::new(b"x".to_vec())));
    let context = Context { now: "", uuid: "", host: "", body: "", secret, mark: "\u{1}" };
    render(template, &context).map(drop).map_err(|message| TemplateError {
        message: format!("this template cannot be rendered: {message}"),
        hint: None,
    })
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_function("hmac_sha256", |key: Value, text: String| {
        let key = key.downcast_object_ref::<Opaque>().ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, "the first argument of `hmac_sha256` must be `secret`")
        })?;
        let mac = hmac_sha256(&key.secret, text.as_bytes());
        Ok::<String, Error>(mac.iter().map(|byte| format!("{byte:02x}")).collect())
    });
    environment
}

fn phrase(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, String> {
        let secret = Some(Arc::new(Secret::new(b"Jefe".to_vec())));
        let context = Context { now: "N", uuid: "U", host: "w", body: "B", secret, mark: "\u{1}mark\u{1}" };
        render(template, &context).map(|text| String::from_utf8_lossy(text.expose()).into_owned())
    }

    #[test]
    fn words_and_functions_are_those_of_the_playbook() {
        assert_eq!(rendered("{{ now }}/{{ uuid }}/{{ host }}/{{ body }}"), Ok("N/U/w/B".into()));
        assert_eq!(rendered("Bearer {{ secret }}!"), Ok("Bearer Jefe!".into()));
        let mac = rendered("{{ hmac_sha256(secret, 'what do ya want for nothing?') }}").unwrap();
        assert!(mac.starts_with("5bdcc146"), "{mac}");
        assert_eq!(rendered("{{ (now ~ '\n' ~ uuid)|length }}"), Ok("3".into()));
    }

    #[test]
    fn no_filter_gets_at_the_value_and_no_error_tells_it() {
        for template in ["{{ secret|upper }}", "{{ secret ~ '' }}", "{{ secret|list }}", "{{ secret|length }}"] {
            let text = rendered(template);
            assert!(!format!("{text:?}").contains("JEFE"), "{template}: {text:?}");
        }
        for bad in ["{{ nothing }}", "{{ hmac_sha256('key', 'text') }}", "{{ secret", "{{ f() }}"] {
            let error = rendered(bad).unwrap_err();
            assert!(!error.contains("Jefe"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_a_template_cannot_say_is_named_before_it_is_rendered() {
        let wrong = |template| check_template(template).unwrap_err();
        assert_eq!(wrong("{{ secrt }}").message, "a template cannot say `secrt`");
        assert_eq!(wrong("{{ secrt }}").hint.as_deref(), Some("did you mean `secret`?"));
        assert!(wrong("{{ hmac_sha256(secret) }}").message.contains("missing argument"), "{:?}", wrong("{{ f(x) }}"));
        assert!(wrong("{{ secret").message.contains("no template"));
        assert!(wrong("{{ secret|b64 }}").message.contains("unknown filter"));
        assert_eq!(wrong("{{ sha1(x) }}").message, "a template cannot say `sha1`, `x`");
        for good in
            ["", "probe", "{{ now }}{{ uuid }}{{ host }}{{ body }}", "{% for n in range(2) %}{{ n }}{% endfor %}"]
        {
            assert_eq!(check_template(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        assert!(
            rendered("{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}").is_err()
        );
    }
}
