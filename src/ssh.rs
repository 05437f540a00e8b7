//! Real connections: russh, host keys, authentication, jump hosts, forwarding.
