//! Requests as bytes, made before the clock starts, so that sending one costs the load generator
//! next to nothing.

use std::net::SocketAddr;

/// Where a number that was never used before is written into a request, digit by digit.
pub const NUMBER: &str = "################";

/// One HTTP/1.1 request, whole.
pub struct Request {
    pub bytes: Vec<u8>,
    /// Where its number goes, if it has one.
    pub number_at: Option<usize>,
}

/// Whom requests are sent to, and in whose name.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub bearer: Option<String>,
}

impl Target {
    pub fn with_bearer(&self, bearer: Option<&str>) -> Self {
        Self { address: self.address, bearer: bearer.map(str::to_owned) }
    }

    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
        self.request("POST", path, headers, body)
    }

    pub fn post_json(&self, path: &str, body: &serde_json::Value) -> Request {
        self.post(path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        if let Some(bearer) = &self.bearer {
            head.push_str(&format!("authorization: Bearer {bearer}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let number_at = head.find(NUMBER);
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        Request { bytes, number_at }
    }
}

impl Request {
    /// The bytes with a number of their own.
    pub fn write_to(&self, out: &mut Vec<u8>, number: u64) {
        out.clear();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.number_at {
            let digits = format!("{number:0width$}", width = NUMBER.len());
            out[at..at + NUMBER.len()].copy_from_slice(digits.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_gets_a_number_of_its_own() {
        let target = Target { address: ([127, 0, 0, 1], 80).into(), bearer: Some("key".into()) };
        let key = format!("bench-{NUMBER}");
        let request = target.post("/x", &[("idempotency-key", &key)], b"{}");
        let mut out = Vec::new();
        request.write_to(&mut out, 7);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "POST /x HTTP/1.1\r\nhost: 127.0.0.1:80\r\nauthorization: Bearer key\r\n\
             idempotency-key: bench-0000000000000007\r\ncontent-length: 2\r\n\r\n{}"
        );
    }
}
