//! The local embedder answers questions about real documentation well enough for a demo.

use std::path::PathBuf;

use retrieval::chunking::chunk;
use retrieval::embedding::{Vector, embed_locally};
use retrieval::segments::Segment;
use serde_json::Value;

const DIMENSIONS: usize = 1_536;
const LIMIT: usize = 5;

fn read(name: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("TOLLGATE_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = folder.join("retrieval/claude-docs").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    let text = std::fs::read_to_string(path).expect("the set is readable");
    Some(serde_json::from_str(&text).expect("the set is json"))
}

fn embed(text: &str) -> Vector {
    Vector::parse(embed_locally(text, DIMENSIONS)).expect("local vectors are valid")
}

#[test]
fn judged_questions_find_one_of_their_sections() {
    let (Some(sections), Some(questions)) = (read("docs.json"), read("questions.json")) else {
        return;
    };
    let mut pieces = Vec::new();
    for section in &sections {
        let (link, text) = (section["chunk_link"].as_str().unwrap(), &section["text"]);
        let text = text.as_str().unwrap();
        for (number, piece) in chunk(text).into_iter().enumerate() {
            pieces.push((format!("{link} {number}"), embed(piece.text(text))));
        }
    }
    let count = pieces.len();
    let segment = Segment::build(DIMENSIONS, pieces).unwrap();
    let found = questions.iter().filter(|question| {
        let hits = segment.nearest(&embed(question["question"].as_str().unwrap()), LIMIT).unwrap();
        let links = question["correct_chunks"].as_array().unwrap();
        let is_right = |link: &str| links.iter().any(|right| right.as_str() == Some(link));
        hits.iter().any(|hit| is_right(hit.id.rsplit_once(' ').unwrap().0))
    });
    let found = found.count();
    println!("{found} of {} questions among the first {LIMIT} of {count}", questions.len());
    assert!(60 <= found * 100 / questions.len());
}
