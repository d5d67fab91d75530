//! What is not over: rows whose end the provider has still to tell. And whether a row says already
//! what an object of the provider says, so that nobody has to ask about it.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::sql::{args, statements};
use domain::ids::CustomerId;

/// Rows that can still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsettled {
    /// Payment pages nobody has paid at, or whose money is on its way.
    CheckoutSessions,
    Subscriptions,
    /// Subscriptions that wait for money.
    DueSubscriptions,
    Invoices,
    Refunds,
    Disputes,
}

/// One of them, by our id and the provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsettledRow {
    pub id: String,
    pub provider_id: String,
    /// The provider's id of whose it is, where that is known.
    pub provider_customer: Option<String>,
}

/// The rows of one table that can still change, in the order of our ids: of everybody, or of one
/// customer. Where they are few of many, the order must not lead PostgreSQL to read all of them.
macro_rules! open_rows {
    ($table:literal, $provider_id:literal, $open:literal, $whose:literal, $id:literal) => {
        concat!(
            "SELECT id, ",
            $provider_id,
            " AS provider_id, (
                 SELECT c.provider_customer_id FROM provider_customers c
                 WHERE c.provider = t.provider AND c.customer_id = t.customer_id
                 ORDER BY c.generation DESC LIMIT 1) AS counterpart
             FROM ",
            $table,
            " t WHERE COALESCE(t.provider, '') = ? AND ",
            $whose,
            $open,
            " AND ",
            $id,
            " > ? ORDER BY ",
            $id,
            " LIMIT ?"
        )
    };
    (all, $table:literal, $provider_id:literal, $open:literal) => {
        open_rows!($table, $provider_id, $open, "", "id")
    };
    (few, $table:literal, $provider_id:literal, $open:literal) => {
        open_rows!($table, $provider_id, $open, "", "COALESCE(id, '')")
    };
    (of_customer, $table:literal, $provider_id:literal, $open:literal) => {
        open_rows!($table, $provider_id, $open, "customer_id = ? AND ", "COALESCE(id, '')")
    };
}

statements! {
    SESSIONS = "unsettled.sessions": open_rows!(
        few, "checkout_sessions", "provider_session_id",
        "status IN ('open', 'processing') AND provider_session_id IS NOT NULL"
    );
    SESSIONS_OF = "unsettled.sessions_of": open_rows!(
        of_customer, "checkout_sessions", "provider_session_id",
        "status IN ('open', 'processing') AND provider_session_id IS NOT NULL"
    );
    SUBSCRIPTIONS = "unsettled.subscriptions": open_rows!(
        all, "subscriptions", "provider_subscription_id",
        "status NOT IN ('canceled', 'incomplete_expired')"
    );
    SUBSCRIPTIONS_OF = "unsettled.subscriptions_of": open_rows!(
        of_customer, "subscriptions", "provider_subscription_id",
        "status NOT IN ('canceled', 'incomplete_expired')"
    );
    DUE_SUBSCRIPTIONS = "unsettled.due_subscriptions": open_rows!(
        few, "subscriptions", "provider_subscription_id", "0 <= unpaid_since"
    );
    DUE_SUBSCRIPTIONS_OF = "unsettled.due_subscriptions_of": open_rows!(
        of_customer, "subscriptions", "provider_subscription_id", "0 <= unpaid_since"
    );
    INVOICES = "unsettled.invoices": open_rows!(
        all, "invoices", "provider_invoice_id", "status NOT IN ('paid', 'void')"
    );
    INVOICES_OF = "unsettled.invoices_of": open_rows!(
        of_customer, "invoices", "provider_invoice_id", "status NOT IN ('paid', 'void')"
    );
    REFUNDS = "unsettled.refunds": open_rows!(
        few, "refunds", "provider_refund_id", "0 <= open_since"
    );
    REFUNDS_OF = "unsettled.refunds_of": open_rows!(
        of_customer, "refunds", "provider_refund_id", "0 <= open_since"
    );
    DISPUTES = "unsettled.disputes": open_rows!(
        all, "disputes", "provider_dispute_id",
        "status NOT IN ('won', 'lost', 'warning_closed', 'prevented')"
    );
    DISPUTES_OF = "unsettled.disputes_of": open_rows!(
        of_customer, "disputes", "provider_dispute_id",
        "status NOT IN ('won', 'lost', 'warning_closed', 'prevented')"
    );
    SAME_CHARGE = "unsettled.same_charge":
        "SELECT COUNT(*) AS found FROM charges
         WHERE provider = ? AND provider_charge_id = ? AND status = ? AND amount_captured = ?
           AND amount_refunded = ?";
    PAID_ALIKE = "unsettled.paid_alike":
        "SELECT COUNT(*) AS found FROM payments p
         WHERE COALESCE(p.provider, '') = ? AND p.provider_payment_intent_id = ?
           AND p.status = 'paid'
           AND p.amount = ? AND p.currency = ? AND p.provider_session_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM charges c WHERE c.payment_id = p.id)";
    SAME_REFUND = "unsettled.same_refund":
        "SELECT COUNT(*) AS found FROM refunds
         WHERE provider = ? AND provider_refund_id = ? AND status = ? AND amount = ?";
    SAME_DISPUTE = "unsettled.same_dispute":
        "SELECT COUNT(*) AS found FROM disputes
         WHERE provider = ? AND provider_dispute_id = ? AND status = ? AND amount = ?";
    SAME_CREDIT_NOTE = "unsettled.same_credit_note":
        "SELECT COUNT(*) AS found FROM credit_notes
         WHERE provider = ? AND provider_credit_note_id = ? AND status = ? AND amount = ?";
    SESSION_ENDED = "unsettled.session_ended":
        "SELECT COUNT(*) AS found FROM checkout_sessions s
         WHERE s.provider = ? AND s.provider_session_id = ? AND (
             s.status IN ('expired', 'failed')
             OR s.status = 'complete' AND s.mode = 'payment' AND 0 < (
                 SELECT COUNT(*) FROM payments p
                 WHERE p.provider_session_id = s.provider_session_id)
             OR s.status = 'complete' AND s.mode = 'subscription' AND EXISTS (
                 SELECT 1 FROM subscriptions b
                 WHERE b.provider = s.provider
                   AND b.provider_subscription_id = s.provider_subscription_id))";
}

impl Tx {
    /// The next rows after an id of ours, oldest first; of one customer where it is named.
    pub async fn unsettled(
        &mut self,
        what: Unsettled,
        provider: &str,
        customer: Option<&CustomerId>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<UnsettledRow>, StoreError> {
        let (all, of_customer) = match what {
            Unsettled::CheckoutSessions => (&SESSIONS, &SESSIONS_OF),
            Unsettled::Subscriptions => (&SUBSCRIPTIONS, &SUBSCRIPTIONS_OF),
            Unsettled::DueSubscriptions => (&DUE_SUBSCRIPTIONS, &DUE_SUBSCRIPTIONS_OF),
            Unsettled::Invoices => (&INVOICES, &INVOICES_OF),
            Unsettled::Refunds => (&REFUNDS, &REFUNDS_OF),
            Unsettled::Disputes => (&DISPUTES, &DISPUTES_OF),
        };
        let rows = match customer {
            None => self.all(all, args![provider, after, limit]).await?,
            Some(whose) => self.all(of_customer, args![provider, whose, after, limit]).await?,
        };
        let one = |row: &crate::rows::Row| {
            Ok(UnsettledRow {
                id: row.text("id")?,
                provider_id: row.text("provider_id")?,
                provider_customer: row.opt_text("counterpart")?,
            })
        };
        rows.iter().map(one).collect()
    }

    /// Whether we hold exactly this of a charge.
    pub async fn same_charge(
        &mut self,
        provider: &str,
        id: &str,
        status: &str,
        captured: i64,
        refunded: i64,
    ) -> Result<bool, StoreError> {
        self.is_found(&SAME_CHARGE, args![provider, id, status, captured, refunded]).await
    }

    /// Whether a page has told of a payment of so much money, and nothing else has.
    pub async fn paid_alike(
        &mut self,
        provider: &str,
        payment_intent: &str,
        amount: i64,
        currency: &str,
    ) -> Result<bool, StoreError> {
        self.is_found(&PAID_ALIKE, args![provider, payment_intent, amount, currency]).await
    }

    /// Whether we hold exactly this of a refund.
    pub async fn same_refund(
        &mut self,
        provider: &str,
        id: &str,
        status: &str,
        amount: i64,
    ) -> Result<bool, StoreError> {
        self.is_found(&SAME_REFUND, args![provider, id, status, amount]).await
    }

    /// Whether we hold exactly this of a dispute.
    pub async fn same_dispute(
        &mut self,
        provider: &str,
        id: &str,
        status: &str,
        amount: i64,
    ) -> Result<bool, StoreError> {
        self.is_found(&SAME_DISPUTE, args![provider, id, status, amount]).await
    }

    /// Whether we hold exactly this of a credit note.
    pub async fn same_credit_note(
        &mut self,
        provider: &str,
        id: &str,
        status: &str,
        amount: i64,
    ) -> Result<bool, StoreError> {
        self.is_found(&SAME_CREDIT_NOTE, args![provider, id, status, amount]).await
    }

    /// Whether a session is over and what came of it is here.
    pub async fn session_ended(&mut self, provider: &str, id: &str) -> Result<bool, StoreError> {
        self.is_found(&SESSION_ENDED, args![provider, id]).await
    }

    async fn is_found(
        &mut self,
        sql: &'static crate::sql::Sql,
        args: Vec<crate::sql::Arg>,
    ) -> Result<bool, StoreError> {
        let row = self.first(sql, args).await?;
        Ok(row.map(|row| row.int("found")).transpose()?.unwrap_or(0) != 0)
    }
}
