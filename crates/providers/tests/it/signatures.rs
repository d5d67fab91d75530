//! Webhook proof: the official verdicts, and the headers that libraries have tripped over.

use hmac::{Hmac, KeyInit, Mac};
use providers::errors::SignatureError;
use providers::stripe::webhook::{MAX_HEADER_BYTES, verify};
use secrecy::SecretString;

const BODY: &[u8] = b"{ \"b\": 1,\n \"a\": \"\\u00e9\" }\n";
const NOW: i64 = 1_800_000_000;

fn sign(payload: &[u8], secret: &str, at: i64) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any key length");
    mac.update(format!("{at}.").as_bytes());
    mac.update(payload);
    hex::encode(mac.finalize().into_bytes())
}

fn check(header: &str, secrets: &[&str]) -> Result<(), SignatureError> {
    let secrets: Vec<_> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
    verify(BODY, header, &secrets, NOW, 300)
}

#[test]
fn every_official_verdict_is_ours() {
    let Some(path) = crate::samples::shared("stripe/signature-vectors.json") else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(20 <= cases.len());
    for case in cases {
        let word = |name: &str| case[name].as_str().unwrap();
        let verdict = verify(
            word("payload").as_bytes(),
            word("header"),
            &[SecretString::from(word("secret"))],
            case["now"].as_i64().unwrap(),
            case["tolerance"].as_i64().unwrap(),
        );
        // Where strictness is left open, a signature from the future is refused like an old one.
        let accepts = match word("expect") {
            "accept by the official SDKs; stricter is allowed" => false,
            expected => expected.starts_with("accept"),
        };
        assert_eq!(verdict.is_ok(), accepts, "{}: {verdict:?}", word("name"));
    }
}

#[test]
fn pitfall_002_any_of_several_signatures_may_match() {
    let good = sign(BODY, "whsec_a", NOW);
    let bad = sign(BODY, "whsec_z", NOW);
    for header in [
        format!("t={NOW},v1={bad},v1={good}"),
        format!("t={NOW},v1={good},v1={bad}"),
        format!("t={NOW},v1={bad},v1={good},v1={bad}"),
        format!("t={NOW},x1=whatever,novalue,=,v1={good},"),
    ] {
        assert_eq!(check(&header, &["whsec_a"]), Ok(()), "{header}");
    }
    let only_bad = format!("t={NOW},v1={bad},v1={bad}");
    assert_eq!(check(&only_bad, &["whsec_a"]), Err(SignatureError::Mismatch));
    let other_scheme = format!("t={NOW},v0={good}");
    assert_eq!(check(&other_scheme, &["whsec_a"]), Err(SignatureError::NoSignature));
}

#[test]
fn pitfall_003_any_of_several_secrets_may_match() {
    for secret in ["whsec_old", "whsec_new"] {
        let header = format!("t={NOW},v1={}", sign(BODY, secret, NOW));
        assert_eq!(check(&header, &["whsec_old", "whsec_new"]), Ok(()));
        assert_eq!(check(&header, &["whsec_new"]).is_ok(), secret == "whsec_new");
    }
}

#[test]
fn pitfall_004_malformed_headers_are_refused_by_name() {
    let good = sign(BODY, "whsec_a", NOW);
    let long = format!("t={NOW},v1={good},x={}", "y".repeat(MAX_HEADER_BYTES));
    let cases = [
        ("", SignatureError::NoTimestamp),
        ("\u{0}\u{e9},==,t", SignatureError::NoTimestamp),
        (&format!("v1={good}"), SignatureError::NoTimestamp),
        (&format!("t=abc,v1={good}"), SignatureError::TimestampNotANumber),
        (&format!("t=,v1={good}"), SignatureError::TimestampNotANumber),
        (&format!("t=-5,v1={good}"), SignatureError::TimestampNotANumber),
        (&format!("t={}9,v1={good}", i64::MAX), SignatureError::TimestampNotANumber),
        (&format!("t={NOW},t={NOW},v1={good}"), SignatureError::TwoTimestamps),
        (&format!("t={NOW}, v1={good}"), SignatureError::NoSignature),
        (&format!("t={NOW},v1=not hex"), SignatureError::Mismatch),
        (&format!("t={NOW},v1={good}0"), SignatureError::Mismatch),
        (&format!("t={NOW},v1="), SignatureError::Mismatch),
        (&long, SignatureError::HeaderTooLong),
    ];
    for (header, expected) in cases {
        assert_eq!(check(header, &["whsec_a"]), Err(expected), "{header}");
    }
}

#[test]
fn pitfall_006_without_a_secret_nothing_is_proven() {
    let header = format!("t={NOW},v1={}", sign(BODY, "", NOW));
    assert_eq!(check(&header, &[]), Err(SignatureError::NoSecret));
    assert_eq!(check(&header, &["", ""]), Err(SignatureError::NoSecret));
    assert_eq!(check(&header, &["", "whsec_a"]), Err(SignatureError::Mismatch));
}

#[test]
fn pitfall_007_the_window_is_closed_on_both_sides() {
    let verdict = |at: i64, tolerance| {
        let header = format!("t={at},v1={}", sign(BODY, "whsec_a", at));
        verify(BODY, &header, &[SecretString::from("whsec_a")], NOW, tolerance)
    };
    assert_eq!(verdict(NOW - 300, 300), Ok(()));
    assert_eq!(verdict(NOW - 301, 300), Err(SignatureError::TooOld(301)));
    assert_eq!(verdict(NOW + 300, 300), Ok(()));
    assert_eq!(verdict(NOW + 301, 300), Err(SignatureError::InTheFuture(301)));
    assert_eq!(verdict(NOW, 0), Ok(()));
    assert_eq!(verdict(NOW - 1, 0), Err(SignatureError::TooOld(1)));
    assert!(verdict(i64::MAX, 300).is_err());
}

proptest::proptest! {
    #[test]
    fn no_header_and_no_clock_panics(header in "[tv10=,a-f ]{0,80}", now: i64, window: i64) {
        let _ = verify(BODY, &header, &[SecretString::from("whsec_a")], now, window);
    }

    #[test]
    fn any_header_is_answered(header: String) {
        let verdict = verify(BODY, &header, &[SecretString::from("whsec_a")], NOW, 300);
        proptest::prop_assert!(verdict.is_err());
    }
}
