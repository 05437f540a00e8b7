//! YAML into a tree with places, and diagnostics that point into the operator's file.
