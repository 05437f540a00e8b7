//! The first thing that a newcomer types: it ends well, leaves nothing, and says nothing that does not work afterwards.

use std::process::Command;

#[test]
fn the_demo_goes_there_and_back_and_names_no_command_for_what_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_lockturn"));
    demo.args(["demo", "--workers", "2"]).env_clear().env("HOME", home.path()).env("TMPDIR", home.path());
    let done = demo.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    let (first, second) = said.split_once("\n— 2. ").unwrap();
    assert!(first.contains("\nROTATED  all 3 hosts") && second.contains("\nROLLED BACK  all 3 hosts"), "{said}");
    let (story, try_next) = said.split_once("\n— What to try next —\n").unwrap();
    assert!(!story.contains("lockturn "), "a command of the story, whose runs are gone: {story}");
    assert_eq!(try_next.lines().filter(|line| line.starts_with("lockturn ")).count(), 3, "{try_next}");
    let left: Vec<_> = home.path().read_dir().unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
