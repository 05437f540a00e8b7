//! `init`: an inventory and a playbook to begin with.

use std::fs;
use std::path::Path;

use super::{CliError, Exit, say};

/// What is written, and where.
const FILES: [(&str, &str); 2] = [
    ("inventory/hosts.yml", include_str!("../../inventory/nanoclaw.yml")),
    ("playbooks/worker-secret.yml", include_str!("../../playbooks/worker-secret.yml")),
];

/// `init`. Never overwrites.
pub(super) fn run(dir: &Path) -> Result<Exit, CliError> {
    for (name, _) in FILES {
        if dir.join(name).exists() {
            return Err(CliError::new(
                Exit::Refused,
                format!("{} exists already; nothing was written", dir.join(name).display()),
            ));
        }
    }
    for (name, text) in FILES {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| CliError::new(Exit::Refused, format!("{}: {error}", path.display())))?;
        say::out(&format!("wrote {}\n", path.display()));
    }
    say::err("next: put your hosts into inventory/hosts.yml, then: lockturn check playbooks/worker-secret.yml\n");
    Ok(Exit::Done)
}
