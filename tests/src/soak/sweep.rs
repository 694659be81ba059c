//! A story told as often as it has steps, killed at another one each time.

use doppelkey::client::Client;

use super::steps::Steps;
use super::stories::{Promise, Story};

/// What was done to a story.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweep {
    /// How many steps it has when nothing happens to it.
    pub steps: u64,
    /// How often a program was killed: at a step, in the middle of a write, or at a step of its next start.
    pub kills: u64,
    /// How many promises were looked at when it was back, and were kept.
    pub kept: u64,
}

/// Kills the story's programs instead of every `stride`-th step from `first` (counted from 1) on, once before the step and
/// once in the middle of it; then, as they start again, at the first steps of that; and looks for what had been promised.
/// `None` without a C compiler.
///
/// # Panics
/// If a promise is broken, or the program does not come back.
pub fn sweep(story: Story, first: u64, stride: u64) -> Option<Sweep> {
    let mut client = Client::ephemeral();
    let mut whole = Steps::new()?;
    let promises = story.tell(&whole, &mut client);
    let mut told = Sweep { steps: whole.count(), ..Sweep::default() };
    check(story, &mut whole, &promises, &mut client, &mut told);
    for step in (first..=told.steps).step_by(stride as usize) {
        for torn in [false, true] {
            let mut steps = Steps::new()?;
            steps.kill_at(step, torn);
            let promises = story.tell(&steps, &mut client);
            check(story, &mut steps, &promises, &mut client, &mut told);
        }
    }
    Some(told)
}

/// Has the program come back, killed again on the way, and holds it to what was promised.
fn check(story: Story, steps: &mut Steps, promises: &[Promise], client: &mut Client, told: &mut Sweep) {
    for further in 1..=RESTARTS {
        steps.kill_at(steps.count() + further, further == 2);
        if story.comes_up(steps) {
            break;
        }
    }
    let killed_at = steps.killed_at();
    told.kills += killed_at.len() as u64;
    let due: Vec<_> = promises.iter().filter(|promise| promise.until.is_none()).collect();
    story
        .keeps(steps.folder(), &due, client)
        .unwrap_or_else(|broken| panic!("{story:?}, killed at {killed_at:?}: {broken}"));
    told.kept += due.len() as u64;
}

/// How often at most it is killed while it starts again.
const RESTARTS: u64 = 3;
