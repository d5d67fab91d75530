//! How long the texts of requests may be.

use crate::failures::Failure;

const TEXT_LENGTH_MAX: usize = 255;

/// Names, references, reasons and keys: short, and nothing that a log or a page would stumble over.
pub(crate) fn check_text(param: &'static str, text: Option<&str>) -> Result<(), Failure> {
    let fits = |text: &str| {
        !text.is_empty()
            && text.len() <= TEXT_LENGTH_MAX
            && !text.chars().any(|character| character.is_control())
    };
    match text {
        Some(text) if !fits(text) => {
            let detail = format!("{param} must be 1 to {TEXT_LENGTH_MAX} printable bytes");
            Err(Failure::invalid(param, detail))
        }
        _ => Ok(()),
    }
}
