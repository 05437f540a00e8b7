//! Tests against real systemd hosts. `make test-hosts` builds and boots them.
