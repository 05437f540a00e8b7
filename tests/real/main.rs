//! Tests against real programs: OpenSSH, other shells, SQLite. `make test` installs what they need.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod dotenv_readers;
mod host_attackers;
mod host_bare;
mod host_deaths;
mod host_duels;
mod host_evidence;
mod host_faults;
mod host_order;
mod host_program;
mod host_races;
mod host_switch;
mod host_unlucky;
mod inventory_ansible;
mod logins;
mod placements;
mod quarantine;
mod read_only;
mod sshd;
mod sweep;
