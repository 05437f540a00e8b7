//! Quarantine against the real nftables, in network namespaces that each test makes and that end with it.
//!
//! These tests need root, `nft`, `ip`, `iptables`, `unshare` and `nsenter`; `make test` installs the tools.

mod beside;
mod lan;
mod program;
mod rules;
mod space;
mod ways;
