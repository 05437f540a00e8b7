//! The battery: the real binary, two real OpenSSH servers and what can happen to any of them, at every point at which it can happen.
//!
//! The oracle is what the hosts' files hold and what their services run with, the exit code, and a copy of the ledger that is read
//! without the product.

#[path = "../../support/canary.rs"]
#[expect(dead_code, reason = "whoever watches processes of the embedded fleet needs all of it")]
mod canary;
mod deaths;
mod disks;
mod full;
mod partitions;
mod slow;
mod stack;
mod suspended;
mod traced;
mod wire;
