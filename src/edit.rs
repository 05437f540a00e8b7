//! Bytes into bytes: one value in a file is replaced, every other byte stays.
