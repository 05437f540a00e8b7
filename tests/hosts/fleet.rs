//! One control plane and three workers, as `inventory/nanoclaw.yml` names them, and what they really hold.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::base::Suite;
use super::guest::{Guest, Role, env};
use super::host::Host;
use super::network::Network;
use super::tools::{random_hex, run, say};
use super::world;

/// The fleet of the shipped inventory; both Debians in both roles of a jump: towards the control plane, and behind it.
const HOSTS: [(&str, Role, Suite); 4] = [
    ("control", Role::ControlPlane, Suite::Bookworm),
    ("worker-1", Role::Worker, Suite::Bookworm),
    ("worker-2", Role::Worker, Suite::Trixie),
    ("worker-3", Role::Worker, Suite::Trixie),
];

/// The workers.
pub(crate) const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

/// The host that is reached over IPv6 only.
const BY_IPV6: &str = "worker-3";

pub(crate) struct Fleet {
    pub(crate) network: Network,
    hosts: Vec<Host>,
    /// The operator's: home, state, and what lockturn said.
    pub(crate) home: PathBuf,
}

/// Every secret of the fleet: `os`, and each worker's by its name.
pub(crate) type Values = BTreeMap<String, String>;

impl Fleet {
    /// Makes and boots it.
    pub(crate) fn up(number: u8) -> Self {
        let network = Network::new(number);
        let home = PathBuf::from(world::WORK).join(format!("operator-{number}"));
        fs::create_dir_all(home.join(".ssh")).unwrap();
        let key = home.join(".ssh/id_ed25519").display().to_string();
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", &key]);
        let operator = fs::read_to_string(format!("{key}.pub")).unwrap();
        let places = || (10..).zip(HOSTS);
        let names: String = places()
            .map(|(at, (name, ..))| {
                let address = network.address(at);
                let address = if name == BY_IPV6 { address.v6 } else { address.v4 };
                format!("{address} {name}.nanoclaw.example\n")
            })
            .collect();
        let names = format!("127.0.0.1 localhost\n::1 localhost\n{names}");
        fs::write(home.join("hosts"), &names).unwrap();
        let hosts: Vec<Host> = places()
            .map(|(at, (name, role, suite))| {
                let (address, control) = (network.address(at), network.address(10));
                let guest = Guest { name, role, suite, address, control, hosts: &names, operator: &operator };
                Host::make(&guest, &network)
            })
            .collect();
        let known: String = hosts.iter().map(|host| format!("{}.nanoclaw.example {}", host.name, host.key)).collect();
        fs::write(home.join(".ssh/known_hosts"), known).unwrap();
        let fleet = Self { network, hosts, home };
        fleet.each(Host::boot);
        fleet.only_through_the_control_plane();
        fleet
    }

    /// Does something on all hosts at once.
    fn each(&self, what: impl Fn(&Host) + Sync) {
        std::thread::scope(|scope| {
            for host in &self.hosts {
                let what = &what;
                scope.spawn(move || what(host));
            }
        });
    }

    /// Otherwise a run that forgets to jump would succeed here, and fail at the operator's.
    fn only_through_the_control_plane(&self) {
        for (at, (name, role, _)) in (10..).zip(HOSTS) {
            let address = format!("{}:22", self.network.address(at).v4).parse().unwrap();
            let open = TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok();
            assert_eq!(open, role == Role::ControlPlane, "{name}: SSH from the operator");
        }
    }

    /// A host by its name.
    pub(crate) fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).unwrap()
    }

    /// All hosts.
    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    fn workers(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.role == Role::Worker)
    }

    /// Takes every fault away and gives the fleet secrets that it never had, as if it were new.
    pub(crate) fn begin(&self) -> Values {
        let values: Values = self.hosts.iter().map(|host| (value_name(host), random_hex(32))).collect();
        let state = self.home.join("state");
        if state.exists() {
            fs::remove_dir_all(&state).unwrap();
        }
        let rows: String = self
            .workers()
            .map(|Host { name, .. }| {
                let value = &values[name];
                format!(
                    "INSERT OR REPLACE INTO workers(id, ssh_host, ssh_user, local_port, shared_secret, created_at, updated_at)
                     VALUES ('{name}', '{name}', 'deploy', 7801, '{value}', '2026-01-01', '2026-01-01');"
                )
            })
            .collect();
        self.sql(&rows);
        self.each(|host| {
            let text = env(host.role, &values[&value_name(host)]);
            fs::write(host.path("/opt/nanoclaw/.env"), &text).unwrap();
            if host.role == Role::ControlPlane {
                fs::write(host.path("/opt/nanoclaw/cockpit/.env"), &text).unwrap();
            }
            let unit = host.role.unit();
            // A scenario may cut the power, and what it begins with must not be lost.
            host.sh("sync -f /opt/nanoclaw");
            host.sh("rm -f /opt/nanoclaw/only-starts-with /opt/nanoclaw/trusts /run/hold");
            host.sh(&format!("systemctl reset-failed {unit} && systemctl restart {unit}"));
            host.serves();
        });
        self.holds(&values);
        values
    }

    /// Asks the control plane's database. The text goes to standard input, because it may hold a value.
    #[track_caller]
    fn sql(&self, text: &str) -> String {
        self.host("control").sh_with("sqlite3 -batch -bail -init /dev/null /opt/nanoclaw/store/messages.db", text)
    }

    /// What a worker's file and its row on the control plane hold, and what the two files of the control plane do.
    pub(crate) fn held(&self) -> BTreeMap<String, (String, String)> {
        let rows = self.sql("SELECT id, shared_secret FROM workers;");
        let rows: BTreeMap<_, _> = rows.lines().filter_map(|line| line.split_once('|')).collect();
        let of = |host: &Host| {
            let own = in_env(&host.path("/opt/nanoclaw/.env"), host.role);
            let other = match host.role {
                Role::ControlPlane => in_env(&host.path("/opt/nanoclaw/cockpit/.env"), host.role),
                Role::Worker => rows[host.name.as_str()].to_owned(),
            };
            (value_name(host), (own, other))
        };
        self.hosts.iter().map(of).collect()
    }

    /// What both sides of every secret hold; that they differ ends the test.
    #[track_caller]
    pub(crate) fn agreed(&self) -> Values {
        let sides = self.held().into_iter();
        sides
            .map(|(name, (one, other))| {
                assert!(one == other, "{name}: the two sides hold different values");
                (name, one)
            })
            .collect()
    }

    /// Both sides hold these values, and the running processes take them.
    #[track_caller]
    pub(crate) fn holds(&self, values: &Values) {
        assert!(self.agreed() == *values, "the hosts hold other values");
        self.each(|host| {
            let taken = self.answers(host, values);
            assert!(taken.iter().all(|(name, code)| *code == right(name)), "{}: {taken:?}", host.name);
        });
    }

    /// The running processes refuse these values.
    #[track_caller]
    pub(crate) fn refuses(&self, values: &Values, of: &[&str]) {
        self.each(|host| {
            let answers = self.answers(host, values);
            let of = answers.iter().filter(|(name, _)| of.contains(&name.as_str()));
            assert!(of.clone().all(|(_, code)| code == "401"), "{}: {answers:?}", host.name);
        });
    }

    /// What the process on a host says to each value that it should know.
    fn answers(&self, host: &Host, values: &Values) -> Vec<(String, String)> {
        let known = values.iter().filter(|(name, _)| match host.role {
            Role::ControlPlane => true,
            Role::Worker => **name == host.name,
        });
        let known: Vec<_> = known.collect();
        let lines: String = known.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        let said = host.sh_with(&format!("/opt/nanoclaw/service.py ask {}", host.role.word()), &lines);
        known.iter().map(|(name, _)| (*name).clone()).zip(said.lines().map(str::to_owned)).collect()
    }

    /// The value with which the service of a worker was first started since its host was.
    pub(crate) fn first_started_with(&self, name: &str, value: &str) -> bool {
        let started = fs::read_to_string(self.host(name).path("/run/nanoclaw/started")).unwrap();
        let fingerprint: String = Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect();
        started.lines().next() == Some(fingerprint.as_str())
    }

    /// What the hosts themselves have to say after a failure.
    pub(crate) fn last_words(&self) {
        for host in &self.hosts {
            let words = host.try_sh("journalctl --no-pager --lines 25 --output short-precise", "");
            say(&format!("--- {}\n{}", host.name, String::from_utf8_lossy(&words.stdout)));
        }
    }

    /// Nothing of any run is on any host.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        self.each(|host| {
            let look = "find / -xdev -name '.lockturn*'; find /var/lib/lockturn -mindepth 1 2>/dev/null; \
                        find /etc/systemd /run/systemd -name '*lockturn*'; true";
            assert_eq!(host.sh(look), "", "{}: a run left something", host.name);
        });
    }
}

fn value_name(host: &Host) -> String {
    match host.role {
        Role::ControlPlane => "os".to_owned(),
        Role::Worker => host.name.clone(),
    }
}

/// The status that says that a value was taken: a signed request whose body is no JSON, or a page.
fn right(name: &str) -> &'static str {
    if name == "os" { "200" } else { "400" }
}

/// The value in a file, which must otherwise be as it was written.
#[track_caller]
fn in_env(path: &Path, role: Role) -> String {
    let text = fs::read_to_string(path).unwrap();
    let value = text.lines().find_map(|line| line.split_once("_SECRET=\"")).expect("the file has its line").1;
    let value = value.trim_end_matches('"').to_owned();
    assert!(text == env(role, &value), "{} was changed elsewhere too", path.display());
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "{} may be read by anybody", path.display());
    value
}
