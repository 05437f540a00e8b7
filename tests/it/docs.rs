//! What the documents say is so: their examples are read by the program, their words are the program's words.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use lockturn::cli::{Args, Exit};
use lockturn::inventory::Inventory;
use lockturn::model::{HostState, Step, Verdict};

fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root.join("src/docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.push(root.join("README.md"));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_inventory_and_playbook_in_a_document_is_valid_and_fits() {
    let mut checked = 0;
    for (path, text) in documents() {
        let name = path.display().to_string();
        let (inventories, playbooks) = (blocks(&text, "yaml inventory"), blocks(&text, "yaml playbook"));
        for inventory in &inventories {
            let (inventory, warnings) = Inventory::parse(&name, inventory).unwrap_or_else(|e| panic!("{}", e.render()));
            assert!(warnings.is_empty(), "{name}: {warnings:?}");
            for playbook in &playbooks {
                let (playbook, warnings) =
                    lockturn::playbook::parse(&name, playbook).unwrap_or_else(|e| panic!("{}", e.render()));
                assert!(warnings.is_empty(), "{name}: {warnings:?}");
                let draft = lockturn::plan::draft(&playbook, &|selector| inventory.select(selector));
                assert!(draft.is_ok(), "{name}: {:?}", draft.err());
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no document has an inventory and a playbook");
}

/// Every command of ours in a document: in a line of code by itself, or between backticks.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("    ")).map(str::trim);
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let ours = lines.chain(spans).filter(|code| code.starts_with("lockturn "));
    ours.map(|code| code.split('#').next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_command_in_a_document_can_be_typed() {
    let mut typed = 0;
    for (path, text) in documents() {
        for command in commands(&text) {
            let parsed = Args::try_parse_from(command.split_whitespace());
            assert!(parsed.is_ok(), "{}: `{command}`: {}", path.display(), parsed.unwrap_err());
            typed += 1;
        }
    }
    assert!(typed > 0, "no document has a command");
}

#[test]
fn every_step_state_and_verdict_is_in_the_document_of_states() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs/states.md")).unwrap();
    let steps = Step::ALL.iter().map(|step| step.label());
    let states = HostState::ALL.iter().map(|state| state.label());
    let verdicts = Verdict::ALL.iter().map(|verdict| verdict.label());
    for word in steps.chain(states).chain(verdicts) {
        assert!(text.contains(&format!("`{word}`")), "`{word}` is not in it");
    }
}

#[test]
fn every_exit_code_is_in_the_table_of_the_readme_and_in_the_help() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let table: String = readme.lines().filter(|line| line.starts_with("| ")).collect();
    let help = Args::command_line().render_long_help().to_string();
    for exit in Exit::ALL {
        let code = exit.code();
        assert!(
            [' ', ','].iter().any(|after| table.contains(&format!("exit {code}{after}"))),
            "exit {code} is not in README"
        );
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "exit {code}: {help}");
    }
    // The codes of a run are not those of a look.
    for code in [0, 6, 7] {
        assert!(table.contains(&format!("| exit {code} of `status` |")), "exit {code} of `status` is not in README");
    }
}

/// What remembers is the ledger, in every text that an operator reads. `journal` is the room of the code that keeps it, and what systemd
/// writes.
#[test]
fn what_an_operator_reads_has_one_word_for_the_ledger() {
    let room = ["architecture.md", "failure_modes.md"];
    for (path, text) in documents() {
        if room.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        assert!(!text.to_lowercase().contains("journal"), "{}", path.display());
    }
    let mut pages = vec![Args::command_line()];
    while let Some(mut page) = pages.pop() {
        let help = page.render_long_help().to_string();
        assert!(!help.to_lowercase().contains("journal"), "{help}");
        pages.extend(page.get_subcommands().cloned());
    }
    let said = |line: &str| {
        let texts: String = line.split('"').skip(1).step_by(2).collect();
        texts.replace("journalctl", "").replace("journal_mode", "").contains("journal")
    };
    let rooms = ["coordinator", "cli", "report", "runtime", "journal", "quarantine"].map(|room| format!("src/{room}"));
    for file in rooms.iter().flat_map(|room| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(room)).unwrap()) {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let found = text.lines().find(|line| !line.trim_start().starts_with("//") && said(line));
        assert!(found.is_none(), "{}: {found:?}", path.display());
    }
}
