//! A host that stands still in the middle of a step, at a moment that the scenario chooses.

use std::fs;

use super::host::Host;
use super::tools::eventually;

/// The tools of the program on a host that can stand still: each host has `guest/stand.sh` under these names, before the tools.
pub(crate) const TOOLS: [&str; 3] = ["mv", "rm", "sync"];

/// One call of a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) tool: &'static str,
    /// `before` it does its work, or `after`.
    pub(crate) moment: &'static str,
    /// What its arguments look like, as `case` matches them.
    pub(crate) pattern: &'static str,
}

/// From when it is made until it is dropped, the first call of this kind stands still.
pub(crate) struct Standing<'a> {
    host: &'a Host,
}

impl<'a> Standing<'a> {
    pub(crate) fn at(host: &'a Host, call: Call) -> Self {
        let Call { tool, moment, pattern } = call;
        host.sh_with(
            "rm -f /run/standing && cat >/run/stand.part && mv /run/stand.part /run/stand",
            &format!("{tool} {moment} {pattern}\n"),
        );
        Self { host }
    }

    /// Waits until it stands.
    #[track_caller]
    pub(crate) fn wait(&self) {
        let standing = self.host.path("/run/standing");
        eventually(&format!("{} stands still", self.host.name), || standing.exists().then_some(()));
    }
}

impl Drop for Standing<'_> {
    /// It goes on. A host without power stands nowhere.
    fn drop(&mut self) {
        if self.host.is_up() {
            let _gone = fs::remove_file(self.host.path("/run/stand"));
        }
    }
}
