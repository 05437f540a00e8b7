//! `init`: an inventory and playbooks to begin with.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::{CliError, Exit, say};

/// What is written, and where.
const FILES: [(&str, &str); 3] = [
    ("inventory/hosts.yml", include_str!("../../inventory/nanoclaw.yml")),
    ("playbooks/worker-secret.yml", include_str!("../../playbooks/worker-secret.yml")),
    ("playbooks/quarantine.yml", include_str!("../../playbooks/quarantine.yml")),
];

const NEXT: &str = "\
  1. put your hosts into inventory/hosts.yml, or your Ansible inventory beside it
  2. lockturn hosts                               who is in it, and how each is reached
  3. lockturn check                               are the files right? no connection
  4. lockturn plan playbooks/worker-secret.yml    what would change where? read only
";

/// `init`. Never overwrites.
pub(super) fn run(dir: &Path) -> Result<Exit, CliError> {
    for (name, _) in FILES {
        // A link that leads nowhere is there too.
        if dir.join(name).symlink_metadata().is_ok() {
            return Err(CliError::new(
                Exit::Refused,
                format!("{} exists already; nothing was written", dir.join(name).display()),
            )
            .hint("lockturn init DIR writes elsewhere"));
        }
    }
    for (name, text) in FILES {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent)
            // Not if somebody wrote it since.
            .and_then(|()| fs::File::create_new(&path)?.write_all(text.as_bytes()))
            .map_err(|error| CliError::new(Exit::Refused, format!("{}: {error}", path.display())))?;
        say::out(&format!("wrote {}\n", path.display()));
    }
    let there = if dir == Path::new(".") { String::new() } else { format!(", in {}", dir.display()) };
    say::err(&format!("next{there}:\n{NEXT}"));
    Ok(Exit::Done)
}
