//! One host: a real Debian with systemd, sshd and sudo, its own disk, its own addresses.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::Mutex;

use super::base::Suite;
use super::guest::{Guest, Role};
use super::network::{Network, Way};
use super::tools::{command, eventually, printed, run};
use super::world;

/// A host's own disk, sparse: large enough for everything, small enough to be filled.
const DISK: &str = "192M";

/// `EXT4_IOC_SHUTDOWN` with "no log flush": from here on the disk takes nothing any more, as if its power were gone.
const DISK_STOPS: &str =
    "open my $f, '<', $ARGV[0] or die $!; my $how = pack 'L', 2; ioctl $f, 0x8004587d, $how or die $!;";

pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) key: String,
    suite: Suite,
    bridge: String,
    machine: String,
    dir: PathBuf,
    group: String,
    running: Mutex<Option<Running>>,
}

struct Running {
    nspawn: Child,
    /// The first process of the host.
    leader: u32,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Host {
    /// Makes the disk of a host. It is not up yet.
    pub(crate) fn make(guest: &Guest<'_>, network: &Network) -> Self {
        let fleet = PathBuf::from(world::WORK).join(format!("hosts/{}", network.number()));
        let dir = fleet.join(guest.name);
        for name in ["disk", "root", "layer/upper", "layer/work"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let key = guest.write(&dir.join("layer/upper"));
        let (image, layer) = (dir.join("disk.img").display().to_string(), dir.join("layer").display().to_string());
        run("truncate", &["-s", DISK, &image]);
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-d", &layer, &image]);
        fs::remove_dir_all(layer).unwrap();
        Self {
            name: guest.name.to_owned(),
            role: guest.role,
            key,
            suite: guest.suite,
            bridge: network.bridge(),
            machine: format!("{}-{}", network.number(), guest.name),
            dir,
            group: world::inside().unwrap(),
            running: Mutex::new(None),
        }
    }

    /// Its port on the bridge.
    pub(crate) fn port(&self) -> String {
        format!("vb-{}", self.machine)
    }

    /// Boots it and waits until it and its service can be talked to.
    pub(crate) fn boot(&self) {
        let port = self.port();
        eventually("the port of the last boot is gone", || (!has_interface(&port)).then_some(()));
        let script = self.dir.join("boot.sh");
        fs::write(&script, include_str!("boot.sh")).unwrap();
        let console = File::options().create(true).append(true).open(self.dir.join("console")).unwrap();
        let nspawn = command("unshare")
            .args(["--mount", "--propagation", "private", "sh"])
            .args([&script, &self.dir, &self.suite.base()])
            .args([&self.machine, &self.name, &self.bridge, &self.group])
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();
        let mut running = Running { nspawn, leader: 0 };
        running.leader = eventually(&format!("{} boots", self.name), || {
            let ended = running.nspawn.try_wait().unwrap();
            assert!(ended.is_none(), "{} does not boot: {}", self.name, self.console());
            let leader = child_of(running.nspawn.id())?;
            [22, self.role.port()].iter().all(|port| listens(leader, *port)).then_some(leader)
        });
        *self.running.lock().unwrap() = Some(running);
    }

    fn console(&self) -> String {
        fs::read_to_string(self.dir.join("console")).unwrap_or_default()
    }

    /// Whether it runs.
    pub(crate) fn is_up(&self) -> bool {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
    }

    fn leader(&self) -> u32 {
        self.running.lock().unwrap().as_ref().expect("the host is up").leader
    }

    /// A path on the host, as seen from here.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader()))
    }

    /// Everything that was ever written on the host, as it lies on its disk.
    pub(crate) fn layer(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.nspawn(), self.dir.join("disk/upper").display()))
    }

    /// Runs a line of shell on the host as root, not through SSH.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        self.sh_with(line, "")
    }

    /// The same, with something on its standard input.
    #[track_caller]
    pub(crate) fn sh_with(&self, line: &str, input: &str) -> String {
        printed(&format!("{}: {line}", self.name), &self.try_sh(line, input))
    }

    /// The same, whatever becomes of it.
    pub(crate) fn try_sh(&self, line: &str, input: &str) -> Output {
        use std::io::Write as _;
        let mut child = command("nsenter")
            .args(["--target", &self.leader().to_string(), "--all", "--root", "--wd", "/bin/sh", "-c", line])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Waits until its service listens.
    pub(crate) fn serves(&self) {
        let leader = self.leader();
        eventually(&format!("{} serves", self.name), || listens(leader, self.role.port()).then_some(()));
    }

    /// The power goes: the network hears nothing of it, what was not synced is lost.
    pub(crate) fn power_cut(&self, network: &Network) {
        network.cut_off(&self.port(), Way::Both);
        let disk = format!("/proc/{}/root{}", self.nspawn(), self.dir.join("disk").display());
        run("perl", &["-e", DISK_STOPS, &disk]);
        self.stop();
        eventually("the port is gone", || (!has_interface(&self.port())).then_some(()));
        network.mend();
    }

    /// It is told to start again, and does so in good order.
    pub(crate) fn reboot(&self) {
        self.sh("systemctl --no-block reboot");
        let mut running = self.running.lock().unwrap().take().expect("the host is up");
        eventually("it goes down", || running.nspawn.try_wait().unwrap());
        self.boot();
    }

    fn nspawn(&self) -> u32 {
        self.running.lock().unwrap().as_ref().expect("the host is up").nspawn.id()
    }

    fn stop(&self) {
        let Some(mut running) = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() else {
            return;
        };
        // The kernel ends every process of the host with its first one; nspawn follows.
        let leader = i32::try_from(running.leader).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(leader) = leader {
            let _gone = rustix::process::kill_process(leader, rustix::process::Signal::KILL);
        }
        let _ended = running.nspawn.wait();
    }
}

fn child_of(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether something listens there, without touching it: an sshd remembers who connects and says nothing.
fn listens(leader: u32, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        let table = fs::read_to_string(format!("/proc/{leader}/net/{table}")).unwrap_or_default();
        table.lines().any(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            words.len() > 3 && words[1].ends_with(&format!(":{port:04X}")) && words[3] == "0A"
        })
    })
}

fn has_interface(name: &str) -> bool {
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    devices.lines().any(|line| line.trim_start().starts_with(&format!("{name}:")))
}
