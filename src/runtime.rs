//! The loop that performs what the coordinator wants.
