//! The tunnels from the control plane to its workers, as far as `systemctl` knows of them: a unit for each worker, with its state in a file.

use std::path::{Path, PathBuf};

/// What the units of all tunnels begin with.
const UNIT: &str = "nanoclaw-worker-tunnel@";

/// The directory of the control plane that has a file for each tunnel.
const DIRECTORY: &str = "tunnels";

/// What the file of a tunnel says that runs, and begins again at the next start.
pub(super) const WELL: &str = "active enabled\n";

/// One tunnel.
pub(super) struct Tunnel(PathBuf);

impl Tunnel {
    /// Where the tunnel to a worker has its file.
    pub(super) fn file(control_plane: &Path, worker: &str) -> PathBuf {
        control_plane.join(DIRECTORY).join(worker)
    }

    /// The one that this unit of a host is, if it has such a unit.
    pub(super) fn of(home: &Path, unit: &str) -> Option<Self> {
        let worker = unit.strip_prefix(UNIT).filter(|worker| !worker.contains('/'))?;
        let file = Self::file(home, worker);
        file.is_file().then_some(Self(file))
    }

    pub(super) fn is(&self, word: &str) -> bool {
        std::fs::read_to_string(&self.0).is_ok_and(|text| text.split_whitespace().any(|known| known == word))
    }

    /// What became of it, `None` for a verb that it does not know.
    pub(super) fn told(&self, verb: &str) -> Option<std::io::Result<()>> {
        let (mut active, mut enabled) = (self.is("active"), self.is("enabled"));
        match verb {
            "start" | "restart" => active = true,
            "stop" => active = false,
            "enable" => enabled = true,
            "disable" => enabled = false,
            _ => return None,
        }
        let words = [(active, "active"), (enabled, "enabled")];
        let words: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        Some(std::fs::write(&self.0, format!("{}\n", words.join(" "))))
    }
}
