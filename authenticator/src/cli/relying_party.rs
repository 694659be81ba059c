//! `doppelkey relying-party`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use doppelkey_relying_party::metadata::Publisher;
use doppelkey_relying_party::policy::Policy;
use doppelkey_relying_party::{
    Config, Key, Mail, MetadataFiles, StartError, Webhooks, app, is_sealed, serve,
};
use serde_json::json;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::key_file::Purpose;
use super::signals::terminated;
use super::{Failure, make_files_private, print};
use crate::data_directory::data_directory;
use crate::private_file;
use crate::user_interface::HINT;

/// Run a relying party: a web site that people sign up for and log in to with passkeys
///
/// Runs until SIGINT, SIGTERM or SIGHUP. To try it out, keeping nothing, with the pages for developers:
///
///   doppelkey relying-party --db memory --dev
///
/// For real use, behind a proxy that speaks TLS:
///
///   doppelkey relying-party --db sqlite:accounts.db --rp-id example.org --origin https://login.example.org \
///     --smtp smtps://user:password@mail.example.org --mail-from login@example.org --behind-proxy
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Where to listen for HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where accounts are kept: memory, sqlite:PATH or postgres://… [default: a SQLite file in the user's data folder]
    #[arg(long, value_name = "URL")]
    db: Option<String>,
    /// The key that seals what a copy of the database must not give away; made if it is not there. Processes that share
    /// a database share it [default for SQLite: PATH.key, beside the database]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Start although that key is lost, with a new one: authenticator apps are removed from all accounts, tokens and codes
    /// are void; passkeys, passwords and recovery codes stay
    #[arg(long)]
    replace_lost_key: bool,
    /// The RP ID that passkeys are made for [default: the host of the first origin]
    #[arg(long, value_name = "DOMAIN")]
    rp_id: Option<String>,
    /// An origin that ceremonies may come from, this service's own first [default: http://localhost:PORT]
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// What people call this service
    #[arg(long, default_value = "Doppelkey")]
    name: String,
    /// A policy in TOML, put into force at the start
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Show developers the outbox, the playground and the inspector; at localhost only, without a proxy
    #[arg(long)]
    dev: bool,
    /// The mail server: smtps://user:password@host, or smtp://…?tls=required
    #[arg(long, value_name = "URL", requires = "mail_from")]
    smtp: Option<String>,
    /// The sender of the mails
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    mail_from: Option<String>,
    /// Send the log's events to this URL (https, or http to this machine); may be given several times
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    webhook: Vec<String>,
    /// The keys that sign them, one a line, in base64: openssl rand -base64 32 > FILE
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_secret: Option<PathBuf>,
    /// A FIDO metadata BLOB, to judge models of authenticators by
    #[arg(long, value_name = "FILE", requires = "mds_root")]
    mds: Option<PathBuf>,
    /// The root certificate of whoever signed the BLOB, DER or PEM
    #[arg(long, value_name = "FILE", requires = "mds")]
    mds_root: Option<PathBuf>,
    /// The DNS name in that signer's certificate
    #[arg(long, value_name = "NAME", default_value = Publisher::FIDO, requires = "mds")]
    mds_publisher: String,
    /// A certificate revocation list of the signer's authority or of a maker's; may be given several times
    #[arg(long, value_name = "FILE", requires = "mds")]
    mds_crl: Vec<PathBuf>,
    /// The community's list of passkey providers by AAGUID, JSON
    #[arg(long, value_name = "FILE")]
    aaguids: Option<PathBuf>,
    /// A proxy in front writes the client's address into X-Forwarded-For
    #[arg(long)]
    behind_proxy: bool,
    /// Start although the RP ID differs from the one that passkeys were made for, and lose those
    #[arg(long)]
    accept: bool,
    /// Listen on an address that other machines can reach
    #[arg(long)]
    allow_remote: bool,
    /// Print one line of JSON once it listens
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.refuse_remote()?;
        make_files_private();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::new(
                format_args!("cannot start threads: {error}"),
                "is there a limit on processes (ulimit -u)?",
            )
        })?;
        let outcome = runtime.block_on(self.serve());
        // Whoever looks up the name of a receiver or a mail server may do so for long: nobody waits for that.
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    }

    fn refuse_remote(&self) -> Result<(), Failure> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        if self.dev {
            return Err(Failure::new(
                format_args!("--dev would show mails and codes to everybody who reaches {}", self.listen),
                "listen on 127.0.0.1, or leave --dev out",
            ));
        }
        if !self.allow_remote {
            return Err(Failure::new(
                format_args!("{} can be reached by other machines", self.listen),
                "say --allow-remote if that is meant, or put a TLS proxy in front of 127.0.0.1",
            ));
        }
        log::warn!("{} can be reached by other machines, without TLS", self.listen);
        Ok(())
    }

    async fn serve(self) -> Result<(), Failure> {
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(|error| Failure::listen("the relying party", self.listen, "--listen", &error))?;
        let port = listener.local_addr().map_or(self.listen.port(), |address| address.port());
        let config = self.config(port).await?;
        let (url, admin_token) = (config.own_origin().to_string(), config.admin_token.clone());
        let database = config.database.clone();
        let keeps_secrets = config.key.is_some() || database == "memory";
        let router = app(config).await.map_err(failure)?;
        if !keeps_secrets {
            log::warn!(
                "whoever copies the database can sign tokens, and knows the secrets of authenticator apps"
            );
            log::warn!(target: HINT, "--key-file FILE seals them; give every process on this database the same");
        }
        let terminated = terminated()?;
        self.announce(&url, &admin_token, &database);
        serve(listener, router, terminated)
            .await
            .map_err(|error| Failure::new(format_args!("the listener failed: {error}"), "start it again"))
    }

    async fn config(&self, port: u16) -> Result<Config, Failure> {
        let mut config = Config::localhost(port);
        config.database = match &self.db {
            Some(url) => url.clone(),
            None => default_database()?,
        };
        config.key = self.key(&config.database).await?;
        config.replace_lost_key = self.replace_lost_key;
        if let Some(origin) = self.origin.first() {
            let host = origin.split("://").nth(1).unwrap_or_default().split(':').next().unwrap_or_default();
            config.rp_id = host.to_string();
            config.origins.clone_from(&self.origin);
        }
        if let Some(rp_id) = &self.rp_id {
            config.rp_id.clone_from(rp_id);
        }
        config.name.clone_from(&self.name);
        config.policy = self.policy.as_ref().map(read_policy).transpose()?;
        config.metadata = match (&self.mds, &self.mds_root) {
            (Some(blob), Some(root)) => Some(MetadataFiles {
                blob: String::from_utf8_lossy(&read(blob)?).into_owned(),
                root: read(root)?,
                publisher: self.mds_publisher.clone(),
                revocation_lists: self.mds_crl.iter().map(read).collect::<Result<_, _>>()?,
            }),
            _ => None,
        };
        if let Some(path) = &self.webhook_secret {
            let secret = Zeroizing::new(read(path)?);
            config.webhooks = Webhooks::new(self.webhook.clone(), &String::from_utf8_lossy(&secret))
                .map_err(|(what, hint)| Failure::new(what, hint))?;
        }
        config.provider_names = self.aaguids.as_ref().map(read).transpose()?;
        config.dev = self.dev;
        config.behind_proxy = self.behind_proxy;
        config.accept_rp_id_change = self.accept;
        config.mail = match (&self.smtp, &self.mail_from) {
            (Some(url), Some(from)) => Mail::Smtp { url: url.clone(), from: from.clone() },
            _ if self.dev => Mail::Outbox,
            _ => Mail::Console,
        };
        Ok(config)
    }

    /// The key that seals what the database holds, where it outlives this process.
    async fn key(&self, database: &str) -> Result<Option<Key>, Failure> {
        let path = database.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        let beside = path.filter(|path| !path.is_empty()).map(|path| PathBuf::from(format!("{path}.key")));
        // Where there is no such folder, there is no database either: that is what is told then.
        let beside =
            beside.filter(|path| path.parent().is_none_or(|it| it.as_os_str().is_empty() || it.is_dir()));
        let Some(path) = self.key_file.clone().or(beside) else { return Ok(None) };
        let is_missing = || path.try_exists().is_ok_and(|exists| !exists);
        if self.replace_lost_key {
            KEY.set_aside(&path)?;
        } else if is_missing() && is_sealed(database).await.map_err(failure)? && is_missing() {
            // A new key would open nothing, and might be taken for the one that is lost. Whoever starts at the same time
            // has the file in its place before anything is sealed: hence the second look.
            return Err(failure(StartError::Key { is_given: false }));
        }
        KEY.read_or_make(&path).map(|key| Some(Key::new(*key)))
    }

    fn announce(&self, url: &str, admin_token: &str, database: &str) {
        if self.json {
            print(&format!("{}\n", json!({ "ready": true, "url": url, "admin_token": admin_token })));
            return;
        }
        // A PostgreSQL URL may hold a password.
        let database = if database.contains("://") { "PostgreSQL" } else { database };
        print(&format!(
            "The relying party is at {url}\n  accounts: {database}\n  policy and events: {url}/admin (token: \
             {admin_token})\nIt runs until Ctrl-C.\n"
        ));
    }
}

/// The key of `--key-file`.
const KEY: Purpose = Purpose {
    flag: "--key-file",
    what_for: "for a relying party",
    lost: "--replace-lost-key goes on, without authenticator apps",
};

fn failure(error: StartError) -> Failure {
    let hint = error.hint();
    Failure::new(error, hint)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::new(
            format_args!("cannot read {}: {error}", path.display()),
            "does the file exist, may you read it?",
        )
    })
}

fn read_policy(path: &PathBuf) -> Result<Policy, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(
            format_args!("cannot read the policy {}: {error}", path.display()),
            "name a file with --policy",
        )
    })?;
    Policy::from_toml(&text).map_err(|error| {
        Failure::new(
            format_args!("the policy {} is wrong: {error}", path.display()),
            "the options are described in relying-party/README.md",
        )
    })
}

/// `relying-party.db` among this user's data, whose folder is made if need be.
fn default_database() -> Result<String, Failure> {
    let hint = "name a database, for example --db sqlite:accounts.db or --db memory";
    let folder =
        data_directory().ok_or_else(|| Failure::new("there is no folder for the user's data", hint))?;
    private_file::create_folder(&folder).map_err(|error| {
        Failure::new(format_args!("cannot make the folder {}: {error}", folder.display()), hint)
    })?;
    Ok(format!("sqlite:{}", folder.join("relying-party.db").display()))
}
