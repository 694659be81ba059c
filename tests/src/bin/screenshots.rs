//! Writes a picture of every screen of the relying party, light and dark, wide and narrow:
//! `cargo run -p end-to-end --bin screenshots -- FOLDER`

use std::path::PathBuf;
use std::process::ExitCode;

use end_to_end::browser::{Browser, Scheme};
use end_to_end::relying_party::{RelyingParty, tour};

fn main() -> ExitCode {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/screenshots".into()));
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
