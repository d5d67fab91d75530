// A shop written with the official SDK: it sells, renews, listens, pages, and survives mistakes.
import { createRequire } from "node:module";
import { createServer } from "node:http";

const require = createRequire(process.env.TOLLGATE_NODE_MODULES + "/");
const Stripe = require("stripe");
const { base_url, secret_key } = JSON.parse(process.argv[2]);
const { hostname, port } = new URL(base_url);
const stripe = client(secret_key);
const DAY = 86_400;

function client(key) {
  return new Stripe(key, { host: hostname, port, protocol: "http", maxNetworkRetries: 0 });
}

function check(condition, message) {
  if (!condition) throw new Error(message);
}

/** What a promise is rejected with. */
async function refusal(promise) {
  const answer = await promise.then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
  check(answer.error, `accepted: ${JSON.stringify(answer.value)}`);
  return answer.error;
}

async function eventually(what, ask) {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const found = await ask();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never came: ${what}`);
}

/** Listens on a free port and keeps what is delivered as it came. */
async function listen() {
  const deliveries = [];
  const server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      deliveries.push({
        body: Buffer.concat(parts),
        signature: request.headers["stripe-signature"],
      });
      response.writeHead(200).end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}/hook`;
  const endpoint = await stripe.webhookEndpoints.create({ url, enabled_events: ["*"] });
  const events = () =>
    deliveries.map(({ body, signature }) =>
      stripe.webhooks.constructEvent(body, signature, endpoint.secret),
    );
  const event = (type, fits) =>
    eventually(type, () => events().find((found) => found.type === type && fits(found)));
  return { deliveries, secret: endpoint.secret, event, close: () => server.close() };
}

async function sellSubscription(hooks, price) {
  const session = await stripe.checkout.sessions.create({
    mode: "subscription",
    line_items: [{ price: price.id, quantity: 2 }],
    success_url: "https://example.com/done?session_id={CHECKOUT_SESSION_ID}",
    client_reference_id: "order-7",
  });
  check(session.status === "open" && session.url.startsWith(base_url), `open: ${session.url}`);
  const completed = await fetch(`${base_url}/_sandbox/checkout/${session.id}/complete`, {
    method: "POST",
    body: new URLSearchParams({ payment_method: "pm_card_visa" }),
  });
  check(completed.ok, `completed: ${completed.status}`);
  const event = await hooks.event(
    "checkout.session.completed",
    ({ data }) => data.object.id === session.id,
  );
  check(event.data.object.client_reference_id === "order-7", "the event shows the session");
  const paid = await stripe.checkout.sessions.retrieve(session.id, {
    expand: ["subscription.latest_invoice", "line_items"],
  });
  check(paid.payment_status === "paid", `payment_status ${paid.payment_status}`);
  check(paid.subscription.status === "active", `status ${paid.subscription.status}`);
  check(paid.subscription.latest_invoice.amount_paid === 3000, "twice 15.00 were paid");
  check(paid.line_items.data[0].quantity === 2, "the line items were expanded");
}

async function renewByClock(hooks, price) {
  const start = Math.floor(Date.now() / 1000);
  const clock = await stripe.testHelpers.testClocks.create({ frozen_time: start, name: "year" });
  const customer = await stripe.customers.create({
    test_clock: clock.id,
    payment_method: "pm_card_visa",
    invoice_settings: { default_payment_method: "pm_card_visa" },
  });
  const subscription = await stripe.subscriptions.create({
    customer: customer.id,
    items: [{ price: price.id }],
  });
  check(subscription.status === "active", `status ${subscription.status}`);
  await stripe.testHelpers.testClocks.advance(clock.id, { frozen_time: start + 33 * DAY });
  await eventually("a clock that is ready", async () => {
    const { status } = await stripe.testHelpers.testClocks.retrieve(clock.id);
    return status === "ready";
  });
  const invoices = await stripe.invoices.list({ subscription: subscription.id });
  const reasons = invoices.data.map((invoice) => `${invoice.billing_reason} ${invoice.status}`);
  const expected = "subscription_cycle paid,subscription_create paid";
  check(reasons.join() === expected, `the invoices are ${reasons}`);
  const event = await hooks.event(
    "invoice.paid",
    ({ data }) => data.object.id === invoices.data[0].id,
  );
  check(event.data.object.amount_paid === 1500, "the renewal was paid");
  const renewed = await stripe.subscriptions.retrieve(subscription.id);
  const [before, after] = [subscription, renewed].map((one) => one.items.data[0]);
  check(after.current_period_start === before.current_period_end, "the next period began");
  await stripe.testHelpers.testClocks.del(clock.id);
  const gone = await refusal(stripe.customers.retrieve(customer.id).then((found) => {
    if (found.deleted) throw new Error("deleted");
    return found;
  }));
  check(gone, "customers go with their clock");
}

async function verifySignatures(hooks) {
  const { body, signature } = hooks.deliveries[0];
  const construct = (...given) => async () => stripe.webhooks.constructEvent(...given);
  const later = Date.now() + 3_600_000;
  for (const [what, attempt] of [
    ["another body", construct(`${body} `, signature, hooks.secret)],
    ["another secret", construct(body, signature, "whsec_other")],
    ["no signature", construct(body, "t=1", hooks.secret)],
    ["an old one", construct(body, signature, hooks.secret, 300, undefined, later)],
  ]) {
    const error = await refusal(attempt());
    check(error.type === "StripeSignatureVerificationError", `${what}: ${error}`);
  }
}

async function page() {
  const email = "pages@example.com";
  const made = [];
  for (let n = 0; n < 25; n += 1) made.push((await stripe.customers.create({ email })).id);
  const seen = [];
  for await (const customer of stripe.customers.list({ email, limit: 10 })) seen.push(customer.id);
  check(seen.join() === made.reverse().join(), "25 customers on three pages, newest first");
  const first = await stripe.customers.list({ email, limit: 10 });
  check(first.has_more && first.data.length === 10, "the first page has ten");
}

async function makeMistakes() {
  const declined = await refusal(
    stripe.paymentIntents.create({
      amount: 1999,
      currency: "usd",
      payment_method: "pm_card_visa_chargeDeclinedInsufficientFunds",
      payment_method_types: ["card"],
      confirm: true,
    }),
  );
  check(declined instanceof Stripe.errors.StripeCardError, `declined: ${declined}`);
  check(declined.code === "card_declined", `code ${declined.code}`);
  check(declined.decline_code === "insufficient_funds", `decline_code ${declined.decline_code}`);
  check(declined.payment_intent.status === "requires_payment_method", "the intent is shown");
  const missing = await refusal(stripe.subscriptions.retrieve("sub_missing"));
  check(missing.code === "resource_missing" && missing.statusCode === 404, `missing: ${missing}`);
  const unknown = await refusal(stripe.customers.create({ colour: "blue" }));
  check(unknown.code === "parameter_unknown" && unknown.param === "colour", `unknown: ${unknown}`);
  check(unknown.requestId.startsWith("req_"), `request id ${unknown.requestId}`);
  const stranger = await refusal(client("sk_live_wrong").customers.list());
  check(stranger instanceof Stripe.errors.StripeAuthenticationError, `stranger: ${stranger}`);
}

async function repeat() {
  const options = { idempotencyKey: "order-7" };
  const first = await stripe.customers.create({ name: "Once" }, options);
  const second = await stripe.customers.create({ name: "Once" }, options);
  check(first.id === second.id, "one key makes one customer");
  check(second.lastResponse.headers["idempotent-replayed"] === "true", "a replay says so");
  const other = await refusal(stripe.customers.create({ name: "Twice" }, options));
  check(other instanceof Stripe.errors.StripeIdempotencyError, `other parameters: ${other}`);
  const elsewhere = await client("sk_test_elsewhere").customers.create({ name: "Twice" }, options);
  check(elsewhere.id !== first.id, "another account has its own keys");
}

const hooks = await listen();
try {
  const product = await stripe.products.create({ name: "Pro" });
  const price = await stripe.prices.create({
    product: product.id,
    currency: "usd",
    unit_amount: 1500,
    recurring: { interval: "month" },
  });
  await sellSubscription(hooks, price);
  await renewByClock(hooks, price);
  await verifySignatures(hooks);
  await page();
  await makeMistakes();
  await repeat();
  console.log(JSON.stringify({ deliveries: hooks.deliveries.length, sdk: Stripe.PACKAGE_VERSION }));
} finally {
  hooks.close();
}
