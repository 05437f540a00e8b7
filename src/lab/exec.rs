//! Runs one command of a session channel: a real `/bin/sh -c` in the host's directory, its three streams piped with back-pressure.
//!
//! **Invariant:** when the channel, the session, the host or the lab ends first, the command's whole process group is killed,
//! by its own number. Tested in `tests/it/lab.rs`.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;

use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

/// The exit status of a command that could not be started, as shells have it.
const NOT_STARTED: u32 = 127;
/// Shells report a death by signal as this much plus the signal.
const SIGNAL_BASE: i32 = 128;

/// Runs the command to its end, or until the token is cancelled.
pub(super) async fn run(channel: Channel<Msg>, command: String, home: &Path, token: CancellationToken) {
    let (mut read, write) = channel.split();
    let status = match spawn(&command, home) {
        Ok(mut child) => {
            let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let (mut out, mut err) = (write.make_writer(), write.make_writer_ext(Some(1)));
            let output = async {
                let copy_out = async {
                    if let Some(mut stdout) = stdout {
                        let _ = tokio::io::copy(&mut stdout, &mut out).await;
                    }
                };
                let copy_err = async {
                    if let Some(mut stderr) = stderr {
                        let _ = tokio::io::copy(&mut stderr, &mut err).await;
                    }
                };
                tokio::join!(copy_out, copy_err);
                child.wait().await
            };
            let ended = tokio::select! {
                () = token.cancelled() => None,
                () = feed(&mut read, stdin) => None,
                status = output => Some(status),
            };
            match ended {
                Some(Ok(status)) => {
                    let code = status.code().unwrap_or_else(|| SIGNAL_BASE + status.signal().unwrap_or(0));
                    u32::try_from(code).unwrap_or(NOT_STARTED)
                }
                Some(Err(_)) | None => {
                    kill(child).await;
                    let _ = write.close().await;
                    return;
                }
            }
        }
        Err(_) => NOT_STARTED,
    };
    let _ = write.exit_status(status).await;
    let _ = write.eof().await;
    let _ = write.close().await;
}

fn spawn(command: &str, home: &Path) -> std::io::Result<Child> {
    Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("USER", "deploy")
        .env("LOGNAME", "deploy")
        .env("SHELL", "/bin/sh")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: it can be killed with everything that it started, and nothing else.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Passes the channel's data on to the command; returns when the channel is closed.
async fn feed(read: &mut ChannelReadHalf, mut stdin: Option<ChildStdin>) {
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                let failed = match &mut stdin {
                    Some(pipe) => pipe.write_all(&data).await.is_err(),
                    None => false,
                };
                // The command does not read any more; what still comes is discarded, as sshd does.
                if failed {
                    stdin = None;
                }
            }
            ChannelMsg::Eof => stdin = None,
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

async fn kill(mut child: Child) {
    // Only while the child is not reaped is its number surely its own.
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait().await;
}
