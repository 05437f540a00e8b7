//! Private keys with a passphrase: asked once for the whole fleet, of a person, or not at all.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use super::agent::Agent;
use super::fleet::Fleet;

const PASSPHRASE: &str = "correct horse";
const PROMPT: &str = "passphrase of ";

fn locked_fleet(hosts: usize) -> Fleet {
    let fleet = Fleet::up(&vec![""; hosts]);
    fleet.make_key("locked", "ed25519", PASSPHRASE);
    fleet.authorize(&["locked"]);
    fleet.inventory(|_| "identity_file: locked".to_owned());
    fleet
}

/// Runs a rotation on a terminal where a person types these lines, each when asked for a passphrase. What was on the screen, with
/// what `stty` and `$?` said afterwards.
fn at_a_terminal(fleet: &Fleet, lines: &[&str]) -> String {
    on_a_terminal(fleet, &fleet.rotation(), lines)
}

fn on_a_terminal(fleet: &Fleet, command: &Command, lines: &[&str]) -> String {
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let mut words: Vec<String> = vec![quoted(command.get_program())];
    words.extend(command.get_args().map(quoted));
    let home = fleet.at("").display().to_string();
    // The shell must outlive a Ctrl-C that is meant for what it runs.
    let line = format!("trap : INT; HOME={home} TERM=xterm {}; echo \"ended $?\"; stty -a", words.join(" "));
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env_remove("SSH_AUTH_SOCK")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is missing; `make test` installs it");
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut seen, mut asked) = (Vec::new(), 0);
    let mut chunk = [0; 1024];
    while let Ok(count @ 1..) = screen.read(&mut chunk) {
        seen.extend_from_slice(&chunk[..count]);
        let prompts = String::from_utf8_lossy(&seen).matches("locked: ").count();
        // What is typed before the question is thrown away, so nothing is typed before it.
        for line in lines.iter().take(prompts).skip(asked) {
            std::thread::sleep(std::time::Duration::from_millis(200));
            keyboard.write_all(line.as_bytes()).unwrap();
        }
        asked = asked.max(prompts);
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn a_passphrase_is_asked_once_for_the_whole_fleet_and_not_shown() {
    let fleet = locked_fleet(3);
    let screen = at_a_terminal(&fleet, &["correct horse\n"]);
    assert!(screen.contains("ended 0"), "{screen}");
    assert_eq!(screen.matches(PROMPT).count(), 1, "{screen}");
    assert!(!screen.contains(PASSPHRASE), "{screen}");
    // Nothing is drawn over the question.
    assert!(screen.starts_with(PROMPT), "{screen}");
    assert!(!screen.contains("-echo "), "the terminal stays silent: {screen}");
    let value = |number| fs::read_to_string(fleet.env(number)).unwrap();
    assert!(!value(0).contains("old-old-old") && value(0) == value(1) && value(1) == value(2));
}

#[test]
fn a_passphrase_may_be_mistyped_but_not_for_ever() {
    let fleet = locked_fleet(1);
    let screen = at_a_terminal(&fleet, &["wrong\n", "wrong again\n", "correct horse\n"]);
    assert!(screen.contains("ended 0") && screen.matches(PROMPT).count() == 3, "{screen}");
    let fleet = locked_fleet(2);
    let screen = at_a_terminal(&fleet, &["a\n", "b\n", "c\n"]);
    assert!(screen.contains("ended 4") && screen.contains("does not open with that passphrase"), "{screen}");
    assert_eq!(screen.matches(PROMPT).count(), 3, "each host asks anew: {screen}");
}

#[test]
fn who_stops_at_the_question_gets_the_terminal_back() {
    let fleet = locked_fleet(1);
    let screen = at_a_terminal(&fleet, &["\u{3}"]);
    assert!(screen.contains("interrupted; nothing was changed") && screen.contains("ended 4"), "{screen}");
    assert!(screen.contains(" echo ") && !screen.contains("-echo "), "the terminal stays silent: {screen}");
    // So does a verb that only looks.
    let mut plan = fleet.command(&["plan"]);
    plan.arg(fleet.at("playbook"));
    let screen = on_a_terminal(&fleet, &plan, &["\u{3}"]);
    assert!(screen.contains("interrupted; nothing was changed") && screen.contains("ended 4"), "{screen}");
    assert!(screen.contains(" echo ") && !screen.contains("-echo "), "the terminal stays silent: {screen}");
}

#[test]
fn without_a_terminal_nobody_is_asked_and_nobody_waits() {
    let fleet = locked_fleet(1);
    fleet.refuses("key-unusable", "nobody can be asked for it");
    assert!(!fleet.log(0).contains("Accepted"), "{}", fleet.log(0));
}

#[test]
fn a_key_that_the_agent_has_needs_no_passphrase() {
    let fleet = locked_fleet(2);
    let agent = Agent::start(&fleet);
    // The same key without its passphrase, as a person gave it to the agent this morning.
    fs::copy(fleet.at("locked"), fleet.at("open")).unwrap();
    let mut opening = Command::new("ssh-keygen");
    opening.args(["-q", "-p", "-P", PASSPHRASE, "-N", "", "-f"]).arg(fleet.at("open"));
    assert!(opening.status().unwrap().success());
    agent.add(&fleet, "open");
    assert_eq!(agent.rotate(&fleet).status.code(), Some(0));
}
