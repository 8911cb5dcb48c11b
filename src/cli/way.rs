//! The way to the desk: over the control socket when a daemon runs, else by opening the store here. The data root's lock
//! tells which: somebody who is just starting or stopping is waited for.

use std::io::{self, Read};
use std::time::Duration;

use super::{Globals, direct};
use crate::config::Config;
use crate::desk::{self, Answer, Kind, Request, Response, Trouble};
use crate::doors::control::ControlClient;
use crate::model::party::Actor;
use crate::model::time::{Clock as _, SystemClock};

/// How often somebody who holds the data root without listening is asked again, and how often in all: 5 seconds.
const PAUSE: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 100;

/// The way to the desk.
pub(super) struct Way {
    pub(super) config: Config,
    to: To,
}

enum To {
    Daemon(ControlClient),
    Store(Box<direct::Direct>),
}

impl Way {
    pub(super) fn open(globals: &Globals) -> Result<Self, Trouble> {
        let config = globals.load()?;
        let mut attempt = 0;
        loop {
            if let Some(client) = find(&config)? {
                return Ok(Self { config, to: To::Daemon(client) });
            }
            match direct::open(&config) {
                Ok(direct) => return Ok(Self { config, to: To::Store(Box::new(direct)) }),
                Err(trouble) if trouble.kind == Kind::NotNow && attempt < ATTEMPTS => {
                    attempt += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Asks for something.
    pub(super) fn ask(&self, request: Request) -> Response {
        self.ask_with(request, &mut io::empty(), 0)
    }

    /// Asks for something about a file that comes along.
    pub(super) fn ask_with(&self, request: Request, payload: &mut dyn Read, bytes: u64) -> Response {
        match &self.to {
            To::Daemon(client) => over_socket(client, &request, payload, bytes),
            To::Store(direct) => {
                let by = Actor::Operator(rustix::process::getuid().as_raw());
                desk::execute(&direct.parts, request, payload, &by, SystemClock.now())
            }
        }
    }

    /// Asks for one more page, or for no more once `limit` rows came.
    pub(super) fn page(&self, request: Request, left: &mut Option<usize>) -> Result<Answer, Trouble> {
        let mut answer = self.ask(request)?;
        if let (Some(left), Some(rows)) = (left, answer.value.as_array_mut()) {
            rows.truncate(*left);
            *left -= rows.len();
            if *left == 0 {
                answer.next = None;
            }
        }
        Ok(answer)
    }
}

/// A daemon that listens at this gateway's socket.
pub(super) fn find(config: &Config) -> Result<Option<ControlClient>, Trouble> {
    let socket = config.places.socket();
    ControlClient::find(&socket).map_err(|error| {
        let text = match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "{} is not open to you: run this as the daemon's user or root, or join the group in control.group",
                socket.display()
            ),
            _ => format!("{}: {error}", socket.display()),
        };
        Trouble::new(Kind::Usage, "SOCKET", text)
    })
}

/// One call to the daemon.
pub(super) fn over_socket(
    client: &ControlClient,
    request: &Request,
    payload: &mut dyn Read,
    bytes: u64,
) -> Response {
    let request = serde_json::to_vec(request)?;
    let answer = client.call(&request, payload, bytes).map_err(|error| {
        let text =
            format!("the daemon did not answer ({error}); look whether it was done before you try again");
        Trouble::new(Kind::NotNow, "DAEMON-GONE", text)
    })?;
    serde_json::from_slice::<Response>(&answer)
        .map_err(|error| Trouble::fault(format!("the daemon's answer cannot be read: {error}")))?
}
