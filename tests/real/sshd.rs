//! Debian's OpenSSH server: the real binary rotates a file on it, with each kind of key, and refuses a host that is another.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Sshd {
    dir: tempfile::TempDir,
    process: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

impl Sshd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for (name, kind) in
            [("host", "ed25519"), ("other", "ed25519"), ("ed25519", "ed25519"), ("rsa", "rsa"), ("ecdsa", "ecdsa")]
        {
            let made = Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f", &at(name)]).status();
            assert!(made.is_ok_and(|status| status.success()), "ssh-keygen is missing; `make test` installs it");
        }
        let keys: String = ["ed25519", "rsa", "ecdsa"]
            .iter()
            .map(|key| fs::read_to_string(at(&format!("{key}.pub"))).unwrap())
            .collect();
        fs::write(at("authorized"), keys).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n",
            at("host"),
            at("authorized")
        );
        fs::write(at("config"), config).unwrap();
        // sshd wants this directory where it gives its rights away, which it does as root only.
        let _not_root = fs::create_dir_all("/run/sshd");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-f", &at("config"), "-E", &at("log")])
            .spawn()
            .expect("sshd is missing; `make test` installs it");
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "sshd does not come up: {:?}", fs::read_to_string(at("log")));
            std::thread::yield_now();
        }
        let sshd = Self { dir, process };
        sshd.know("host", port);
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        for key in ["ed25519", "rsa", "ecdsa"] {
            let host =
                format!("address: 127.0.0.1, port: {port}, user: {user}, identity_file: {key}, known_hosts: known");
            let state = sshd.at("run-state").display().to_string();
            let text = format!("all: {{ hosts: {{ h: {{ {host}, state_dir: {state} }} }} }}\n");
            fs::write(sshd.at(&format!("{key}.yml")), text).unwrap();
        }
        fs::write(sshd.at("port"), port.to_string()).unwrap();
        fs::write(sshd.at(".env"), "# kept\r\nA=1\r\nTOKEN=\"old-old-old\"\r\n").unwrap();
        fs::set_permissions(sshd.at(".env"), fs::Permissions::from_mode(0o640)).unwrap();
        let env = sshd.at(".env").display().to_string();
        let playbook = format!(
            "version: 1\nname: token\nsecrets: {{ token: {{ generate: {{ base64: 24 }} }} }}\ntargets:\n  - hosts: all\n    put: [ {{ secret: token, dotenv: {{ file: {env}, key: TOKEN }} }} ]\n    verify:\n      - command: {{ name: the file has it, run: [sh, -c, 'v=$(cat); grep -qF \"TOKEN=\\\"$v\\\"\" {env}'], expect: {{ new: 0, old: 1 }} }}\n"
        );
        fs::write(sshd.at("playbook"), playbook).unwrap();
        sshd
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes this the key that known_hosts has for the server.
    fn know(&self, key: &str, port: u16) {
        let public = fs::read_to_string(self.at(&format!("{key}.pub"))).unwrap();
        fs::write(self.at("known"), format!("[127.0.0.1]:{port} {public}")).unwrap();
    }

    fn rotate(&self, key: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lockturn"))
            .arg("-i")
            .arg(self.at(&format!("{key}.yml")))
            .arg("--state")
            .arg(self.at("state"))
            .args(["--yes", "rotate"])
            .arg(self.at("playbook"))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn a_file_is_rotated_with_each_kind_of_key_and_every_other_byte_stays() {
    let sshd = Sshd::start();
    for key in ["ed25519", "rsa", "ecdsa"] {
        let before = fs::read_to_string(sshd.at(".env")).unwrap();
        ended(&sshd.rotate(key), 0);
        let after = fs::read_to_string(sshd.at(".env")).unwrap();
        assert_ne!(before, after, "{key}");
        assert!(after.starts_with("# kept\r\nA=1\r\nTOKEN=\"") && after.ends_with("\"\r\n"), "{after:?}");
        assert_eq!(fs::metadata(sshd.at(".env")).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(sshd.at("run-state")).unwrap().count(), 0, "the run left something");
    }
}

#[test]
fn a_host_that_is_another_gets_no_login_and_no_byte() {
    let sshd = Sshd::start();
    let port: u16 = fs::read_to_string(sshd.at("port")).unwrap().parse().unwrap();
    let before = fs::read(sshd.at(".env")).unwrap();
    sshd.know("other", port);
    assert!(ended(&sshd.rotate("ed25519"), 4).contains("host-key-changed"));
    // A known host that shows a key of another algorithm is another host, not an unknown one.
    sshd.know("ecdsa", port);
    assert!(ended(&sshd.rotate("ed25519"), 4).contains("host-key-changed"));
    fs::write(sshd.at("known"), "").unwrap();
    assert!(ended(&sshd.rotate("ed25519"), 4).contains("host-key-unknown"));
    assert_eq!(fs::read(sshd.at(".env")).unwrap(), before);
    let log = fs::read_to_string(sshd.at("log")).unwrap_or_default();
    assert!(!log.contains("Accepted"), "we logged in: {log}");
}

#[test]
fn a_key_that_the_server_does_not_take_is_said_to_be_refused() {
    let sshd = Sshd::start();
    fs::write(sshd.at("authorized"), "").unwrap();
    assert!(ended(&sshd.rotate("ed25519"), 4).contains("auth-refused"));
}
