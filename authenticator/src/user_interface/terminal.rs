//! A user at the terminal.

use std::io::{self, BufRead as _, Write as _};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, mpsc};

use doppelkey_core::{Action, Answer, Prompt, User};

use super::{Reply, UserInterface, visible};

/// A user at the terminal: prompts on standard error, answers from standard input.
///
/// All devices of the process share the terminal: the oldest open prompt is answered first. At the end of standard
/// input everything is refused.
#[derive(Default)]
pub struct Ask {
    shown: Option<u64>,
}

impl UserInterface for Ask {
    fn show(&mut self, prompt: &Prompt<'_>, accounts: &[User], reply: Reply) {
        start_reading();
        self.clear();
        let mut terminal = lock();
        if terminal.ended {
            drop(terminal);
            say("nobody is there to ask; refused");
            return reply.answer(Answer::Deny);
        }
        terminal.count += 1;
        let number = terminal.count;
        let question = Question {
            number,
            text: question(prompt, accounts),
            action: prompt.action,
            accounts: prompt.accounts,
            verification: prompt.verification,
            reply,
        };
        if terminal.open.is_empty() {
            say(&question.text);
        }
        terminal.open.push(question);
        self.shown = Some(number);
    }

    fn clear(&mut self) {
        let Some(number) = self.shown.take() else { return };
        let mut terminal = lock();
        let Some(place) = terminal.open.iter().position(|question| question.number == number) else { return };
        terminal.open.remove(place);
        if place == 0 {
            say("(no longer needed)");
            if let Some(next) = terminal.open.first() {
                say(&next.text);
            }
        }
    }

    fn wink(&mut self) {
        say("(this is the device: it was asked to show itself)");
    }
}

/// The lines that are typed from now on while nothing is asked. There are no more at the end of standard input.
pub fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    lock().otherwise = Some(sender);
    start_reading();
    lines
}

fn start_reading() {
    static READER: Once = Once::new();
    READER.call_once(|| {
        let reader = std::thread::Builder::new().name("doppelkey-terminal".into());
        if reader.spawn(read_answers).is_err() {
            lock().ended = true;
        }
    });
}

struct Question {
    number: u64,
    text: String,
    action: Action,
    accounts: u32,
    verification: bool,
    reply: Reply,
}

struct Terminal {
    count: u64,
    open: Vec<Question>,
    /// Where a line goes that answers nothing.
    otherwise: Option<mpsc::Sender<String>>,
    ended: bool,
}

static TERMINAL: Mutex<Terminal> =
    Mutex::new(Terminal { count: 0, open: Vec::new(), otherwise: None, ended: false });

fn lock() -> MutexGuard<'static, Terminal> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_answers() {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let mut terminal = lock();
        let Some(first) = terminal.open.first() else {
            // Whoever wanted such lines may have gone.
            let _ = terminal.otherwise.as_ref().map(|otherwise| otherwise.send(line));
            continue;
        };
        let Some(answer) = meaning(first.action, first.accounts, first.verification, &line) else {
            say(&format!("say y or n.\n{}", first.text));
            continue;
        };
        let answered = terminal.open.remove(0);
        if let Some(next) = terminal.open.first() {
            say(&next.text);
        }
        drop(terminal);
        answered.reply.answer(answer);
    }
    let mut terminal = lock();
    terminal.ended = true;
    terminal.otherwise = None;
    let open = std::mem::take(&mut terminal.open);
    drop(terminal);
    for question in open {
        question.reply.answer(Answer::Deny);
    }
}

/// What is asked: in one line, or with a line for each account to choose from.
pub(super) fn question(prompt: &Prompt<'_>, accounts: &[User]) -> String {
    let site = prompt.rp_id.map_or_else(|| "this site".into(), visible);
    let account = match prompt.user_name.or(prompt.user_display_name) {
        Some(name) => format!(" as {}", visible(name)),
        None => String::new(),
    };
    let what = match prompt.action {
        Action::CreateCredential => format!("Create a passkey for {site}{account}?"),
        Action::UseCredential if prompt.accounts > 1 => {
            format!(
                "Sign in to {site}? It has {} accounts here:{}",
                prompt.accounts,
                listed(prompt, accounts)
            )
        }
        Action::UseCredential => format!("Sign in to {site}{account}?"),
        Action::Excluded => format!("This authenticator already has a passkey for {site}. Tell the site so?"),
        Action::Select => "Use this authenticator?".into(),
        Action::Reset { .. } => "Forget every passkey and the PIN, for good?".into(),
        Action::Verify => "Verify yourself?".into(),
        Action::FingerprintSample => "Touch the sensor?".into(),
        Action::U2f => format!("Use this security key (U2F){account}?"),
        _ => "Go on?".into(),
    };
    let choices = match (prompt.action, prompt.verification) {
        (Action::UseCredential, true) if prompt.accounts > 1 => {
            "Which? [a number, y to let the site choose, n, w for a wrong finger]"
        }
        (Action::UseCredential, false) if prompt.accounts > 1 => {
            "Which? [a number, y to let the site choose, n]"
        }
        (_, true) => "[y/n, w for a wrong finger]",
        (_, false) => "[y/n]",
    };
    match what.ends_with('\n') {
        true => format!("{what}{choices}"),
        false => format!("{what} {choices}"),
    }
}

/// A line for each account that has a name, and how many more there are; then room for the question.
fn listed(prompt: &Prompt<'_>, accounts: &[User]) -> String {
    let mut text = String::from("\n");
    for (number, account) in (1..).zip(accounts) {
        let name = match (account.name.as_deref(), account.display_name.as_deref()) {
            (Some(name), Some(display)) if name != display => {
                format!("{} ({})", visible(name), visible(display))
            }
            (Some(name), _) | (None, Some(name)) => visible(name),
            (None, None) => "without a name".into(),
        };
        let newest = if number == 1 { ", the newest" } else { "" };
        text.push_str(&format!("  {number}  {name}{newest}\n"));
    }
    let named = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
    match prompt.accounts.saturating_sub(named) {
        0 => {}
        more => text.push_str(&format!("  and {more} older ones, to {}\n", prompt.accounts)),
    }
    text
}

/// What a line typed means; `None` if it means nothing here.
pub(super) fn meaning(action: Action, accounts: u32, verification: bool, line: &str) -> Option<Answer> {
    let yes = match action {
        Action::FingerprintSample => Answer::Sample { status: 0 },
        _ => Answer::Approve { verified: true, account: None },
    };
    match line.trim().to_lowercase().as_str() {
        "n" | "no" => Some(Answer::Deny),
        "w" if verification => Some(Answer::NotVerified),
        "y" | "yes" => Some(yes),
        number if accounts > 1 => {
            let number: u32 = number.parse().ok()?;
            let account = number.checked_sub(1).filter(|account| *account < accounts)?;
            Some(Answer::Approve { verified: true, account: Some(account) })
        }
        _ => None,
    }
}

fn say(text: &str) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(io::stderr(), "{text}");
}
