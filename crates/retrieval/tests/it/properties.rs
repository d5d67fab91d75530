//! Rules that hold for any text and any vectors.

use proptest::prelude::*;
use retrieval::chunking::{LONGEST_CHARACTERS, OVERLAP_CHARACTERS, chunk};
use retrieval::embedding::{Vector, embed_locally};
use retrieval::segments::Segment;

/// Texts long enough to be cut, with and without places to pause.
fn texts() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => "[a-z]{1,12}",
        2 => "[\u{e9}\u{6771}\u{4eac}\u{1f9fe}]{1,40}",
        1 => Just("x".repeat(1_500)),
    ];
    let pause = prop_oneof![
        12 => Just(" "),
        3 => Just(". "),
        2 => Just("\n"),
        1 => Just("\r\n\r\n"),
        1 => Just("\n\n"),
        1 => Just("。"),
        1 => Just("\u{3000}   "),
    ];
    proptest::collection::vec((word, pause), 0..600).prop_map(|parts| {
        parts.into_iter().flat_map(|(word, pause)| [word, pause.into()]).collect()
    })
}

fn check_chunks(source: &str) -> Result<(), TestCaseError> {
    let chunks = chunk(source);
    prop_assert_eq!(&chunks, &chunk(source));
    let mut covered = 0;
    for (index, piece) in chunks.iter().enumerate() {
        let text = piece.text(source);
        prop_assert!(!text.is_empty() && text == text.trim());
        prop_assert!(text.chars().count() <= LONGEST_CHARACTERS);
        if index != 0 {
            let before = chunks[index - 1];
            prop_assert!(before.start < piece.start && before.end < piece.end);
        }
        if covered <= piece.start {
            prop_assert!(source[covered..piece.start].trim().is_empty());
        } else {
            let shared = source[piece.start..covered].chars().count();
            prop_assert!(shared <= OVERLAP_CHARACTERS);
        }
        covered = piece.end;
    }
    prop_assert!(source[covered..].trim().is_empty());
    Ok(())
}

fn vectors(dimensions: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
    proptest::collection::vec(proptest::collection::vec(-100.0_f32..100.0, dimensions), 1..60)
}

fn exact(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>().sqrt()
}

proptest! {
    #[test]
    fn chunks_cover_the_text_once_in_order(source in texts()) {
        check_chunks(&source)?;
    }

    #[test]
    fn any_text_can_be_cut(source: String) {
        check_chunks(&source)?;
    }

    #[test]
    fn the_nearest_are_the_nearest(
        (all, query) in (1_usize..70).prop_flat_map(|dimensions| {
            (vectors(dimensions), proptest::collection::vec(-100.0_f32..100.0, dimensions))
        }),
        limit in 0_usize..70,
    ) {
        let chunks = all.iter().enumerate().map(|(index, vector)| {
            (format!("chunk_{index:03}"), Vector::parse(vector.clone()).unwrap())
        });
        let segment = Segment::build(query.len(), chunks).unwrap();
        let hits = segment.nearest(&Vector::parse(query.clone()).unwrap(), limit).unwrap();
        let mut distances: Vec<f64> = all.iter().map(|vector| exact(&query, vector)).collect();
        distances.sort_unstable_by(f64::total_cmp);
        prop_assert_eq!(hits.len(), limit.min(all.len()));
        for (hit, expected) in hits.iter().zip(&distances) {
            let close = (f64::from(hit.distance) - expected).abs() <= 1e-5 * expected;
            prop_assert!(close, "{} is not {expected}", hit.distance);
            let index: usize = hit.id["chunk_".len()..].parse().unwrap();
            let own = exact(&query, &all[index]);
            prop_assert!((f64::from(hit.distance) - own).abs() <= 1e-5 * own);
        }
    }

    #[test]
    fn vectors_survive_the_database(
        components in proptest::collection::vec(-1e15_f32..1e15, 1..200),
    ) {
        let vector = Vector::parse(components).unwrap();
        prop_assert_eq!(Vector::from_bytes(&vector.to_bytes()), Ok(vector));
    }

    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        if let Ok(vector) = Vector::from_bytes(&bytes) {
            prop_assert_eq!(vector.to_bytes(), bytes);
        }
    }

    #[test]
    fn local_vectors_are_valid_and_of_length_one(text: String, dimensions in 1_usize..2_000) {
        let vector = embed_locally(&text, dimensions);
        prop_assert_eq!(&vector, &embed_locally(&text, dimensions));
        let length = vector.iter().map(|component| component * component).sum::<f32>().sqrt();
        prop_assert!(length == 0.0 || (length - 1.0).abs() < 1e-4, "{length}");
        prop_assert_eq!(Vector::parse(vector).unwrap().dimensions(), dimensions);
    }
}
