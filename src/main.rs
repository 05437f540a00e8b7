//! The `lockturn` command.

fn main() {}
