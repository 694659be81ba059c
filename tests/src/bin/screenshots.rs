//! Writes a picture of every screen of the relying party, light and dark, wide and narrow:
//! `cargo run -p end-to-end --bin screenshots -- FOLDER`

use std::path::PathBuf;
use std::process::ExitCode;

use end_to_end::browser::{Browser, Scheme};
use end_to_end::relying_party::{RelyingParty, tour};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = match arguments.as_slice() {
        [] => PathBuf::from("target/screenshots"),
        [folder] if !folder.starts_with('-') => PathBuf::from(folder),
        [help] if help == "--help" || help == "-h" => {
            println!(
                "screenshots [FOLDER]: a picture of every screen into FOLDER, or else target/screenshots"
            );
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("error: screenshots takes one folder\nhint: screenshots [FOLDER]");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = std::fs::create_dir_all(&folder) {
        eprintln!("error: cannot make {}: {error}\nhint: name a folder you may write to", folder.display());
        return ExitCode::FAILURE;
    }
    let Some(browser) = Browser::start() else {
        eprintln!("error: there is no Chromium\nhint: apt-get install chromium chromium-driver");
        return ExitCode::FAILURE;
    };
    let site = RelyingParty::start();
    tour(&browser, &site, |name| {
        for (scheme, word) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
            browser.prefer(scheme);
            for (width, height) in [(1024, 768), (320, 640)] {
                browser.resize(width, height);
                browser.screenshot(&folder.join(format!("{name}-{word}-{width}.png")));
            }
        }
        browser.resize(1024, 900);
    });
    println!("{}", folder.display());
    ExitCode::SUCCESS
}
