//! Cutting a text into pieces that are long enough to mean something and short enough to compare.
//!
//! Pieces end where a reader would pause, and begin a little before the last one ended, so that a
//! sentence on the border is whole in one of them.

/// No piece is longer.
pub const LONGEST_CHARACTERS: usize = 1_200;

/// How much of a piece, at most, is repeated in the next one.
pub const OVERLAP_CHARACTERS: usize = 150;

/// A piece may end early for a better place, but not in its first half.
const SHORTEST_CHARACTERS: usize = LONGEST_CHARACTERS / 2;

/// Where a piece lies in its source, in bytes: `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub start: usize,
    pub end: usize,
}

impl Chunk {
    /// The piece itself; empty when the source is not the one that was cut.
    ///
    /// ```
    /// let source = "  One. ";
    /// let pieces = retrieval::chunking::chunk(source);
    /// assert_eq!(pieces[0].text(source), "One.");
    /// assert_eq!(pieces[0].start, 2);
    /// ```
    pub fn text(self, source: &str) -> &str {
        source.get(self.start..self.end).unwrap_or_default()
    }
}

/// Cuts a text, in reading order. Every character that is not white space is in some piece; a text
/// without any has no pieces.
pub fn chunk(source: &str) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let end_of_text = source.trim_end().len();
    let mut start = 0;
    loop {
        let text = &source[..end_of_text];
        start += white_space_at_start(&text[start..]);
        let rest = &text[start..];
        if rest.is_empty() {
            return chunks;
        }
        let end = start + length_of_piece(rest);
        chunks.push(Chunk { start, end: start + source[start..end].trim_end().len() });
        if end == end_of_text {
            return chunks;
        }
        start = end - length_of_overlap(&source[start..end]);
    }
}

fn white_space_at_start(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// The byte offset of the character with this number, or the length of the text.
fn offset_of(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(offset, _)| offset)
}

/// How many bytes of a text the next piece takes: up to the end of a paragraph, else of a line, a
/// sentence, a word, else all that fit.
fn length_of_piece(text: &str) -> usize {
    let longest = offset_of(text, LONGEST_CHARACTERS);
    if longest == text.len() {
        return longest;
    }
    let shortest = offset_of(text, SHORTEST_CHARACTERS);
    let window = &text[shortest..longest];
    let places = [
        window.rfind("\n\n").map(|at| at + 2),
        window.rfind('\n').map(|at| at + 1),
        end_of_last_sentence(window),
        window.rfind(char::is_whitespace),
    ];
    places.into_iter().flatten().next().map_or(longest, |place| shortest + place)
}

/// After a full stop that white space follows, or one of a script that writes none.
fn end_of_last_sentence(window: &str) -> Option<usize> {
    let mut followed_by_space = false;
    for (offset, character) in window.char_indices().rev() {
        let ends = match character {
            '.' | '!' | '?' | ';' => followed_by_space,
            '。' | '！' | '？' | '；' => true,
            _ => false,
        };
        if ends {
            return Some(offset + character.len_utf8());
        }
        followed_by_space = character.is_whitespace();
    }
    None
}

/// How many bytes at the end of a piece the next one repeats, from the start of a word.
fn length_of_overlap(piece: &str) -> usize {
    let last = piece.char_indices().rev().nth(OVERLAP_CHARACTERS - 1);
    let tail = last.map_or(piece, |(offset, _)| &piece[offset..]);
    tail.find(char::is_whitespace).map_or(tail.len(), |space| tail.len() - space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        chunk(source).into_iter().map(|piece| piece.text(source)).collect()
    }

    #[test]
    fn short_texts_are_one_piece_and_blank_ones_none() {
        assert_eq!(texts(" \n One line. \t"), ["One line."]);
        for blank in ["", " ", "\n\n\t\u{3000}"] {
            assert!(chunk(blank).is_empty());
        }
    }

    #[test]
    fn paragraphs_are_kept_whole_when_they_fit() {
        let first = "a".repeat(700);
        let second = "b".repeat(700);
        let source = format!("{first}\n\n{second}");
        let pieces = texts(&source);
        assert_eq!(pieces[0], first);
        assert!(pieces[1].ends_with(&second));
    }

    #[test]
    fn sentences_are_kept_whole_and_repeated_at_the_border() {
        let sentence = "The quick brown fox jumps over the lazy dog every day. ";
        let source = sentence.repeat(60);
        for piece in texts(&source) {
            assert!(piece.ends_with("day."), "{piece}");
        }
        let pieces = chunk(&source);
        for pair in pieces.windows(2) {
            let shared = pair[0].end - pair[1].start;
            assert!(100 < shared && shared <= OVERLAP_CHARACTERS, "{shared}");
        }
    }

    #[test]
    fn texts_without_any_pause_are_cut_between_characters() {
        for character in ["x", "\u{e9}", "東", "🧾"] {
            let source = character.repeat(3_000);
            let pieces = texts(&source);
            assert_eq!(pieces.len(), 3, "{character}");
            assert_eq!(pieces[0].chars().count(), LONGEST_CHARACTERS);
        }
    }
}
