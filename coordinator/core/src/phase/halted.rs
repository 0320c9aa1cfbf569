//! The run is over, or stopped.

use std::sync::Arc;

use protocol::message::ToClient;

use super::Phase;
use crate::context::Context;
use crate::effect::Effect;
use crate::event::Event;
use crate::published::Published;

#[derive(Debug)]
pub(crate) struct Halted {
    published: Option<Arc<Published>>,
    /// All rounds were run: whoever connects is told that the run has ended.
    complete: bool,
}

impl Halted {
    /// All rounds are run.
    pub(crate) fn complete(cx: &mut Context, last: Arc<Published>, out: &mut Vec<Effect>) -> Phase {
        let finished = finished(&last);
        let tell = |client: &_| Effect::Send { client: Clone::clone(client), instruction: finished.clone() };
        out.extend(cx.roster.clients().map(tell));
        let reason = format!("all {} rounds are done", cx.config.settings().rounds);
        out.push(Effect::Halt { reason, complete: true });
        cx.admit_none();
        Phase::Halted(Self { published: Some(last), complete: true })
    }

    /// The run stops before its end; it can go on after a restart.
    pub(crate) fn stopped(
        cx: &mut Context,
        published: Option<Arc<Published>>,
        reason: String,
        out: &mut Vec<Effect>,
    ) -> Phase {
        out.push(Effect::Halt { reason, complete: false });
        cx.admit_none();
        Phase::Halted(Self { published, complete: false })
    }

    pub(crate) fn published(&self) -> Option<&Arc<Published>> {
        self.published.as_ref()
    }

    pub(crate) fn handle(&mut self, cx: &mut Context, event: Event, out: &mut Vec<Effect>) -> Option<Phase> {
        match event {
            Event::Connected { client, .. } => {
                if let Some(last) = self.published.as_ref().filter(|_| self.complete) {
                    out.push(Effect::Send { client, instruction: finished(last) });
                }
            }
            Event::Uploaded { client, header, .. } => cx.answer_settled(client, &header, out),
            Event::Disconnected { .. }
            | Event::Initialised { .. }
            | Event::Fetched { .. }
            | Event::Kept { .. }
            | Event::Evaluated { .. }
            | Event::Declined { .. }
            | Event::Scored { .. }
            | Event::Tick
            | Event::Stop => {}
        }
        None
    }
}

fn finished(last: &Published) -> ToClient {
    ToClient::Finished { version: last.version, model_digest: last.digest }
}
