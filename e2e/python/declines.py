"""Declined cards, as the official SDK reports them."""

import json
import sys

import stripe


def main():
    given = json.loads(sys.argv[1])
    stripe.api_base = given["sandbox_url"]
    stripe.api_key = given["sandbox_key"]
    seen = {}
    for method in ("pm_card_visa_chargeDeclined", "pm_card_visa_chargeDeclinedInsufficientFunds"):
        try:
            stripe.PaymentIntent.create(
                amount=1999,
                currency="usd",
                payment_method=method,
                payment_method_types=["card"],
                confirm=True,
            )
        except stripe.CardError as error:
            seen[method] = [error.http_status, error.code, error.error.decline_code]
    try:
        stripe.Customer.retrieve("cus_missing")
    except stripe.InvalidRequestError as error:
        seen["missing"] = [error.http_status, error.code, error.param]
    print(json.dumps(seen))


main()
