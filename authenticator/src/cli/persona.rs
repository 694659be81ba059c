//! `doppelkey persona`: what an authenticator can pretend to be.

use clap::{Args, Subcommand};

use super::{Failure, print};
use crate::persona::{Authority, Persona, PersonaError, metadata_statement};

/// List personas: attestation formats, and what real key families advertise
///
/// `doppelkey run --persona NAME` takes one on.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the personas that are built in
    List {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show what a persona's file says, in full
    Show {
        /// A name of `doppelkey persona list`, or a TOML file
        #[arg(value_name = "NAME|FILE")]
        persona: String,
    },
    /// Print a persona's FIDO metadata statement, with the root of its certificates: what a relying party trusts
    Metadata {
        /// A name of `doppelkey persona list`, or a TOML file
        #[arg(value_name = "NAME|FILE")]
        persona: String,
    },
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let authority = Authority::of_this_user()?;
        match self.command {
            Command::List { json } => list(&authority, json),
            Command::Show { persona } => {
                let persona = Persona::load(&persona, &authority)?;
                print(&toml::to_string(&persona.profile).expect("a profile came from TOML"));
            }
            Command::Metadata { persona } => {
                let statement = metadata_statement(&Persona::load(&persona, &authority)?);
                print(&format!("{statement:#}\n"));
            }
        }
        Ok(())
    }
}

fn list(authority: &Authority, json: bool) {
    let personas = Persona::built_in(authority);
    if json {
        let entries = personas.iter().map(
            |persona| serde_json::json!({ "name": persona.name, "description": persona.profile.description }),
        );
        return print(&format!("{:#}\n", serde_json::Value::from_iter(entries)));
    }
    for persona in &personas {
        print(&format!("{:24} {}\n", persona.name, persona.profile.description));
    }
}

impl From<PersonaError> for Failure {
    fn from(error: PersonaError) -> Self {
        Failure::new(error.error, error.hint)
    }
}
