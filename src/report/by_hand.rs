//! Commands that a person can paste on a host which could not be mended through lockturn.

use crate::model::{Activation, Become, Change, HostPlan, RunId, Step, Switch, quote};

/// The commands that do by hand what these steps could not do, for one shell; none where only `resume` can.
///
/// They may be pasted more than once, and on a host that is back already.
#[must_use]
pub fn by_hand(run: &RunId, host: &HostPlan, steps: &[Step]) -> Vec<String> {
    let commands: Vec<String> = steps.iter().flat_map(|step| of_step(run, host, *step)).collect();
    if commands.is_empty() {
        return commands;
    }
    // Words of a command may name what lies in the login directory.
    let login = steps.iter().any(|step| *step != Step::Clean).then(|| format!("cd -- {}", quote(&host.login)));
    login.into_iter().chain(path(host)).chain(commands).collect()
}

/// The tools that the run takes are found first by hand too; a relative prefix begins at the login directory, as on the host.
fn path(host: &HostPlan) -> Option<String> {
    let prefix = match &*host.path {
        "" => return None,
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{}/{path}", host.login),
    };
    Some(format!("export PATH={}:\"$PATH\"", quote(&prefix)))
}

fn of_step(run: &RunId, host: &HostPlan, step: Step) -> Vec<String> {
    let change = |(at, change)| put_back(run, host, at + 1, change);
    let back = host.changes.iter().enumerate().rev().map(change);
    let activate = host.activate.iter().flat_map(activate);
    match step {
        Step::Revert => back.chain(activate).collect(),
        Step::Reactivate | Step::Reverify => activate.collect(),
        Step::Clean => clean(run, host),
        Step::Lock | Step::Stage | Step::Arm | Step::Cut | Step::Activate | Step::Verify | Step::Confirm => Vec::new(),
        Step::Stop | Step::Forget => Vec::new(),
    }
}

/// Where and as whom they are to be pasted.
#[must_use]
pub fn where_by_hand(host: &HostPlan) -> String {
    match host.become_user {
        Become::Sudo => format!("{}, as root", host.address),
        Become::None => format!("{}, as the user of the inventory", host.address),
    }
}

/// The old content over whatever is held now.
fn put_back(run: &RunId, host: &HostPlan, number: usize, change: &Change) -> String {
    let kept = |name: &str| quote(&format!("{}/{run}/c{number}/{name}", host.state));
    match change {
        Change::File { real_path, .. } => {
            // A copy of the backup, which stays: so it may be pasted again, and on a host where the backup is the file itself. The name
            // may be there already, as another one of the backup, from a way back that failed.
            let beside = beside(run, real_path, number);
            let (backup, copy) = (quote(&format!("{beside}/old")), quote(&format!("{beside}/back")));
            format!("rm -f -- {copy}; cp -a -- {backup} {copy} && mv -f -- {copy} {}", quote(real_path))
        }
        Change::Sqlite { file, .. } => {
            // Older ones take no `--`, so the path is absolute.
            let file = if file.starts_with('/') { file.clone() } else { format!("{}/{file}", host.login) };
            format!("sqlite3 -batch -bail {} <{}", quote(&file), kept("restore"))
        }
        Change::Command { write, .. } => format!("{} <{}", words(write), kept("old")),
    }
}

fn activate(activation: &Activation) -> Vec<String> {
    match activation {
        Activation::Systemd { action, unit, .. } => {
            let unit = quote(unit);
            // A unit that hit its start limit refuses every start.
            vec![format!("systemctl reset-failed -- {unit}; systemctl {action} -- {unit}")]
        }
        Activation::Command { run, .. } => vec![words(run)],
    }
}

fn clean(run: &RunId, host: &HostPlan) -> Vec<String> {
    let files = host.changes.iter().enumerate().filter_map(|(at, change)| match change {
        Change::File { real_path, .. } => Some(format!("rm -rf -- {}", quote(&beside(run, real_path, at + 1)))),
        Change::Sqlite { .. } | Change::Command { .. } => None,
    });
    let (state, lock) = (quote(&format!("{}/{run}", host.state)), quote(&format!("{}/lock", host.state)));
    // The lock may be another run's by now.
    let state = format!("rm -rf -- {state}; if grep -qxF -- {run} {lock}; then rm -f -- {lock}; fi");
    files.chain(units(run, host.switch)).chain([state]).collect()
}

/// A process that watches ends by itself, once its directory is gone.
fn units(run: &RunId, switch: Switch) -> Option<String> {
    let unit = |name: &str| format!("/etc/systemd/system/{name}-{run}.service");
    let wanted = unit("multi-user.target.wants/lockturn-boot");
    let (watch, boot) = (unit("lockturn"), unit("lockturn-boot"));
    (switch == Switch::Systemd)
        .then(|| format!("systemctl stop -- lockturn-{run}.service; rm -f -- {wanted} {boot} {watch}"))
}

/// The directory of a change beside its target, as the program on the host makes it.
fn beside(run: &RunId, target: &str, number: usize) -> String {
    let dir = target.rsplit_once('/').map_or("", |(dir, _)| dir);
    format!("{dir}/.lockturn-{run}-{number}")
}

fn words(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}
