//! What is written on a host before its first boot: who it is, who may log in, and nanoclaw.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use super::base::Suite;
use super::network::Address;
use super::stand::TOOLS;
use super::tools::{random_hex, run};

/// The user who logs in.
const DEPLOY: u32 = 1000;

/// The user of the service.
pub(crate) const NANOCLAW: u32 = 990;

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    ControlPlane,
    Worker,
}

impl Role {
    /// The unit that runs there.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::ControlPlane => "nanoclaw",
            Self::Worker => "nanoclaw-worker",
        }
    }

    /// Where it listens.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::ControlPlane => 7700,
            Self::Worker => 7801,
        }
    }

    /// What the service is told to be.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Worker => "worker",
        }
    }
}

/// A host as it will be.
pub(crate) struct Guest<'a> {
    pub(crate) name: &'a str,
    pub(crate) role: Role,
    pub(crate) suite: Suite,
    pub(crate) address: Address,
    /// The control plane's addresses: from there alone a worker takes SSH.
    pub(crate) control: Address,
    /// `/etc/hosts` of the whole fleet.
    pub(crate) hosts: &'a str,
    /// The operator's public key.
    pub(crate) operator: &'a str,
}

impl Guest<'_> {
    /// Writes the host's own layer under `top`, and gives its public host key.
    pub(crate) fn write(&self, top: &Path) -> String {
        let tree = Tree(top);
        self.identity(&tree);
        self.logins(&tree);
        self.service(&tree);
        self.host_key(&tree)
    }

    fn identity(&self, tree: &Tree<'_>) {
        let Address { v4, v6 } = &self.address;
        tree.file("etc/hostname", 0o644, 0, &format!("{}\n", self.name));
        tree.file("etc/machine-id", 0o444, 0, &format!("{}\n", random_hex(16)));
        tree.file("etc/hosts", 0o644, 0, &format!("{}127.0.1.1 {}\n", self.hosts, self.name));
        let addresses =
            format!("link set host0 up\naddress add {v4}/24 dev host0\naddress add {v6}/64 dev host0 nodad\n");
        tree.file("etc/addresses", 0o644, 0, &addresses);
        tree.unit("address.service", include_str!("guest/address.service"), "sysinit.target");
        if self.role == Role::Worker {
            let peers = format!("define control_v4 = {}\ndefine control_v6 = {}\n", self.control.v4, self.control.v6);
            tree.file("etc/nftables.peers", 0o644, 0, &peers);
            tree.file("etc/nftables.conf", 0o755, 0, include_str!("guest/firewall.nft"));
            tree.wanted("/lib/systemd/system/nftables.service", "sysinit.target");
        }
    }

    fn logins(&self, tree: &Tree<'_>) {
        let base = self.suite.base();
        for (file, mode, lines) in [
            (
                "etc/passwd",
                0o644,
                "deploy:x:1000:1000::/home/deploy:/bin/bash\nnanoclaw:x:990:990::/opt/nanoclaw:/usr/sbin/nologin\n",
            ),
            ("etc/group", 0o644, "deploy:x:1000:\nnanoclaw:x:990:\n"),
            // `*` and not `!`: no password fits, and the account is not locked.
            ("etc/shadow", 0o640, "deploy:*:19700:0:99999:7:::\nnanoclaw:*:19700:0:99999:7:::\n"),
        ] {
            let text = fs::read_to_string(base.join(file)).unwrap();
            tree.file(file, mode, 0, &format!("{text}{lines}"));
        }
        for (home, owner) in [("root", 0), ("home/deploy", DEPLOY)] {
            tree.dir(home, 0o700, owner);
            tree.dir(&format!("{home}/.ssh"), 0o700, owner);
            tree.file(&format!("{home}/.ssh/authorized_keys"), 0o600, owner, self.operator);
        }
        self.may_sudo(tree);
        for tool in TOOLS {
            tree.file(&format!("usr/sbin/{tool}"), 0o755, 0, include_str!("guest/stand.sh"));
        }
        let sshd = match self.role {
            Role::ControlPlane => include_str!("guest/sshd.conf"),
            Role::Worker => include_str!("guest/sshd-worker.conf"),
        };
        tree.file("etc/ssh/sshd_config.d/nanoclaw.conf", 0o644, 0, sshd);
    }

    fn may_sudo(&self, tree: &Tree<'_>) {
        tree.dir("etc/sudoers.d", 0o750, 0);
        tree.file("etc/sudoers.d/deploy", 0o440, 0, "deploy ALL=(ALL) NOPASSWD: ALL\n");
    }

    fn service(&self, tree: &Tree<'_>) {
        tree.dir("opt/nanoclaw", 0o755, NANOCLAW);
        tree.file("opt/nanoclaw/service.py", 0o755, 0, include_str!("guest/service.py"));
        // Values to boot with; the fleet gives it those of each scenario.
        tree.file("opt/nanoclaw/.env", 0o600, NANOCLAW, &env(self.role, &random_hex(32)));
        match self.role {
            Role::ControlPlane => {
                tree.dir("opt/nanoclaw/cockpit", 0o755, NANOCLAW);
                tree.file("opt/nanoclaw/cockpit/.env", 0o600, NANOCLAW, "");
                tree.dir("opt/nanoclaw/store", 0o755, NANOCLAW);
                // An administrator's own taste must not matter.
                tree.file("root/.sqliterc", 0o600, 0, ".mode box\n.headers on\n");
                let database = rusqlite::Connection::open(tree.at("opt/nanoclaw/store/messages.db")).unwrap();
                database.execute_batch(include_str!("guest/tables.sql")).unwrap();
                drop(database);
                chown(tree.at("opt/nanoclaw/store/messages.db"), Some(NANOCLAW), Some(NANOCLAW)).unwrap();
                tree.unit("nanoclaw.service", include_str!("guest/nanoclaw.service"), "multi-user.target");
            }
            Role::Worker => {
                let text = include_str!("guest/nanoclaw-worker.service");
                tree.unit("nanoclaw-worker.service", text, "multi-user.target");
            }
        }
    }

    fn host_key(&self, tree: &Tree<'_>) -> String {
        let key = tree.at("etc/ssh/ssh_host_ed25519_key");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", &key.display().to_string()]);
        fs::read_to_string(key.with_extension("pub")).unwrap()
    }
}

/// An `.env` that holds this secret, with more around it that must stay as it is.
pub(crate) fn env(role: Role, secret: &str) -> String {
    let key = match role {
        Role::ControlPlane => "OS_HTTP_SECRET",
        Role::Worker => "WORKER_SHARED_SECRET",
    };
    format!("# nanoclaw\nNODE_ENV=production\n{key}=\"{secret}\"\n{key}_NOTE='not this one'\n\nLOG_LEVEL=info")
}

/// A tree of files with their owners.
struct Tree<'a>(&'a Path);

impl Tree<'_> {
    fn at(&self, path: &str) -> PathBuf {
        let at = self.0.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        at
    }

    fn dir(&self, path: &str, mode: u32, owner: u32) {
        let at = self.at(path);
        fs::create_dir_all(&at).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        chown(&at, Some(owner), Some(owner)).unwrap();
    }

    fn file(&self, path: &str, mode: u32, owner: u32, text: &str) {
        let at = self.at(path);
        fs::write(&at, text).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        chown(&at, Some(owner), Some(owner)).unwrap();
    }

    fn unit(&self, name: &str, text: &str, wanted_by: &str) {
        let path = format!("etc/systemd/system/{name}");
        self.file(&path, 0o644, 0, text);
        self.wanted(&format!("/{path}"), wanted_by);
    }

    fn wanted(&self, unit: &str, by: &str) {
        let name = unit.rsplit('/').next().unwrap();
        symlink(unit, self.at(&format!("etc/systemd/system/{by}.wants/{name}"))).unwrap();
    }
}
