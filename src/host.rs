//! The program that runs on a host, and how we talk with it.
