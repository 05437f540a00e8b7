//! The program on a host, in a real shell: what each verb does, what it refuses, and that twice is once.
//!
//! The shell is `/bin/sh` here; `tests/real` runs the same tests under every shell that hosts have.

#[path = "../support/shell_host.rs"]
pub(crate) mod shell_host;

#[tokio::test]
async fn under_bin_sh() {
    shell_host::every_verb(&["/bin/sh"]).await;
}
