//! A few sshd on loopback, each with its own port, key, log and file to rotate, and all that lockturn needs to talk to them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Far longer than anything here takes: only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Sshd {
    pub(crate) port: u16,
    process: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sshd {
    pub(crate) fn stop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// A directory with keys and files, and the servers that use it. Host N is `hN`: its key is `host-N`, its log `log-N`.
pub(crate) struct Fleet {
    dir: tempfile::TempDir,
    pub(crate) hosts: Vec<Sshd>,
}

impl Fleet {
    /// One sshd for each of these additions to a plain configuration, in which `DIR` is the fleet's directory. All of them let the key
    /// `ed25519` in.
    pub(crate) fn up(configs: &[&str]) -> Self {
        let mut fleet = Self { dir: tempfile::tempdir().unwrap(), hosts: Vec::new() };
        fleet.make_key("ed25519", "ed25519", "");
        fleet.authorize(&["ed25519"]);
        for config in configs {
            fleet.start(config, &[]);
        }
        fleet.know(|number| format!("host-{number}"));
        fleet.inventory(|_| "identity_file: ed25519".to_owned());
        fleet.playbook("");
        fleet
    }

    /// Starts one more sshd, by these words before it (`unshare --mount …`).
    pub(crate) fn start(&mut self, config: &str, before: &[&str]) {
        let number = self.hosts.len();
        self.make_key(&format!("host-{number}"), "ed25519", "");
        fs::create_dir(self.at(&format!("files-{number}"))).unwrap();
        fs::write(self.env(number), "# kept\r\nA=1\r\nTOKEN=\"old-old-old\"\r\n").unwrap();
        // sshd wants this directory where it gives its rights away, which it does as root only.
        let _not_root = fs::create_dir_all("/run/sshd");
        let until = Instant::now() + PATIENCE;
        let sshd = loop {
            match self.start_at_a_free_port(number, config, before, until) {
                Some(sshd) => break sshd,
                None => assert!(Instant::now() < until, "sshd does not come up: {}", self.log(number)),
            }
        };
        self.hosts.push(sshd);
    }

    /// Nothing if somebody else took the port in the meantime, and so the connections that are meant for this host.
    fn start_at_a_free_port(&self, number: usize, config: &str, before: &[&str], until: Instant) -> Option<Sshd> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| self.at(name).display().to_string();
        let text = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             LogLevel VERBOSE\n{}\n",
            at(&format!("host-{number}")),
            at("authorized"),
            config.replace("DIR", &self.dir.path().display().to_string()),
        );
        let (file, log) = (at(&format!("config-{number}")), at(&format!("log-{number}")));
        fs::write(&file, text).unwrap();
        fs::write(&log, "").unwrap();
        let mut words = before.to_vec();
        words.extend(["/usr/sbin/sshd", "-D", "-f", &file, "-E", &log]);
        words.extend(without_penalties(&file));
        let process = Command::new(words[0]).args(&words[1..]).spawn();
        let process = process.unwrap_or_else(|error| panic!("{}: {error}; `make test` installs it", words[0]));
        let mut sshd = Sshd { port, process };
        while !self.log(number).contains(&format!("Server listening on 127.0.0.1 port {port}.")) {
            if sshd.process.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < until, "sshd does not come up: {}", self.log(number));
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(sshd)
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn env(&self, number: usize) -> PathBuf {
        // Each host has a directory of its own: a run's files lie beside the file.
        self.at(&format!("files-{number}/env"))
    }

    pub(crate) fn log(&self, number: usize) -> String {
        fs::read_to_string(self.at(&format!("log-{number}"))).unwrap_or_default()
    }

    pub(crate) fn make_key(&self, name: &str, kind: &str, passphrase: &str) {
        let path = self.at(name);
        let args = ["-q", "-t", kind, "-N", passphrase, "-C", name, "-f"];
        let made = Command::new("ssh-keygen").args(args).arg(path).status();
        assert!(made.is_ok_and(|status| status.success()), "ssh-keygen is missing; `make test` installs it");
    }

    pub(crate) fn public(&self, key: &str) -> String {
        fs::read_to_string(self.at(&format!("{key}.pub"))).unwrap()
    }

    /// These keys, and no others, may log in.
    pub(crate) fn authorize(&self, keys: &[&str]) {
        let keys: String = keys.iter().map(|key| self.public(key)).collect();
        fs::write(self.at("authorized"), keys).unwrap();
    }

    /// Makes these the keys that known_hosts has for the servers.
    pub(crate) fn know(&self, key: impl Fn(usize) -> String) {
        let line = |(number, sshd): (usize, &Sshd)| format!("[127.0.0.1]:{} {}", sshd.port, self.public(&key(number)));
        let lines: String = self.hosts.iter().enumerate().map(line).collect();
        fs::write(self.at("known"), lines).unwrap();
    }

    /// Writes the inventory: what it says of each host besides, or instead of, where it is.
    pub(crate) fn inventory(&self, vars: impl Fn(usize) -> String) {
        let line = |(number, sshd): (usize, &Sshd)| {
            let own = vars(number);
            let state = self.at(&format!("state-{number}"));
            let usual = [
                ("address", "127.0.0.1".to_owned()),
                ("port", sshd.port.to_string()),
                ("user", user()),
                ("known_hosts", "known".to_owned()),
                ("state_dir", state.display().to_string()),
            ];
            let usual = usual.iter().filter(|(name, _)| !own.contains(&format!("{name}: ")));
            let usual: String = usual.map(|(name, value)| format!("{name}: {value}, ")).collect();
            format!("    h{number}: {{ {usual}{own} }}\n")
        };
        let lines: String = self.hosts.iter().enumerate().map(line).collect();
        fs::write(self.at("inventory.yml"), format!("all:\n  hosts:\n{lines}")).unwrap();
    }

    /// Writes the playbook: one secret in each host's file, proved by that file, and by this probe as well.
    pub(crate) fn playbook(&self, probe: &str) {
        self.playbook_for(&(0..self.hosts.len()).collect::<Vec<_>>(), probe);
    }

    pub(crate) fn playbook_for(&self, hosts: &[usize], probe: &str) {
        let target = |number: &usize| {
            let env = self.env(*number).display().to_string();
            format!(
                "  - hosts: h{number}\n    put: [ {{ secret: token, dotenv: {{ file: {env}, key: TOKEN }} }} ]\n    verify:\n      \
                 - command: {{ name: the file has it, run: [sh, -c, 'v=$(cat); grep -qF \"TOKEN=\\\"$v\\\"\" {env}'], \
                 expect: {{ new: 0, old: 1 }} }}\n{probe}"
            )
        };
        let targets: String = hosts.iter().map(target).collect();
        let head = "version: 1\nname: token\nsecrets: { token: { generate: { base64: 24 } } }\ntargets:\n";
        fs::write(self.at("playbook"), format!("{head}{targets}")).unwrap();
    }

    /// lockturn with these words, away from the operator's own surroundings.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockturn"));
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("USER", user())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .arg("-i")
            .arg(self.at("inventory.yml"))
            .arg("--state")
            .arg(self.at("state"))
            .args(words)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn rotation(&self) -> Command {
        let mut command = self.command(&["--yes", "rotate"]);
        command.arg(self.at("playbook"));
        command
    }

    #[track_caller]
    pub(crate) fn rotate(&self, code: i32) -> String {
        ended(&self.rotation().output().unwrap(), code)
    }

    /// Refused for this reason, in these words, with nothing changed.
    #[track_caller]
    pub(crate) fn refuses(&self, kind: &str, words: &str) {
        let said = self.rotate(4);
        assert!(said.contains(kind) && said.contains(words), "no `{kind}: … {words}` in: {said}");
        for number in 0..self.hosts.len() {
            let env = fs::read_to_string(self.env(number)).unwrap();
            assert!(env.contains("old-old-old"), "h{number} was changed");
        }
    }
}

/// What keeps an sshd from shutting us out for logins that fail on purpose: since OpenSSH 9.8 it does, and does not know the words
/// before.
fn without_penalties(config: &str) -> &'static [&'static str] {
    const OFF: [&str; 2] = ["-o", "PerSourcePenalties=no"];
    let knows = Command::new("/usr/sbin/sshd").args(["-t", "-f", config]).args(OFF).stderr(Stdio::null()).status();
    if knows.is_ok_and(|status| status.success()) { &OFF } else { &[] }
}

#[track_caller]
pub(crate) fn ended(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Who runs the tests, and so whom the servers let in.
pub(crate) fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Writes a program.
pub(crate) fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
