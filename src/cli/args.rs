//! What can be typed.

use std::path::PathBuf;

use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::model::{DrillFault, HostName, Manager, Millis, Selector};

use super::evidence::{EvidenceArgs, duration};

/// The inventory if nobody names one.
pub(super) const USUAL_INVENTORY: &str = "inventory/";

/// Change the secrets of a whole fleet of hosts at one moment, prove it, or take the whole fleet back.
#[derive(Debug, Parser)]
#[command(
    name = "lockturn",
    version,
    max_term_width = 100,
    after_help = "Exit codes:\n   \
                  0  done as asked, proved\n   \
                  1  rolled back: every host is on the old secret\n   \
                  2  the command line is wrong\n   \
                  3  the inventory or the playbook is not valid\n   \
                  4  refused; nothing was changed\n   \
                  5  another run holds the lock, or one is not finished\n   \
                  6  a person must look; the hosts are named\n   \
                  7  done, and something is still owed; it is named\n  \
                  70  a bug in lockturn\n\n\
                  Try it without any host: lockturn demo"
)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,

    /// Inventory: a file, a program that prints one, or a directory of them, as Ansible has them
    #[arg(short, long, global = true, value_name = "PATH", default_value = USUAL_INVENTORY)]
    pub inventory: PathBuf,

    /// Where runs are remembered [default: $XDG_STATE_HOME/lockturn]
    #[arg(long, global = true, value_name = "DIR", env = "LOCKTURN_STATE")]
    pub state: Option<PathBuf>,

    /// How to speak [default: human on a terminal, plain elsewhere]
    #[arg(long, global = true, value_name = "FORM")]
    pub output: Option<Output>,

    /// Host keys to trust, instead of those that the inventory names [default: ~/.ssh/known_hosts]
    #[arg(long, global = true, value_name = "FILE")]
    pub known_hosts: Option<PathBuf>,

    /// Touch only these hosts; refused if others share a value with them
    #[arg(short, long, global = true, value_name = "SELECTOR")]
    pub limit: Option<Selector>,

    /// Do not ask before hosts are changed
    #[arg(short, long, global = true)]
    pub yes: bool,

    /// Say more on standard error; twice for debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The verbs that ask before they change hosts.
const ASK: [&str; 6] = ["rotate", "drill", "resume", "rollback", "quarantine", "release"];

/// The verbs that can be told to touch some hosts only.
const LIMIT: [&str; 7] = ["check", "hosts", "plan", "rotate", "drill", "resume", "status"];

impl Args {
    /// What was typed; ends the process where that is nothing that can be done.
    #[must_use]
    pub fn typed() -> Self {
        let typed = Self::from_arg_matches(&Self::command_line().get_matches());
        typed.unwrap_or_else(|error| error.exit())
    }

    /// All that can be typed. A verb takes each flag and offers those that mean something to it.
    #[must_use]
    pub fn command_line() -> Command {
        let command = Self::command();
        let flag = |name: &str| -> Option<Arg> { command.get_arguments().find(|arg| arg.get_id() == name).cloned() };
        let flags = [("yes", &ASK[..]), ("limit", &LIMIT[..])].map(|(name, verbs)| (flag(name), verbs));
        command.mut_subcommands(|verb| {
            let name = verb.get_name().to_owned();
            let others = flags.iter().filter(|(_, verbs)| !verbs.contains(&name.as_str()));
            verb.args(others.filter_map(|(flag, _)| flag.clone()).map(|flag| flag.hide(true)))
        })
    }
}

/// How to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Progress that redraws itself, and tables
    Human,
    /// Lines, one after the other
    Plain,
    /// One JSON object a line on standard output
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write an inventory and a playbook to begin with
    #[command(after_help = "Example:\n  lockturn init && $EDITOR inventory/hosts.yml && lockturn check")]
    Init {
        /// Where
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Validate the inventory and playbooks, without any connection
    #[command(after_help = "Examples:\n  lockturn check\n  lockturn check playbooks/worker-secret.yml --output json")]
    Check {
        /// Playbooks to validate, besides the inventory [default: those in playbooks/]
        playbooks: Vec<PathBuf>,
    },
    /// List the hosts that a selector names
    #[command(
        after_help = "Examples:\n  lockturn hosts\n  lockturn hosts 'workers:!worker-3'\n  lockturn hosts 'zone=eu'"
    )]
    Hosts {
        /// Which hosts
        #[arg(default_value = "all")]
        selector: String,
    },
    /// Show what a rotation would change, read only
    #[command(after_help = "Example:\n  lockturn plan playbooks/worker-secret.yml")]
    Plan {
        /// The playbook
        playbook: PathBuf,
    },
    /// Rotate: plan, ask, do, prove
    #[command(
        after_help = "Examples:\n  lockturn rotate playbooks/worker-secret.yml\n  lockturn rotate --yes --output json playbooks/worker-secret.yml"
    )]
    Rotate {
        /// The playbook
        playbook: PathBuf,
    },
    /// Rehearse on real hosts: rotate a few of them, break something on purpose, and prove that everybody goes back
    #[command(
        after_help = "It asks before it changes anything, and ends on the old secret whatever happens: the new values die with it.\n\
                      Services restart as in a rotation that goes back. With lost-host and dead-coordinator it waits until leases have ended \
                      (`rollout: lease:`); Ctrl-C takes everybody back at once. Exit 0: the way back was proved.\n\n\
                      Examples:\n  lockturn drill playbooks/worker-secret.yml\n  \
                      lockturn drill playbooks/worker-secret.yml --fault dead-coordinator\n  \
                      lockturn drill playbooks/worker-secret.yml -l 'worker-3,control' --fault lost-host"
    )]
    Drill {
        /// The playbook; without --limit the fewest hosts that can be rotated without the others take part
        playbook: PathBuf,
        /// What goes wrong on purpose
        #[arg(long, value_enum, default_value_t = FaultName::Proof)]
        fault: FaultName,
    },
    /// Finish a run that was left, asking the hosts what they hold
    #[command(
        after_help = "It goes on with what was confirmed when the run began, so it does not ask. With --from-hosts it shows what the \
                      hosts say, and asks.\n\n\
                      Examples:\n  lockturn resume\n  lockturn resume --from-hosts\n  lockturn resume --from-hosts 01JD"
    )]
    Resume {
        /// Which run [default: the one that is unfinished]
        run: Option<String>,
        /// The ledger is lost or damaged: ask every host of the inventory what it knows of the run, and remember that from now on, in
        /// another --state where there is a damaged one
        #[arg(long)]
        from_hosts: bool,
    },
    /// Take back a run that was left before it was decided
    #[command(after_help = "It asks first: whatever has proved the new secret gives it up again.\n\n\
                      Examples:\n  lockturn rollback\n  lockturn rollback 01JD --unproved")]
    Rollback {
        /// Which run [default: the one that is unfinished]
        run: Option<String>,
        /// You have seen for yourself that the services take the old secret: release every host that holds it again, even where its
        /// services cannot be restarted or probed as was planned; exit 7 says where that was so
        #[arg(long)]
        unproved: bool,
    },
    /// Isolate hosts: every other host drops them, they drop everybody but us, and the control plane forgets what they know
    #[command(
        after_help = "It asks before it changes anything. Rules that are not confirmed over a fresh connection go by themselves.\n\
                      Exit 0: every peer is proved to drop the hosts; 6: not every one, and they are named; 4: refused.\n\
                      With --playbook the control plane forgets what the hosts know, and exit 0 means that too. It says which secrets, as in \
                      playbooks/quarantine.yml. It can be done later too: the same command again. Rotate afterwards what they shared with others.\n\n\
                      Examples:\n  lockturn quarantine worker-3 --reason 'strange logins'\n  \
                      lockturn quarantine worker-3 --evidence evidence/ --recipient age1… --expires 24h\n  \
                      lockturn quarantine worker-3 --playbook playbooks/quarantine.yml\n  \
                      lockturn quarantine worker-3 --manager 192.0.2.0/28 --show\n  lockturn quarantine worker-2 worker-3 --even worker-2 --even worker-3"
    )]
    Quarantine {
        /// Which hosts
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<HostName>,
        /// Why, for the ledger
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// You mean it although something speaks against isolating this host
        #[arg(long, value_name = "HOST")]
        even: Vec<HostName>,
        /// What the control plane forgets of the hosts: a playbook with `forget:`
        #[arg(long, value_name = "FILE")]
        playbook: Option<PathBuf>,
        /// From where else the hosts may be managed, over SSH: an address, or a prefix such as 192.0.2.0/28. Repeatable. Where we come
        /// from is let in anyway
        #[arg(long, value_name = "ADDRESS")]
        manager: Vec<Manager>,
        /// Print the rules that each host would get, and change nothing
        #[arg(long)]
        show: bool,
        /// When it must be looked at again: from then on `status` and `runs` say so and end with 7. Nobody is let out by itself
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Millis>,
        /// What the hosts show before they are isolated
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
    /// Let hosts out of quarantine: their rules go, from them and from every other host, and nothing else
    #[command(
        after_help = "It asks before it changes anything. What a host knew is not made secret again: rotate afterwards.\n\
                      Exit 0: the rules are gone everywhere, and every peer is proved to reach the hosts again; 6: not every one, and they \
                      are named; 4: refused.\n\n\
                      Example:\n  lockturn release worker-3"
    )]
    Release {
        /// Which hosts
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<HostName>,
    },
    /// Show what each host really holds now, and whether it has its rules where somebody is in quarantine
    #[command(
        after_help = "Exit 0: hosts that share a value hold the same, and no run has left anything; 6: some hold another one, did not answer, or \
                      have not their rules, or have not forgotten what a host in quarantine knows; 7: a run has left something, or still goes on.\n\n\
                      Examples:\n  lockturn status playbooks/worker-secret.yml\n  lockturn status -l 'workers:!worker-3' playbooks/worker-secret.yml"
    )]
    Status {
        /// The playbook that says which secrets live where
        playbook: PathBuf,
    },
    /// List the runs
    #[command(after_help = "Examples:\n  lockturn runs\n  lockturn runs --output json")]
    Runs,
    /// Show one run
    #[command(
        after_help = "Examples (the beginning of a run's name is enough):\n  lockturn show 01JD\n  lockturn show 01JD --output json"
    )]
    Show {
        /// Which run
        run: String,
    },
    /// Examine the ledger
    Ledger {
        /// What to do with it
        #[command(subcommand)]
        verb: LedgerVerb,
    },
    /// Watch an embedded fleet rotate, fail, and go back
    Demo {
        /// How many workers
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
        workers: u32,
    },
    /// Run the crash battery on embedded fleets, and say what held
    #[command(after_help = super::selftest::help())]
    Selftest {
        /// Which rows [default: all]
        #[arg(value_name = "ROW")]
        rows: Vec<String>,
        /// Every point of every row, not one in some: many minutes
        #[arg(long)]
        full: bool,
    },
    /// Keep an embedded fleet to play with
    Lab {
        /// What to do with it
        #[command(subcommand)]
        verb: LabVerb,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// The stand-in for sqlite3 on hosts of the embedded fleet
    #[command(hide = true, name = "lab-sqlite3", disable_help_flag = true)]
    LabSqlite3 {
        /// As sqlite3 takes them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// What goes wrong in a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FaultName {
    /// Every host proves the new value; then one proof is declared failed, and all go back
    Proof,
    /// After the cut one host hears nothing more: it must go back by itself when its lease ends, the others with us
    LostHost,
    /// After the cut nobody hears anything: every host must go back by itself when its lease ends
    DeadCoordinator,
}

impl From<FaultName> for DrillFault {
    fn from(name: FaultName) -> Self {
        match name {
            FaultName::Proof => Self::Proof,
            FaultName::LostHost => Self::LostHost,
            FaultName::DeadCoordinator => Self::DeadCoordinator,
        }
    }
}

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerVerb {
    /// Prove that no entry was changed, removed or reordered
    #[command(after_help = "Example:\n  lockturn ledger verify")]
    Verify,
}

/// What to do with the embedded fleet.
#[derive(Debug, Subcommand)]
pub enum LabVerb {
    /// Start it and keep it up until Ctrl-C
    #[command(
        after_help = "Example:\n  lockturn lab up --hosts 8\n  (elsewhere) lockturn -i lab/inventory.yml --state lab/state rotate lab/playbooks/worker-secret.yml\n\n\
                      A word in a host's file makes it misbehave, as in: echo down > lab/hosts/worker-1/fault\n  \
                      refuses-new-secret   healthy, but takes only the secret that it had before\n  \
                      fails-to-start       does not start with a new secret\n  \
                      healthy-but-wrong    healthy, but refuses every secret once its own has changed\n  \
                      slow-restart 3000    a restart takes so many milliseconds\n  \
                      down                 drops every connection\n  \
                      none                 behaves again, as without the file"
    )]
    Up {
        /// How many workers, besides the control plane
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        hosts: u32,
        /// Where it lives
        #[arg(long, default_value = "lab")]
        dir: PathBuf,
    },
    /// Stop it
    Down {
        /// Where it lives
        #[arg(long, default_value = "lab")]
        dir: PathBuf,
    },
    /// Say whether it is up: exit 0, else 4
    Status {
        /// Where it lives
        #[arg(long, default_value = "lab")]
        dir: PathBuf,
    },
}
