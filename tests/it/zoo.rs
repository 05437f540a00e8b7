//! Playbooks that are wrong in every way we could think of, and what is said of each: read it as a tired operator would.
//!
//! After a change of words: `INSTA_UPDATE=always cargo test --test it zoo`, and read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use lockturn::playbook;

fn animals() -> Vec<PathBuf> {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/zoo");
    let mut paths: Vec<PathBuf> = fs::read_dir(zoo).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yml"));
    paths.sort();
    paths
}

#[test]
fn each_is_told_all_that_is_wrong_with_it() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../fixtures/zoo");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    assert!(animals().len() >= 15);
    for path in animals() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let found = playbook::parse(name, &text).map(|_| "it is valid").unwrap_err().render();
        settings.bind(|| insta::assert_snapshot!(name, found));
    }
}

#[test]
fn no_value_of_any_of_them_is_ever_shown() {
    for path in animals() {
        let text = fs::read_to_string(&path).unwrap();
        let found = playbook::parse("p.yml", &text).map(|_| "it is valid").unwrap_err().render();
        for value in ["hunter2", "9f86d081", "ghp_", "rm -rf", "DROP TABLE"] {
            assert!(!found.contains(value), "{}: {value}\n{found}", path.display());
        }
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_before_it_costs_anything() {
    let bomb =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/zoo/11-bomb.yml")).unwrap();
    let large = format!("version: 1 # {}", "x".repeat(10 * 1024 * 1024));
    let many = format!("version: [{}]", "1,".repeat(400_000));
    let deep = format!("version: {}", "[".repeat(100_000));
    let indented: String = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let anchors: String = (0..1_000).map(|n| format!("a{n}: &x{n} [1]\nb{n}: *x{n}\n")).collect();
    for (text, said) in [
        (bomb, "more in it than can be meant"),
        (large, "larger than 1 MiB"),
        (many, "more in it than can be meant"),
        (deep, "nested too deep"),
        (indented, "nested too deep"),
        (anchors, "more in it than can be meant"),
    ] {
        let began = std::time::Instant::now();
        let found = playbook::parse("p.yml", &text).map(|_| "it is valid").unwrap_err().render();
        assert!(found.contains(said), "{said}:\n{}", &found[..found.len().min(2_000)]);
        assert!(found.len() < 4_000, "{} bytes of it", found.len());
        // Without bounds the bomb alone would be half a million lists; a minute is no bound, but the end of waiting.
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{said}");
    }
}
