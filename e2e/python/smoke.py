"""The smoke test of the first source document, over HTTP: refused, paid for, stored, retrieved."""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

CONTENT = "Policy renewal requires identity verification."
EMBEDDING = [0.01] * 1536


def call(method, url, token, body=None, form=None):
    """Answers status and JSON, also for refusals."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    if form is not None:
        data = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def main():
    given = json.loads(sys.argv[1])
    api, token = given["api_url"], given["token"]
    document = {"content": CONTENT, "embedding": EMBEDDING, "source": "policy.md"}
    question = {"embedding": EMBEDDING}

    status, refusal = call("POST", f"{api}/v1/documents", token, document)
    assert status == 402, (status, refusal)
    status, refusal = call("POST", f"{api}/v1/search", token, question)
    assert status == 402 and CONTENT not in json.dumps(refusal), (status, refusal)

    for amount in (1, 0, -5, 4901):
        wrong = {"email": "alice@example.com", "amount_cents": amount}
        status, refusal = call("POST", f"{api}/payments/checkout", token, wrong)
        assert 400 <= status < 500 and "detail" in refusal, (amount, status, refusal)

    order = {"email": "alice@example.com", "amount_cents": 4900}
    status, session = call("POST", f"{api}/payments/checkout", token, order)
    assert status == 200 and session["checkout_url"], (status, session)
    complete = f"{given['sandbox_url']}/_sandbox/checkout/{session['session_id']}/complete"
    status, paid = call("POST", complete, None, form={"payment_method": "pm_card_visa"})
    assert status == 200, (status, paid)

    for _ in range(200):
        _, decision = call("GET", f"{api}/v1/check?feature=knowledge_base", token)
        if decision["allowed"]:
            break
        time.sleep(0.05)
    print("Subscription active:", decision["allowed"])
    status, stored = call("POST", f"{api}/v1/documents", token, document)
    assert status == 201, (status, stored)
    print("Document saved")
    status, found = call("POST", f"{api}/v1/search", token, question)
    assert status == 200, (status, found)
    context = [row["content"] for row in found["data"]]
    print("Retrieved context:", context)
    assert context == [CONTENT], context
    print(json.dumps({"context": context, "source": found["data"][0]["source"]}))


main()
