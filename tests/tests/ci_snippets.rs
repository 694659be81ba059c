//! What the recipes tell CI services to run, run here step by step. What installs something from the internet is
//! answered by a stand-in that puts this machine's own there; everything else is real.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{doppelkey, has_program, python_with, root, skipped};

#[test]
fn the_steps_for_github_actions_run() {
    let Some(runner) = Runner::new(&["test_playwright.py"]) else { return };
    // `playwright install` puts a browser where Playwright looks for its own.
    runner.stand_in("pip", "true");
    runner.stand_in(
        "playwright",
        r#"place=$(python -c "from playwright.sync_api import sync_playwright as p; print(p().start().chromium.executable_path)")
           mkdir -p "$(dirname "$place")" && ln -s "$(command -v chromium)" "$place""#,
    );
    runner.link("doppelkey", doppelkey());
    let steps = steps("github-actions.yml", "- run: ");
    assert_eq!(steps.len(), 3, "{steps:?}");
    for step in steps {
        runner.run(&step, &[("PLAYWRIGHT_BROWSERS_PATH", runner.folder.path().join("browsers"))]);
    }
}

#[test]
fn the_steps_for_gitlab_run() {
    let Some(runner) = Runner::new(&["test_selenium.py"]) else { return };
    runner.stand_in("apt-get", "true");
    // `python3 -m venv venv`, whose pip installs nothing: this machine's pytest is there already.
    runner.stand_in(
        "python3",
        r#"mkdir -p "$3/bin" && printf '#!/bin/sh\ntrue\n' >"$3/bin/pip"
           printf '#!/bin/sh\nexec python -m pytest "$@"\n' >"$3/bin/pytest" && chmod +x "$3"/bin/*"#,
    );
    let project = runner.project();
    fs::create_dir_all(project.join(".cargo/bin")).expect("a folder");
    std::os::unix::fs::symlink(doppelkey(), project.join(".cargo/bin/doppelkey")).expect("a link");
    let variables: Vec<(String, PathBuf)> = ["CARGO_INSTALL_ROOT", "DOPPELKEY"]
        .map(|name| {
            let [value] = steps("gitlab-ci.yml", &format!("{name}: ")).try_into().expect("it is said once");
            (name.to_owned(), value.replace("$CI_PROJECT_DIR", &project.display().to_string()).into())
        })
        .into();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let steps = steps("gitlab-ci.yml", "- ");
    assert_eq!(steps.len(), 4, "{steps:?}");
    for step in steps {
        runner.run(&step, &variables);
    }
}

/// Without it, cargo takes the newest of every dependency, which nobody has built or tried with this program.
#[test]
fn whoever_installs_the_program_as_told_gets_the_dependencies_it_was_tested_with() {
    let mut told = 0;
    for file in [
        "README.md",
        "tests/recipes/github-actions.yml",
        "tests/recipes/gitlab-ci.yml",
        ".github/DEPENDENCIES.md",
        ".ci/run",
    ] {
        let text = fs::read_to_string(root().join(file)).expect("it is there");
        for line in text.lines().filter(|line| line.contains("cargo install")) {
            assert!(line.contains(" --locked"), "{file}: {line}");
            told += 1;
        }
    }
    assert!(told >= 6, "{told}");
}

/// What follows this mark in the lines of a snippet.
fn steps(file: &str, mark: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("tests/recipes").join(file)).expect("the snippet is there");
    text.lines().filter_map(|line| line.trim_start().strip_prefix(mark)).map(str::to_owned).collect()
}

/// A machine that has checked a project out: its tests are the recipes'.
struct Runner {
    folder: tempfile::TempDir,
}

impl Runner {
    /// `None` where a tool is missing, which is said.
    fn new(tests: &[&str]) -> Option<Self> {
        if let Some(missing) = ["chromium", "chromedriver"].into_iter().find(|tool| !has_program(tool)) {
            skipped(missing);
            return None;
        }
        let Some(python) = python_with("pytest, selenium, playwright") else {
            skipped("python3 with the packages of tests/clients/requirements.txt (set DOPPELKEY_PYTHON)");
            return None;
        };
        let runner = Runner { folder: tempfile::tempdir().expect("a folder") };
        for folder in ["bin", "project"] {
            fs::create_dir(runner.folder.path().join(folder)).expect("a folder");
        }
        for name in ["conftest.py"].iter().chain(tests) {
            fs::copy(root().join("tests/recipes").join(name), runner.project().join(name)).expect("a copy");
        }
        let python = python.display();
        runner.stand_in("python", &format!(r#"exec "{python}" "$@""#));
        runner.stand_in("pytest", &format!(r#"exec "{python}" -m pytest "$@""#));
        Some(runner)
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Puts a program on the `PATH`.
    fn stand_in(&self, name: &str, script: &str) {
        let file = self.folder.path().join("bin").join(name);
        fs::write(&file, format!("#!/bin/bash\nset -e\n{script}\n")).expect("a script");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it can be run");
    }

    fn link(&self, name: &str, program: &Path) {
        std::os::unix::fs::symlink(program, self.folder.path().join("bin").join(name)).expect("a link");
    }

    /// Runs a step as a runner does: in a shell, in the project's folder.
    fn run(&self, step: &str, variables: &[(&str, PathBuf)]) {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", step])
            .current_dir(self.project())
            .env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()))
            .env("PYTEST_ADDOPTS", "-q -k sign_up -p no:cacheprovider")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("bash runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{step}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(!step.ends_with("pytest") || said.contains("1 passed"), "{step}\n{said}");
    }
}
