//! Settings: the seeds' names, contradictions, and what production refuses.

use std::path::Path;

use providers::receivers::Reach;
use secrecy::ExposeSecret;
use server::config::{Config, ConfigError, TokenKeys, load, load_database, load_tokens};

const TPX: &[(&str, &str)] = &[
    ("DATABASE_URL", "postgresql://u:p@db/app"),
    ("PAYMENT_API_KEY", "sk_test_1"),
    ("PAYMENT_WEBHOOK_SECRET", "whsec_0123456789"),
];
const FLA: &[(&str, &str)] = &[
    ("DATABASE_URL", "postgresql+asyncpg://u:p@db/app"),
    ("STRIPE_SECRET_KEY", "sk_test_1"),
    ("STRIPE_PUBLIC_KEY", "pk_test_1"),
    ("WEBHOOK_SECRET", "whsec_0123456789"),
    ("FRONTEND_URL", "http://localhost:3000"),
    ("LOG_LEVEL", "INFO"),
    ("DEBUG", "False"),
    ("ALLOWED_HOSTS", "a.example, b.example"),
];
const FRO: &[(&str, &str)] = &[
    ("DATABASE_URL", "sqlite+aiosqlite:///./app.db"),
    ("STRIPE_SECRET_KEY", "sk_test_1"),
    ("STRIPE_PUBLISHABLE_KEY", "pk_test_1"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789"),
];
const LIVE: &[(&str, &str)] = &[
    ("ENVIRONMENT", "production"),
    ("DATABASE_URL", "postgres://u:p@db/app"),
    ("STRIPE_SECRET_KEY", "sk_live_abcdef"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef"),
    ("FRONTEND_URL", "https://shop.test"),
    ("ALLOWED_HOSTS", "shop.test"),
];

fn load_env(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load_file(None, variables)
}

fn load_file(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load(file, |name| {
        // The last one wins, so that a case can change one value of a set.
        let found = variables.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn refusal(variables: &[(&str, &str)]) -> String {
    match load_env(variables) {
        Ok(_) => panic!("accepted: {variables:?}"),
        Err(error) => error.to_string(),
    }
}

fn with<'a>(set: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [set, more].concat()
}

#[test]
fn row_1_each_seed_starts_with_its_own_names() {
    for set in [TPX, FLA, FRO] {
        let config = load_env(set).unwrap_or_else(|error| panic!("{set:?}: {error}"));
        assert_eq!(
            config.stripe_key.map(|key| key.expose_secret().to_owned()).unwrap(),
            "sk_test_1"
        );
        assert_eq!(config.webhook_secrets.len(), 1);
    }
    let config = load_env(FLA).unwrap();
    assert_eq!(config.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.database_url.expose_secret(), "postgres://u:p@db/app");
}

#[test]
fn row_1_two_names_with_different_values_are_both_named() {
    let text = refusal(&with(TPX, &[("STRIPE_SECRET_KEY", "sk_test_other")]));
    assert!(text.contains("STRIPE_SECRET_KEY") && text.contains("PAYMENT_API_KEY"), "{text}");
    assert!(!text.contains("sk_test"), "{text}");
    assert!(load_env(&with(TPX, &[("STRIPE_SECRET_KEY", "sk_test_1 ")])).is_ok());
}

#[test]
fn row_2_what_is_missing_is_named_and_nothing_is_shown() {
    for missing in ["DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"] {
        let text = refusal(&with(FRO, &[(missing, "")]));
        assert!(text.contains(missing), "{text}");
        assert!(!text.contains("sk_test_1") && !text.contains("whsec_"), "{text}");
    }
}

#[test]
fn row_3_production_gives_one_reason_per_line() {
    assert!(load_env(LIVE).is_ok());
    let cases = [
        (("STRIPE_SECRET_KEY", "sk_test_abcdef"), "not a live key"),
        (("STRIPE_WEBHOOK_SECRET", "whsec_your_webhook_secret_here"), "webhook secret"),
        (("STRIPE_WEBHOOK_SECRET", "short"), "webhook secret"),
        (("JWT_SECRET", "secret"), "JWT_SECRET"),
        (("JWT_SECRET", "your_secret_key_here_0123456789abcdef"), "JWT_SECRET"),
        (("DEBUG", "true"), "debug"),
        (("FRONTEND_URL", "http://shop.test"), "FRONTEND_URL"),
        (("PUBLIC_URL", "http://pay.test"), "PUBLIC_URL"),
        (("STRIPE_API_BASE", "http://127.0.0.1:12111"), "STRIPE_API_BASE"),
        (("ALLOWED_HOSTS", ""), "ALLOWED_HOSTS"),
        (("STRIPE_PUBLIC_KEY", "pk_test_1"), "modes"),
    ];
    let mut wrong = LIVE.to_vec();
    for (change, reason) in cases {
        let text = refusal(&with(LIVE, &[change]));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(reason), "{change:?}: {text}");
        wrong.push(change);
    }
    assert!(7 <= refusal(&wrong).lines().count());
}

#[test]
fn row_3_real_money_is_production_whatever_it_is_called() {
    for name in ["development", "", "Production"] {
        let named = with(LIVE, &[("ENVIRONMENT", name)]);
        assert!(load_env(&named).is_ok(), "{name}");
        let debug = refusal(&with(&named, &[("DEBUG", "true")]));
        assert!(debug.contains("debug is on"), "{name}: {debug}");
    }
    assert!(load_env(&with(TPX, &[("ENVIRONMENT", "dev"), ("DEBUG", "true")])).is_ok());
    let prod = refusal(&with(TPX, &[("ENVIRONMENT", "prod")]));
    assert!(prod.contains("not a live key"), "{prod}");
    // A secret that can be guessed signs in as anybody, at home too.
    let short = refusal(&with(TPX, &[("JWT_SECRET", "0123456789012345678901234567890")]));
    assert!(short.contains("JWT_SECRET") && !short.contains("0123"), "{short}");
}

#[test]
fn commands_ask_only_for_what_they_use() {
    let reader = |variables: &'static [(&str, &str)]| {
        move |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    };
    let database = load_database(None, reader(&[("DATABASE_URL", "postgresql://u@h/d")])).unwrap();
    assert_eq!(database.url.expose_secret(), "postgres://u@h/d");
    assert!(!database.is_production);
    assert!(load_database(None, reader(LIVE)).unwrap().is_production);
    let nothing = load_database(None, reader(&[])).unwrap_err().to_string();
    assert!(nothing.contains("DATABASE_URL") && !nothing.contains("STRIPE"), "{nothing}");
    let secret = &[("JWT_SECRET", "0123456789abcdef0123456789abcdef")];
    assert!(matches!(load_tokens(None, reader(secret)).unwrap().keys, TokenKeys::Secret(_)));
}

#[test]
fn row_4_the_environment_overrides_the_file_and_keeps_digits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tollgate.toml");
    let text = "database_url = \"postgres://file/app\"\nlog_level = \"warn\"\n\
                [stripe]\nsecret_key = \"sk_test_file\"\n\
                webhook_secrets = [\"whsec_a\", \"whsec_b\"]\n";
    std::fs::write(&path, text).unwrap();
    let environment = [("STRIPE_API_KEY", "0012345"), ("PAYMENT_STRIPE__API_KEY", "ignored")];
    let config = load_file(Some(&path), &environment).unwrap();
    assert_eq!(config.stripe_key.unwrap().expose_secret(), "0012345");
    assert_eq!(config.log_level, "warn");
    assert_eq!(config.webhook_secrets.len(), 2);
}

#[test]
fn row_5_unknown_and_invalid_settings_are_refused_by_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tollgate.toml");
    let cases = [
        ("[stripe]\nsecret_kye = \"sk_test_hidden\"", "stripe.secret_kye"),
        ("[broker]\nkind = \"x\"", "broker"),
        ("environment = \"staging\"", "environment"),
        ("listen = \"nowhere\"", "listen"),
        ("[stripe]\nsecret_key = 123456789", "stripe.secret_key"),
        ("[plans]\ntrial_days = -1", "plans.trial_days"),
    ];
    for (text, name) in cases {
        std::fs::write(&path, text).unwrap();
        let error = load_file(Some(&path), FRO.split_at(1).0).unwrap_err().to_string();
        assert!(error.contains(name), "{text}: {error}");
        assert!(error.contains("tollgate.toml"), "{text}: {error}");
        assert!(!error.contains("hidden") && !error.contains("123456789"), "{error}");
    }
    assert!(refusal(&with(FRO, &[("LOG_LEVEL", "loud")])).contains("log_level"));
    assert!(refusal(&with(FRO, &[("DEBUG", "maybe")])).contains("DEBUG"));
    assert!(refusal(&with(FRO, &[("TRIAL_DAYS", "x")])).contains("TRIAL_DAYS"));
    let refused = refusal(&with(FRO, &[("CREDIT_DEBT_POLICY", "sometimes")]));
    assert!(refused.contains("credit_debt_policy"), "{refused}");
    // A quote that was forgotten must not show the secret behind it.
    for text in ["secret_key = sk_live_hidden", "webhook_secrets = [\"whsec_hidden]"] {
        std::fs::write(&path, format!("[stripe]\n{text}\n")).unwrap();
        let error = load_file(Some(&path), FRO).unwrap_err().to_string();
        assert!(error.contains("tollgate.toml") && error.contains("line 2"), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }
    std::fs::write(&path, "colour = 1").unwrap();
    let unknown = load_file(Some(&path), FRO).unwrap_err().to_string();
    assert!(unknown.starts_with("setting colour: is not known"), "{unknown}");
    let gone = load_file(Some(&dir.path().join("gone.toml")), FRO).unwrap_err();
    assert!(gone.to_string().contains("gone.toml"));
}

#[test]
fn what_spent_credits_become_is_the_merchants_choice() {
    use engine::debts::DebtPolicy::{Block, Forgive, NetNextGrant};
    assert_eq!(load_env(FRO).unwrap().plans.credit_debt_policy, NetNextGrant);
    for (word, policy) in [("forgive", Forgive), ("NET_NEXT_GRANT", NetNextGrant), ("block", Block)]
    {
        let config = load_env(&with(FRO, &[("CREDIT_DEBT_POLICY", word)])).unwrap();
        assert_eq!(config.plans.credit_debt_policy, policy, "{word}");
    }
}

#[test]
fn row_8_several_secrets_can_be_valid_at_once() {
    let config = load_env(&with(TPX, &[("PAYMENT_WEBHOOK_SECRET", "whsec_old, whsec_new")]));
    assert_eq!(config.unwrap().webhook_secrets.len(), 2);
}

#[test]
fn row_9_payments_can_be_switched_off() {
    let off = [("DATABASE_URL", "sqlite:///x.db"), ("STRIPE_ENABLED", "false")];
    assert!(load_env(&off).unwrap().stripe_key.is_none());
}

#[test]
fn database_addresses_of_python_programs_are_understood() {
    let cases = [
        ("postgresql://u@h/d", "postgres://u@h/d"),
        ("postgres://u@h/d", "postgres://u@h/d"),
        ("postgresql+psycopg2://u@h/d?x=1", "postgres://u@h/d?x=1"),
        ("mysql+pymysql://u@h/d", "mysql://u@h/d"),
        ("mysql+aiomysql://u@h/d?charset=utf8mb4", "mysql://u@h/d?charset=utf8mb4"),
        ("mariadb://u@h/d", "mysql://u@h/d"),
        ("sqlite:////data/app.db", "sqlite:///data/app.db"),
        ("sqlite:///data/app.db", "sqlite:///data/app.db"),
        ("sqlite:///./app.db", "sqlite://./app.db"),
        ("sqlite+aiosqlite:///app.db", "sqlite://app.db"),
        ("sqlite+aiosqlite:////data/app.db", "sqlite:///data/app.db"),
    ];
    for (given, expected) in cases {
        let config = load_env(&with(FRO, &[("DATABASE_URL", given)])).unwrap();
        assert_eq!(config.database_url.expose_secret(), expected, "{given}");
    }
    for given in ["mysql://u:pw@h", "mysql://u:pw@h/", "mariadb+pymysql://u:pw@h/?charset=utf8mb4"]
    {
        let nowhere = refusal(&with(FRO, &[("DATABASE_URL", given)]));
        assert!(nowhere.contains("no database") && !nowhere.contains("pw"), "{given}: {nowhere}");
    }
    let oracle = refusal(&with(FRO, &[("DATABASE_URL", "oracle://u:pw@h/d")]));
    assert!(oracle.contains("not supported") && !oracle.contains("pw"), "{oracle}");
    assert!(refusal(&with(FRO, &[("DATABASE_URL", "app.db")])).contains("not an address"));
}

#[test]
fn token_keys_have_one_source() {
    let url = load_env(&with(FRO, &[("JWKS_URL", "https://id.test/jwks")])).unwrap();
    assert!(matches!(url.tokens.keys, TokenKeys::Url(_)));
    let both = with(FRO, &[("JWKS_URL", "https://id.test/jwks"), ("JWT_SECRET", "x")]);
    assert!(refusal(&both).contains("only one of"));
}

const KEY: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn news_leaves_only_for_addresses_that_may_hear_it() {
    let reach = |set: &[(&str, &str)]| load_env(set).unwrap().outgoing.reach;
    assert_eq!(reach(LIVE), Reach::PublicEncrypted);
    assert_eq!(reach(FRO), Reach::Public);
    assert_eq!(reach(&with(FRO, &[("PRIVATE_RECEIVERS", "true")])), Reach::Anywhere);
    let text = refusal(&with(LIVE, &[("PRIVATE_RECEIVERS", "true")]));
    assert!(text.contains("PRIVATE_RECEIVERS"), "{text}");
}

#[test]
fn keys_and_the_mail_hook_are_whole_or_refused_without_being_shown() {
    let two = format!("{KEY},k2{}", &KEY[2..]);
    let config = load_env(&with(FRO, &[("ENCRYPTION_KEYS", &two)])).unwrap();
    assert_eq!(format!("{:?}", config.outgoing.keys), r#"["k1", "k2"]"#);
    assert!(config.outgoing.mail_hook.is_none());
    for keys in ["k1", "k1:AAAA", "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let text = refusal(&with(FRO, &[("ENCRYPTION_KEYS", keys)]));
        assert!(text.contains("ENCRYPTION_KEYS") && !text.contains("AAAA"), "{text}");
    }
    let hook = ("MAIL_HOOK_URL", "http://127.0.0.1:9000/mail");
    let secret = ("MAIL_HOOK_SECRET", "0123456789abcdef");
    assert!(load_env(&with(FRO, &[hook, secret])).unwrap().outgoing.mail_hook.is_some());
    for url in ["http://me:pw@127.0.0.1:9000/", "http://127.0.0.1/#a", "ftp://127.0.0.1/"] {
        let text = refusal(&with(FRO, &[secret, ("MAIL_HOOK_URL", url)]));
        assert!(text.contains("MAIL_HOOK_URL") && !text.contains("pw"), "{url}: {text}");
    }
    let public = [secret, ("MAIL_HOOK_URL", "http://mail.example.com/")];
    assert!(load_env(&with(FRO, &public)).is_ok());
    let text = refusal(&with(LIVE, &public));
    assert!(text.contains("MAIL_HOOK_URL is not an https address"), "{text}");
    for url in ["https://mail.example.com/", "http://10.0.0.7/", "http://mailer:8080/"] {
        load_env(&with(LIVE, &[secret, ("MAIL_HOOK_URL", url)])).expect(url);
    }
    for wrong in [("MAIL_HOOK_SECRET", ""), ("MAIL_HOOK_SECRET", "short"), ("MAIL_HOOK_URL", "x")] {
        let text = refusal(&with(FRO, &[hook, secret, wrong]));
        assert!(text.contains("MAIL_HOOK_") && !text.contains("short"), "{wrong:?}: {text}");
    }
}
