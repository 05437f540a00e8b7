//! Quarantine against the real nftables, in network namespaces that each test makes and that end with it.
//!
//! These tests need root, `nft`, `ip`, `unshare` and `nsenter`; `make test` installs the tools.

mod lan;
mod program;
mod rules;
mod space;
mod ways;
