//! One unit of work on the state: it sees one time, knows the request that caused it, and either
//! keeps all its effects or none.

use crate::state::State;

/// The API request an event is attributed to; the clock and the pages cause events without one.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    pub request_id: Option<String>,
    pub idempotency_key: Option<String>,
}

pub struct Tx<'a> {
    pub state: &'a mut State,
    /// Business time in seconds.
    pub now: i64,
    pub cause: Cause,
}

impl Tx<'_> {
    /// Lets the work happen at the time of the test clock that the customer follows, if any.
    pub fn follow(&mut self, customer: Option<&str>) {
        if let Some(instant) = customer.and_then(|customer| self.state.frozen_time(customer)) {
            self.now = instant;
        }
    }
}
