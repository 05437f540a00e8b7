//! Arguments of ssh, as people write them into `ansible_ssh_common_args`: what they say that a run depends on, and what it does not.

use crate::yaml::Item;

use super::words::words;

/// What arguments of ssh say.
#[derive(Default)]
pub(super) struct SshArgs {
    pub(super) jump: Option<String>,
    pub(super) identity_file: Option<String>,
    pub(super) known_hosts: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) user: Option<String>,
}

/// Options that change nothing that a run depends on: how a connection is kept, how it looks, and what is offered besides keys.
const WITHOUT_MEANING: [&str; 22] = [
    "addressfamily",
    "batchmode",
    "compression",
    "connectionattempts",
    "connecttimeout",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "forwardagent",
    "forwardx11",
    "gssapiauthentication",
    "identitiesonly",
    "kbdinteractiveauthentication",
    "loglevel",
    "passwordauthentication",
    "preferredauthentications",
    "pubkeyauthentication",
    "requesttty",
    "serveralivecountmax",
    "serveraliveinterval",
    "tcpkeepalive",
    "updatehostkeys",
];

/// Reads them.
pub(super) fn ssh_args(text: &str, item: &Item<'_>) -> SshArgs {
    let mut said = SshArgs::default();
    let Some(words) = words(text) else {
        item.error("has a quote that is never closed");
        return said;
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(letter) = word.strip_prefix('-').and_then(|rest| rest.chars().next()) else {
            unknown(item, "a word that is no option");
            continue;
        };
        let glued = word[1 + letter.len_utf8()..].to_owned();
        match letter {
            'o' | 'J' | 'i' | 'p' | 'l' | 'F' | 'W' | 'S' => {
                let value = if glued.is_empty() { words.next().unwrap_or_default() } else { glued };
                match letter {
                    'o' => option(&value, item, &mut said),
                    'J' => said.jump = Some(value),
                    'i' => said.identity_file = Some(value),
                    'p' => said.port = port(&value, item),
                    'l' => said.user = Some(value),
                    'S' => {}
                    _ => unknown(item, &format!("`-{letter}`")),
                }
            }
            // Speed, silence, terminals and forwarding of things that we never forward.
            'C' | 'q' | 'v' | 't' | 'T' | '4' | '6' | 'A' | 'a' | 'x' | 'X' | 'n' => {}
            _ => unknown(item, &format!("`-{letter}`")),
        }
    }
    said
}

fn option(text: &str, item: &Item<'_>, said: &mut SshArgs) {
    let (name, value) = text.split_once(['=', ' ']).unwrap_or((text, ""));
    let value = value.trim_matches([' ', '"', '\'', '=']).to_owned();
    match name.trim().to_ascii_lowercase().as_str() {
        "proxyjump" => said.jump = Some(value),
        "proxycommand" => proxy_command(&value, item),
        "identityfile" => said.identity_file = Some(value),
        "port" => said.port = port(&value, item),
        "user" => said.user = Some(value),
        "userknownhostsfile" if value != "/dev/null" && value != "none" => said.known_hosts = Some(value),
        "stricthostkeychecking" if matches!(value.as_str(), "yes" | "ask") => {}
        "stricthostkeychecking" | "userknownhostsfile" => item.warning(
            "host keys are always checked, whatever ssh is told here",
            Some("put the hosts' keys into a known_hosts file, and name it with `known_hosts`".to_owned()),
        ),
        name if WITHOUT_MEANING.contains(&name) => {}
        name => {
            let plain: String = name.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
            unknown(item, &format!("`-o {plain}`"));
        }
    }
}

fn port(text: &str, item: &Item<'_>) -> Option<u16> {
    let port = text.parse().ok().filter(|port| *port != 0);
    if port.is_none() {
        item.error("the port in ssh's options should be a number from 1 to 65535");
    }
    port
}

/// `ssh -W %h:%p bastion` is a jump; anything else is a program that we do not run.
fn proxy_command(value: &str, item: &Item<'_>) {
    let words = words(value).unwrap_or_default();
    let plain = |word: &&String| !word.starts_with('-') && !word.contains('%') && !word.contains(['/', '=']);
    let target = words.iter().skip(1).rfind(plain);
    let is_ssh = words.first().is_some_and(|program| program == "ssh" || program.ends_with("/ssh"));
    let hint = match target {
        Some(target) if is_ssh && value.contains("-W") => format!("write `jump: {target}` instead"),
        _ => "write `jump: [user@]host[:port]` if the way leads over another sshd; nothing else is known".to_owned(),
    };
    item.error_with_hint("lockturn runs no program to reach a host, so `ProxyCommand` is not known", hint);
}

fn unknown(item: &Item<'_>, what: &str) {
    item.error_with_hint(
        &format!("{what} is not known here; of ssh's own options `-J HOST` and `-o ProxyJump=HOST` are"),
        "say the rest with `jump`, `identity_file`, `known_hosts`, `user` and `port`".to_owned(),
    );
}
