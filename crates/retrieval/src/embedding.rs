//! Vectors: what callers bring, checked, and a simple embedder for demos and tests.

/// Longer vectors are refused: no embedding model in use comes near.
pub const MOST_DIMENSIONS: usize = 4_096;

/// The squares of larger numbers could leave the range in which distances are computed.
pub const LARGEST_COMPONENT: f32 = 1e15;

/// Why numbers are not a vector that can be searched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    #[error("a vector cannot be empty")]
    Empty,
    #[error("a vector of {0} dimensions is longer than {MOST_DIMENSIONS}")]
    TooLong(usize),
    #[error("component {0} of the vector is not a finite number")]
    NotFinite(usize),
    #[error("component {0} of the vector is beyond {LARGEST_COMPONENT:e}")]
    TooLarge(usize),
    #[error("{0} bytes are not a whole number of components")]
    Bytes(usize),
}

/// Between one and [`MOST_DIMENSIONS`] finite numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector(Vec<f32>);

impl Vector {
    /// Checks numbers from outside.
    ///
    /// ```
    /// use retrieval::embedding::{Vector, VectorError};
    /// assert!(Vector::parse(vec![0.5, -1.0]).is_ok());
    /// assert_eq!(Vector::parse(vec![0.5, f32::NAN]), Err(VectorError::NotFinite(1)));
    /// ```
    pub fn parse(components: Vec<f32>) -> Result<Vector, VectorError> {
        if components.is_empty() {
            return Err(VectorError::Empty);
        }
        if MOST_DIMENSIONS < components.len() {
            return Err(VectorError::TooLong(components.len()));
        }
        for (index, component) in components.iter().enumerate() {
            if !component.is_finite() {
                return Err(VectorError::NotFinite(index));
            }
            if LARGEST_COMPONENT < component.abs() {
                return Err(VectorError::TooLarge(index));
            }
        }
        Ok(Vector(components))
    }

    /// From the form a database keeps: little-endian, four bytes each.
    pub fn from_bytes(bytes: &[u8]) -> Result<Vector, VectorError> {
        let (components, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(VectorError::Bytes(bytes.len()));
        }
        if MOST_DIMENSIONS < components.len() {
            return Err(VectorError::TooLong(components.len()));
        }
        Vector::parse(components.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// The form a database keeps.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|component| component.to_le_bytes()).collect()
    }

    pub fn components(&self) -> &[f32] {
        &self.0
    }

    pub fn dimensions(&self) -> usize {
        self.0.len()
    }
}

const WORD_WEIGHT: f32 = 1.0;
const PAIR_WEIGHT: f32 = 0.5;
const TRIGRAM_WEIGHT: f32 = 0.3;

/// A vector from the words of a text alone: the same text always gives the same vector, and texts
/// that share words, neighbouring words or parts of words lie close together.
///
/// It is for demos and tests: it knows no meaning, so it finds neither synonyms nor translations.
/// The result has length one, or is all zero when the text has no letters or digits.
///
/// ```
/// use retrieval::embedding::embed_locally;
/// assert_eq!(embed_locally("Refund a payment", 64), embed_locally("refund a PAYMENT!", 64));
/// ```
pub fn embed_locally(text: &str, dimensions: usize) -> Vec<f32> {
    let mut components = vec![0.0_f32; dimensions];
    if dimensions == 0 {
        return components;
    }
    // Ordered, because the order of a sum decides its last bit.
    for (feature, (count, weight)) in features(text) {
        // Signs make the words that share a place cancel out instead of adding up.
        let sign = if feature >> 63 == 0 { 1.0 } else { -1.0 };
        let place = usize::try_from(feature % dimensions as u64).unwrap_or(0);
        components[place] += sign * weight * count.sqrt();
    }
    let length = components.iter().map(|component| component * component).sum::<f32>().sqrt();
    if 0.0 < length {
        components.iter_mut().for_each(|component| *component /= length);
    }
    components
}

/// How often each feature occurs, and what one is worth.
fn features(text: &str) -> std::collections::BTreeMap<u64, (f32, f32)> {
    let mut counts = std::collections::BTreeMap::new();
    let mut count = |feature: u64, weight: f32| {
        counts.entry(feature).or_insert((0.0, weight)).0 += 1.0;
    };
    let text = text.to_lowercase();
    let mut last: Option<&str> = None;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        count(hash("word", &[word]), WORD_WEIGHT);
        if let Some(last) = last {
            count(hash("pair", &[last, word]), PAIR_WEIGHT);
        }
        let padded: Vec<char> = std::iter::once(' ').chain(word.chars()).chain([' ']).collect();
        for trigram in padded.windows(3) {
            let trigram: String = trigram.iter().collect();
            count(hash("part", &[&trigram]), TRIGRAM_WEIGHT);
        }
        last = Some(word);
    }
    counts
}

/// FNV-1a, then mixed so that every bit depends on every byte.
fn hash(kind: &str, words: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in std::iter::once(&kind).chain(words) {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_vectors_are_refused_by_name() {
        let cases = [
            (vec![], VectorError::Empty),
            (vec![0.0; MOST_DIMENSIONS + 1], VectorError::TooLong(MOST_DIMENSIONS + 1)),
            (vec![1.0, f32::NAN], VectorError::NotFinite(1)),
            (vec![f32::INFINITY], VectorError::NotFinite(0)),
            (vec![0.0, 0.0, f32::NEG_INFINITY], VectorError::NotFinite(2)),
            (vec![f32::MAX], VectorError::TooLarge(0)),
        ];
        for (components, expected) in cases {
            assert_eq!(Vector::parse(components), Err(expected));
        }
        assert!(Vector::parse(vec![0.0; MOST_DIMENSIONS]).is_ok());
    }

    #[test]
    fn bad_bytes_are_refused_by_name() {
        assert_eq!(Vector::from_bytes(&[]), Err(VectorError::Empty));
        assert_eq!(Vector::from_bytes(&[0; 5]), Err(VectorError::Bytes(5)));
        assert_eq!(Vector::from_bytes(&[0xff; 8]), Err(VectorError::NotFinite(0)));
        assert_eq!(Vector::from_bytes(&vec![0; 4 * 5_000]), Err(VectorError::TooLong(5_000)));
    }

    #[test]
    fn the_local_embedder_does_not_change() {
        // Stored vectors must stay comparable with those of tomorrow's queries.
        let vector = embed_locally("Tollgate", 8);
        let rounded: Vec<i32> = vector.iter().map(|c| (c * 1_000.0).round() as i32).collect();
        assert_eq!(rounded, [457, -229, 0, 229, 0, -229, 762, 229]);
    }

    #[test]
    fn texts_that_share_words_are_closer() {
        let likeness = |a: &str, b: &str| -> f32 {
            let (a, b) = (embed_locally(a, 256), embed_locally(b, 256));
            a.iter().zip(b).map(|(a, b)| a * b).sum()
        };
        let query = "how do refunds work";
        let right = likeness(query, "Refunds are returned to the card within five days.");
        let wrong = likeness(query, "The weather was pleasant on Tuesday.");
        assert!(wrong < right, "{wrong} {right}");
    }

    #[test]
    fn texts_without_words_are_zero() {
        for text in ["", "  ", "?!"] {
            assert!(embed_locally(text, 4).iter().all(|component| *component == 0.0));
        }
        assert!(embed_locally("word", 0).is_empty());
    }
}
