//! The program on a host under every shell that hosts have.

#[path = "../support/shell_host.rs"]
pub(crate) mod shell_host;

#[tokio::test]
async fn under_dash() {
    shell_host::every_verb(&["dash"]).await;
}

#[tokio::test]
async fn under_bash() {
    shell_host::every_verb(&["bash"]).await;
}

#[tokio::test]
async fn under_bash_as_sh() {
    shell_host::every_verb(&["bash", "--posix"]).await;
}

#[tokio::test]
async fn under_busybox_ash() {
    shell_host::every_verb(&["busybox", "sh"]).await;
}

#[tokio::test]
async fn under_mksh() {
    shell_host::every_verb(&["mksh"]).await;
}
