//! What each notification says: one function per kind, called where the fact becomes true.
//!
//! Data is language-neutral: our ids, words of our vocabulary, minor units and instants.

use crate::Engine;
use crate::failures::Failure;
use crate::outbox::Kind;
use domain::ids::CustomerId;
use serde_json::json;
use store::Tx;
use store::checkout_sessions::CheckoutSession;

impl Engine {
    /// The session is paid for, or needed no money.
    pub(crate) async fn tell_checkout_completed(
        &self,
        tx: &mut Tx,
        session: &CheckoutSession,
        customer: &CustomerId,
    ) -> Result<(), Failure> {
        let data = json!({
            "mode": session.mode.as_str(),
            "price": session.price_id.as_str(),
            "quantity": session.quantity,
            "amount": session.amount.minor(),
            "currency": session.amount.currency().to_string(),
        });
        let id = session.id.as_str();
        self.tell(tx, Kind::CheckoutCompleted, id, customer, id, data).await
    }
}
