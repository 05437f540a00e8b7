//! Text of an inventory into hosts and groups, and selectors into hosts.
