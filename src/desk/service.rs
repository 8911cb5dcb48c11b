//! The desk behind the control door.

use std::io::Read;
use std::sync::Arc;

use super::parts::Parts;
use super::request::{Request, Response};
use super::trouble::{Kind, Trouble};
use crate::doors::control::{Hello, Service};
use crate::model::party::Actor;
use crate::model::time::Clock;

/// Answers calls of command lines.
pub struct DeskService {
    parts: Arc<Parts>,
    clock: Arc<dyn Clock>,
}

impl DeskService {
    /// With these parts; each request is done at the time this clock shows.
    pub fn new(parts: Arc<Parts>, clock: Arc<dyn Clock>) -> Self {
        Self { parts, clock }
    }
}

impl Service for DeskService {
    fn answer(&self, hello: &Hello, request: &[u8], payload: &mut dyn Read, uid: u32) -> Vec<u8> {
        let ours = env!("CARGO_PKG_VERSION");
        if hello.version != ours {
            let text = format!(
                "this command is todoke {}, but the daemon is {ours}; restart the daemon (or use its own binary)",
                hello.version
            );
            return line(&Err(Trouble::new(Kind::NotNow, "VERSION-DIFFERS", text)));
        }
        let request: Request = match serde_json::from_slice(request) {
            Ok(request) => request,
            Err(error) => {
                return line(&Err(Trouble::new(Kind::Usage, "REQUEST", format!("not a request: {error}"))));
            }
        };
        line(&super::execute(&self.parts, request, payload, &Actor::Operator(uid), self.clock.now()))
    }

    fn busy(&self) -> Vec<u8> {
        line(&Err(Trouble::new(Kind::NotNow, "BUSY", "too many commands at the same time; try again")))
    }
}

fn line(response: &Response) -> Vec<u8> {
    serde_json::to_vec(response).unwrap_or_else(|_| {
        br#"{"Err":{"kind":"fault","code":"FAULT","text":"an answer could not be written"}}"#.to_vec()
    })
}
