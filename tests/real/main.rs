//! Tests against real programs: OpenSSH, other shells, SQLite. `make test` installs what they need.

mod host_program;
