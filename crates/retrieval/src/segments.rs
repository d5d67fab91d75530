//! Blocks of vectors that are searched as a whole: exact, nearest first.

use crate::embedding::Vector;

/// A vector of another length than the segment's: nothing can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a vector of {found} dimensions does not fit a segment of {expected}")]
pub struct DimensionMismatch {
    pub expected: usize,
    pub found: usize,
}

/// A chunk and how far it is from the query.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub id: String,
    /// Euclidean distance.
    pub distance: f32,
}

/// An immutable block of chunk ids and vectors of one dimension.
#[derive(Debug, Clone)]
pub struct Segment {
    dimensions: usize,
    ids: Vec<String>,
    /// One vector after the other.
    components: Vec<f32>,
}

impl Segment {
    /// Takes the chunks of one collection; ids are the caller's to keep unique.
    ///
    /// ```
    /// use retrieval::embedding::Vector;
    /// use retrieval::segments::Segment;
    /// let vector = |x, y| Vector::parse(vec![x, y]).unwrap();
    /// let chunks = [("far".to_owned(), vector(9.0, 0.0)), ("near".to_owned(), vector(3.0, 4.0))];
    /// let segment = Segment::build(2, chunks).unwrap();
    /// let hits = segment.nearest(&vector(0.0, 0.0), 1).unwrap();
    /// assert_eq!((hits[0].id.as_str(), hits[0].distance), ("near", 5.0));
    /// ```
    pub fn build(
        dimensions: usize,
        chunks: impl IntoIterator<Item = (String, Vector)>,
    ) -> Result<Segment, DimensionMismatch> {
        let mut segment = Segment { dimensions, ids: Vec::new(), components: Vec::new() };
        for (id, vector) in chunks {
            segment.check(&vector)?;
            segment.ids.push(id);
            segment.components.extend_from_slice(vector.components());
        }
        segment.components.shrink_to_fit();
        Ok(segment)
    }

    /// The chunks that lie nearest to the query, nearest first; equally near ones by id.
    pub fn nearest(&self, query: &Vector, limit: usize) -> Result<Vec<Hit>, DimensionMismatch> {
        self.check(query)?;
        let query = query.components();
        let mut found: Vec<(f32, &String)> = self
            .components
            .chunks_exact(self.dimensions)
            .map(|vector| squared_distance(query, vector))
            .zip(&self.ids)
            .collect();
        let order = |a: &(f32, &String), b: &(f32, &String)| a.0.total_cmp(&b.0).then(a.1.cmp(b.1));
        if 0 < limit && limit < found.len() {
            found.select_nth_unstable_by(limit, order);
        }
        found.truncate(limit);
        found.sort_unstable_by(order);
        let hit = |(squared, id): (f32, &String)| Hit { id: id.clone(), distance: squared.sqrt() };
        Ok(found.into_iter().map(hit).collect())
    }

    fn check(&self, vector: &Vector) -> Result<(), DimensionMismatch> {
        let (expected, found) = (self.dimensions, vector.dimensions());
        if expected == found { Ok(()) } else { Err(DimensionMismatch { expected, found }) }
    }

    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let ids: usize = self.ids.iter().map(|id| size_of::<String>() + id.capacity()).sum();
        size_of::<Segment>() + ids + self.components.capacity() * size_of::<f32>()
    }
}

/// How many sums run side by side: independent ones are what the compiler can put in one register.
const LANES: usize = 16;

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(components: &[f32]) -> Vector {
        Vector::parse(components.to_vec()).unwrap()
    }

    fn segment(chunks: &[(&str, &[f32])]) -> Result<Segment, DimensionMismatch> {
        let chunks = chunks.iter().map(|(id, v)| ((*id).to_owned(), vector(v)));
        Segment::build(2, chunks)
    }

    #[test]
    fn equally_near_chunks_are_ordered_by_id() {
        let segment = segment(&[("b", &[1.0, 0.0]), ("c", &[0.0, 1.0]), ("a", &[-1.0, 0.0])]);
        let hits = segment.unwrap().nearest(&vector(&[0.0, 0.0]), 2).unwrap();
        assert_eq!(hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn other_dimensions_are_refused() {
        let mismatch = DimensionMismatch { expected: 2, found: 3 };
        assert_eq!(segment(&[("a", &[1.0; 3])]).map(|_| ()), Err(mismatch));
        let empty = segment(&[]).unwrap();
        assert_eq!(empty.nearest(&vector(&[1.0; 3]), 1), Err(mismatch));
    }

    #[test]
    fn limits_beyond_the_ends_are_fine() {
        let query = vector(&[0.0, 0.0]);
        assert!(segment(&[]).unwrap().nearest(&query, 5).unwrap().is_empty());
        let one = segment(&[("a", &[1.0, 0.0])]).unwrap();
        assert_eq!(one.nearest(&query, 0).unwrap(), []);
        assert_eq!(one.nearest(&query, usize::MAX).unwrap().len(), 1);
    }

    #[test]
    fn the_largest_numbers_have_finite_distances() {
        let most = crate::embedding::LARGEST_COMPONENT;
        let far = Vector::parse(vec![most; crate::embedding::MOST_DIMENSIONS]).unwrap();
        let near = Vector::parse(vec![-most; crate::embedding::MOST_DIMENSIONS]).unwrap();
        let segment = Segment::build(far.dimensions(), [("a".to_owned(), far)]).unwrap();
        assert!(segment.nearest(&near, 1).unwrap()[0].distance.is_finite());
        assert!(4 * segment.dimensions() < segment.bytes());
    }
}
