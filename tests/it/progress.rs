//! What a terminal shows while a run goes on.

use std::sync::{Arc, Mutex};

use indicatif::{ProgressDrawTarget, TermLike};
use lockturn::model::{Entry, Event, EvidenceTaken, HostName, Millis, Step};
use lockturn::report::{Progress, Reporter};

/// A terminal that remembers all that was written to it.
#[derive(Debug, Clone, Default)]
struct Terminal(Arc<Mutex<String>>);

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        80
    }
    fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn write_line(&self, line: &str) -> std::io::Result<()> {
        self.write_str(&format!("{line}\n"))
    }
    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.0.lock().unwrap().push_str(text);
        Ok(())
    }
    fn clear_line(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_bar_is_of_something_and_there_is_none_before_the_first_step() {
    let terminal = Terminal::default();
    // Without a limit of draws: whatever may be drawn is.
    let mut progress = Progress::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
    let mut say = |event| progress.entry(&Entry { at_unix: Millis(0), elapsed: Millis(0), event });
    say(Event::Resumed { operator: "op@here".to_owned() });
    say(Event::Interrupted);
    let before = terminal.0.lock().unwrap().clone();
    assert!(before.contains("resumed by op@here") && !before.contains('/'), "{before}");
    let hosts: Vec<HostName> = ["a", "b"].map(|name| name.parse().unwrap()).into();
    say(Event::ConnectBegan { hosts: 2 });
    hosts.iter().for_each(|host| say(Event::HostInspected { host: host.clone() }));
    let isolated = hosts[0].clone();
    say(Event::EvidenceBegan { host: isolated.clone() });
    let taken =
        EvidenceTaken { host: isolated, place: String::new(), items: 0, bytes: 0, sums: None, missing: Vec::new() };
    say(Event::EvidenceTaken(taken));
    for step in [Step::Lock, Step::Activate] {
        hosts.iter().for_each(|host| say(Event::StepBegan { host: host.clone(), step }));
        hosts.iter().for_each(|host| say(Event::StepDone { host: host.clone(), step }));
    }
    progress.finish();
    let shown = terminal.0.lock().unwrap().clone();
    for word in ["connect", "evidence", "0/1", "lock", "activate", "0/2", "2/2"] {
        assert!(shown.contains(word), "no `{word}`: {shown}");
    }
    assert!(!shown.contains("0/0"), "{shown}");
}
