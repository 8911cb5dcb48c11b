//! What `benches/run` needs besides the servers: a pipelining SFTP client that is the same for both sides, and states too
//! large to be made by slow calls. Prints one JSON object.

mod client;
mod load;
mod prepare;
mod state;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "todoke-bench", about = "The tools behind benches/run")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

/// Which server, and who logs in.
#[derive(Args, Clone)]
pub(crate) struct Target {
    /// Port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Folder of private keys, each named after its account.
    #[arg(long)]
    keys: PathBuf,
    /// Folder of certificates (`NAME-cert.pub`) to present in the place of bare keys.
    #[arg(long)]
    certificates: Option<PathBuf>,
    /// Log in under this name instead of the account's.
    #[arg(long)]
    user: Option<String>,
    /// What stands before every remote path.
    #[arg(long, default_value = "")]
    base: String,
}

#[derive(Subcommand)]
enum Verb {
    /// Makes keys, filings and their signatures.
    Prepare {
        /// Where `keys/` and `sets/` go.
        #[arg(long)]
        out: PathBuf,
        /// How many accounts.
        #[arg(long)]
        accounts: usize,
        /// How many submissions,
        #[arg(long)]
        submissions: u64,
        /// of so many of the accounts.
        #[arg(long)]
        clients: usize,
    },
    /// One connection puts many small files, pipelined.
    Put {
        #[command(flatten)]
        target: Target,
        /// How many.
        #[arg(long)]
        files: u64,
        /// Bytes of each.
        #[arg(long)]
        size: usize,
        /// Requests under way at the same time.
        #[arg(long)]
        in_flight: usize,
    },
    /// Lists a folder; writes its names to a file if asked to.
    List {
        #[command(flatten)]
        target: Target,
        /// Which.
        #[arg(long)]
        path: String,
        /// Where the names go.
        #[arg(long)]
        names: Option<PathBuf>,
    },
    /// Connects, logs in, puts one file, leaves; many at a time.
    Visit {
        #[command(flatten)]
        target: Target,
        /// How many times.
        #[arg(long)]
        visits: u64,
        /// At a time.
        #[arg(long)]
        together: usize,
    },
    /// Connects, logs in, leaves; many at a time.
    Login {
        #[command(flatten)]
        target: Target,
        /// How many times.
        #[arg(long)]
        times: u64,
        /// At a time.
        #[arg(long)]
        together: usize,
    },
    /// Opens sessions, says "ready", and holds them until its input ends.
    Idle {
        #[command(flatten)]
        target: Target,
        /// How many.
        #[arg(long)]
        sessions: usize,
    },
    /// Sends prepared submissions, those of each account by a client of its own, pipelined.
    Submit {
        #[command(flatten)]
        target: Target,
        /// `sets/` of `prepare`.
        #[arg(long)]
        sets: PathBuf,
        /// Requests of one connection under way at the same time.
        #[arg(long)]
        in_flight: usize,
        /// Each submission in a session of its own, one after the other, as the documented commands send it; else all
        /// of a client's in one session, several under way.
        #[arg(long)]
        apart: bool,
        /// After the last answer: wait until this folder
        #[arg(long)]
        until: Option<PathBuf>,
        /// holds so many.
        #[arg(long, default_value_t = 0)]
        count: usize,
    },
    /// Places documents in an outbox of a data root whose daemon is not running.
    Place {
        /// The data root.
        #[arg(long)]
        root: PathBuf,
        /// Whose.
        #[arg(long)]
        account: String,
        /// Of which office.
        #[arg(long)]
        office: String,
        /// How many.
        #[arg(long)]
        documents: u64,
    },
    /// Fills a new root with documents, of which some groups will expire, one a day.
    Fill {
        /// An empty folder.
        #[arg(long)]
        root: PathBuf,
        /// All of them.
        #[arg(long)]
        documents: u64,
        /// Documents of a group.
        #[arg(long)]
        group: u64,
        /// Groups that expire.
        #[arg(long)]
        groups: u64,
    },
    /// Purges a group of such a root.
    Purge {
        /// The data root.
        #[arg(long)]
        root: PathBuf,
        /// Documents of a group.
        #[arg(long)]
        group: u64,
        /// Which: 0 is the first; none may be left out.
        #[arg(long)]
        at: u64,
    },
    /// Writes a journal of so many events into a new root.
    Journal {
        /// An empty folder.
        #[arg(long)]
        root: PathBuf,
        /// How many.
        #[arg(long)]
        events: u64,
    },
    /// Opens a root whose index is missing: builds it from the journal.
    Rebuild {
        /// The data root.
        #[arg(long)]
        root: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let said = match Arguments::parse().verb {
        Verb::Prepare { out, accounts, submissions, clients } => {
            prepare::prepare(&out, accounts, submissions, clients)?
        }
        Verb::Put { target, files, size, in_flight } => load::put(&target, files, size, in_flight)?,
        Verb::List { target, path, names } => load::list(&target, &path, names.as_deref())?,
        Verb::Visit { target, visits, together } => load::visit(&target, visits, together)?,
        Verb::Login { target, times, together } => load::login(&target, times, together)?,
        Verb::Idle { target, sessions } => load::idle(&target, sessions)?,
        Verb::Submit { target, sets, in_flight, apart, until, count } => {
            let until = until.as_deref().map(|folder| (folder, count));
            load::submit(&target, &sets, in_flight, apart, until)?
        }
        Verb::Place { root, account, office, documents } => {
            state::place(&root, &account, &office, documents)?
        }
        Verb::Fill { root, documents, group, groups } => state::fill(&root, documents, group, groups)?,
        Verb::Purge { root, group, at } => state::purge(&root, group, at)?,
        Verb::Journal { root, events } => state::journal(&root, events)?,
        Verb::Rebuild { root } => state::rebuild(&root)?,
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}
