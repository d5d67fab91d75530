//! `discounts[]` of an invoice.

use crate::discounts::read::Purchase;
use crate::discounts::{self, Place};
use crate::errors::ApiError;
use crate::invoices::{Invoice, Status, not_payable};
use crate::params::Params;
use crate::transactions::Tx;

/// `discounts[]` of an invoice come instead of those it inherits.
pub fn read(tx: &mut Tx<'_>, params: &mut Params, invoice: &mut Invoice) -> Result<(), ApiError> {
    let subtotal = invoice.subtotal();
    let purchase = Purchase {
        customer: Some(&invoice.customer),
        currency: Some(&invoice.currency),
        amount: (0 < subtotal).then_some(subtotal),
    };
    let Some(wanted) = discounts::read::list(tx.state, params, purchase)? else {
        return Ok(());
    };
    if invoice.status != Status::Draft {
        return Err(not_payable().param("discounts"));
    }
    let place = Place {
        customer: Some(invoice.customer.clone()),
        invoice: Some(invoice.id.clone()),
        ..Place::default()
    };
    invoice.discounts = discounts::attach(tx, wanted, &place);
    Ok(())
}
