//! The ledger: append-only, hash-chained, durable before the effect.
