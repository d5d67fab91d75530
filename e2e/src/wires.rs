//! One keep-alive connection: bytes out, a status and a body back, and nothing else understood.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BUFFER_BYTES: usize = 16 * 1024;

pub struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    head_bytes: usize,
    retry_after_seconds: Option<u64>,
}

/// Where the head of an answer ends, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
    retry_after_seconds: Option<u64>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: vec![0; BUFFER_BYTES],
            filled: 0,
            head_bytes: 0,
            retry_after_seconds: None,
        })
    }

    /// Sends one request and reads its answer: the status; the body stays here until the next one.
    pub async fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        let head = loop {
            self.read_more().await?;
            if let Some(head) = head(&self.input[..self.filled])? {
                break head;
            }
        };
        let whole = head.bytes + head.body_bytes;
        while self.filled < whole {
            self.read_more().await?;
        }
        if whole < self.filled {
            return Err(Error::new(ErrorKind::InvalidData, "more than one answer"));
        }
        self.head_bytes = head.bytes;
        self.retry_after_seconds = head.retry_after_seconds;
        Ok(head.status)
    }

    /// When to come back, if the last answer says so.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_seconds
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.input[self.head_bytes..self.filled]
    }

    async fn read_more(&mut self) -> Result<()> {
        if self.filled == self.input.len() {
            self.input.resize(self.input.len() * 2, 0);
        }
        match self.stream.read(&mut self.input[self.filled..]).await? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "closed by the server")),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }
}

/// The head at the beginning of these bytes, once all of it is there.
fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Ok(None);
    };
    let odd = |what| Error::new(ErrorKind::InvalidData, what);
    let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    let status = status.and_then(|digits| digits.parse().ok()).ok_or(odd("no status"))?;
    let mut body_bytes = (status == 204).then_some(0);
    let mut retry_after_seconds = None;
    for line in bytes[..end].split(|byte| *byte == b'\n').skip(1) {
        if let Some(value) = value_of(line, b"content-length:") {
            body_bytes = value.parse().ok();
        } else if let Some(value) = value_of(line, b"retry-after:") {
            retry_after_seconds = value.parse().ok();
        }
    }
    let body_bytes = body_bytes.ok_or(odd("an answer without a length"))?;
    Ok(Some(Head { status, bytes: end + 4, body_bytes, retry_after_seconds }))
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a str> {
    if line.len() <= name.len() || !line[..name.len()].eq_ignore_ascii_case(name) {
        return None;
    }
    Some(std::str::from_utf8(&line[name.len()..]).unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 402 Payment Required\r\nContent-Length: 12\r\nx: y\r\n\r\n{\"co";
        assert_eq!(head(&text[..40]).expect("not odd"), None);
        let found = head(text).expect("not odd").expect("whole");
        let (bytes, body_bytes) = (text.len() - 4, 12);
        assert_eq!(found, Head { status: 402, bytes, body_bytes, retry_after_seconds: None });
        let busy = b"HTTP/1.1 503 x\r\nRetry-After: 1\r\ncontent-length: 0\r\n\r\n";
        let found = head(busy).expect("not odd").expect("whole");
        assert_eq!(found.retry_after_seconds, Some(1));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
