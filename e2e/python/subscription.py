"""Buys Pro through our API and looks at it with the provider's official SDK."""

import json
import sys
import urllib.request

import stripe


def call(method, url, body=None, token=None):
    """One JSON request; the body of a refusal is part of the message."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def main():
    given = json.loads(sys.argv[1])
    stripe.api_base = given["sandbox_url"]
    stripe.api_key = given["sandbox_key"]

    session = stripe.checkout.Session.retrieve(given["session"], expand=["line_items"])
    assert session.status == "open" and session.payment_status == "unpaid", session
    assert session.mode == "subscription" and session.amount_total == 2999, session
    assert session.line_items.data[0].price.recurring.interval == "month", session

    form = b"payment_method=pm_card_visa"
    complete = f"{given['sandbox_url']}/_sandbox/checkout/{session.id}/complete"
    with urllib.request.urlopen(complete, data=form, timeout=30) as response:
        assert response.status == 200

    session = stripe.checkout.Session.retrieve(session.id, expand=["subscription", "invoice"])
    assert session.status == "complete" and session.payment_status == "paid", session
    assert session.subscription.status == "active", session.subscription
    assert session.invoice.status == "paid", session.invoice
    assert session.invoice.billing_reason == "subscription_create", session.invoice
    item = session.subscription["items"].data[0]
    assert item.current_period_end > item.current_period_start, item

    listed = stripe.Subscription.list(customer=session.customer)
    assert [found.id for found in listed] == [session.subscription.id], listed
    intents = stripe.PaymentIntent.list(customer=session.customer)
    assert [found.amount_received for found in intents] == [2999], intents
    kinds = {event.type for event in stripe.Event.list(limit=100).auto_paging_iter()}
    for kind in ("checkout.session.completed", "customer.subscription.created", "invoice.paid"):
        assert kind in kinds, (kind, kinds)
    print(json.dumps({"subscription": session.subscription.id, "customer": session.customer}))


main()
