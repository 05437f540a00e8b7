//! A command under strace(1), which does something to it at the N-th call of a kind: the product knows nothing of it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use super::stack::behind;

/// What is done at which call, as strace writes it: `fsync:signal=SIGKILL:when=3`.
pub(super) fn traced(command: &Command, inject: &str) -> Command {
    let (calls, _) = inject.split_once(':').unwrap();
    let (trace, inject) = (format!("trace={calls}"), format!("inject={inject}"));
    behind(
        &["strace", "-f", "-qq", "-o", "/dev/null", "-s", "0", "-e", "signal=none", "-e", &trace, "-e", &inject],
        command,
    )
}

/// As [`traced`], with a list of these calls and the files that they are about.
pub(super) fn listed(command: &Command, calls: &str, inject: &str, list: &Path) -> Command {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={inject}"));
    let list = list.to_str().unwrap();
    behind(
        &["strace", "-f", "-y", "-qq", "-o", list, "-s", "0", "-e", "signal=none", "-e", &trace, "-e", &inject],
        command,
    )
}

pub(super) fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9)
}
