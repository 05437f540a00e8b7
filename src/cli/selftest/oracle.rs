//! What is true, whatever the commands said: the files, the rows and the running services of the fleet, looked at past SSH.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::bench::Bench;
use super::child::{Failed, PATIENCE};

/// Each worker's own value, and the control plane's row of it.
pub(super) type Held = BTreeMap<String, (String, String)>;

impl Bench {
    /// What the hosts hold.
    pub(super) fn held(&self) -> Result<Held, Failed> {
        let plane = self.on("control", "opt/nanoclaw/store/messages.db");
        let read = || {
            // Not read-only: where a host was killed in a transaction whoever reads first takes it back.
            let db = Connection::open_with_flags(&plane, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            db.busy_timeout(PATIENCE)?;
            let mut rows = db.prepare("SELECT id, shared_secret FROM workers")?;
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<BTreeMap<String, String>, _>>()
        };
        let mut rows = read().map_err(|error| format!("the control plane's table cannot be read: {error}"))?;
        self.workers()
            .map(|worker| {
                let path = self.on(worker, "opt/nanoclaw/.env");
                let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let own = text.lines().find_map(|line| line.strip_prefix("WORKER_SHARED_SECRET="));
                let (Some(own), Some(row)) = (own, rows.remove(worker)) else {
                    return Err(format!("{worker} or the control plane holds no value of it"));
                };
                Ok((worker.to_owned(), (own.trim_matches('"').to_owned(), row)))
            })
            .collect()
    }

    /// Whether the running services of both sides take these values.
    pub(super) fn services_take(&self, values: &Held) -> bool {
        values
            .iter()
            .all(|(worker, (own, row))| self.lab.takes("control", worker, row) && self.lab.takes(worker, worker, own))
    }

    fn services_take_any(&self, values: &Held) -> bool {
        values
            .iter()
            .any(|(worker, (own, row))| self.lab.takes("control", worker, row) || self.lab.takes(worker, worker, own))
    }

    /// Values that hosts keep for a run that goes on.
    pub(super) fn kept(&self) -> Vec<String> {
        let runs = self.runs_on_hosts();
        let texts = runs.iter().map(|run| fs::read_to_string(run.join("values")).unwrap_or_default());
        texts.flat_map(|text| text.lines().flat_map(values_of).collect::<Vec<_>>()).collect()
    }

    /// Where a host keeps a run.
    fn runs_on_hosts(&self) -> Vec<PathBuf> {
        let inside = |host| fs::read_dir(self.on(host, ".lockturn")).into_iter().flatten().flatten();
        self.hosts().flat_map(inside).map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// Whether no host waits for a confirmation, and each that had waited has gone back by itself.
    pub(super) fn no_host_waits(&self) -> bool {
        let record = |run: &Path| fs::read_to_string(run.join("record")).unwrap_or_default();
        self.runs_on_hosts()
            .iter()
            .all(|run| !run.join("armed").exists() && (!run.join("fired").exists() || record(run).trim() == "reverted"))
    }

    /// After a run that ended: both sides of every value agree, everybody is on the same side of `before`, the services take what the files
    /// hold and nothing else, nothing is left on any host, and the ledger is whole. Says whether everybody is on new values.
    pub(super) async fn whole(&self, before: &Held) -> Result<bool, Failed> {
        let after = self.held()?;
        if let Some((worker, _)) = after.iter().find(|(_, (own, row))| own != row) {
            return Err(format!("{worker} and the control plane hold different values"));
        }
        let moved: Vec<bool> = after.iter().map(|(worker, held)| before.get(worker) != Some(held)).collect();
        let new = moved.first().copied().unwrap_or(false);
        if moved.iter().any(|one| *one != new) {
            return Err("a mixed fleet: some hosts hold new values and some hold old ones".to_owned());
        }
        if let Some(left) = left_over(&self.lab.lab().directory().join("hosts")).first() {
            return Err(format!("something of a run is left: {}", left.display()));
        }
        if !self.services_take(&after) {
            return Err("a running service refuses the value that its file holds".to_owned());
        }
        if new && self.services_take_any(before) {
            return Err("a running service still takes the old value".to_owned());
        }
        self.say(&["ledger", "verify"]).await?.with("`ledger verify`", &[0])?;
        Ok(new)
    }
}

/// `ID OLD NEW`, both in hex.
fn values_of(line: &str) -> Vec<String> {
    let hex = |text: &str| {
        let bytes = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
    };
    line.split(' ').skip(1).filter_map(hex).collect()
}

/// Everything below that a run makes.
fn left_over(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(".lockturn-") || dir.ends_with(".lockturn") {
            found.push(path);
        } else if path.is_dir() && !path.is_symlink() {
            found.extend(left_over(&path));
        }
    }
    found
}
