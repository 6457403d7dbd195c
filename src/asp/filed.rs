//! What has ended and is no longer held in memory, found again by its id: every so often the
//! oldest of what has ended are filed in one record of the topic, and memory keeps of that record
//! its offset and the range of its ids. docs/asp.md, "What has ended".

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::types::Offset;

/// The records that file what has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Files<Id>(Vec<File<Id>>);

/// One record that files what has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File<Id> {
    /// The least id in it, and the greatest.
    pub ids: RangeInclusive<Id>,
    /// Its offset.
    pub offset: Offset,
}

impl<Id> Default for Files<Id> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<Id: Ord + Copy> Files<Id> {
    /// Takes in a record that files these ids; one without any is passed over.
    pub fn push(&mut self, ids: impl Iterator<Item = Id> + Clone, offset: Offset) {
        if let (Some(least), Some(most)) = (ids.clone().min(), ids.max()) {
            let ids = least..=most;
            self.0.push(File { ids, offset });
        }
    }

    /// Takes in what was known of a record, as [`Files::iter`] gave it.
    pub fn push_file(&mut self, file: File<Id>) {
        self.0.push(file);
    }

    /// Where this id may be filed, the latest first.
    pub fn candidates(&self, id: Id) -> impl Iterator<Item = Offset> {
        let mut found: Vec<Offset> = self
            .0
            .iter()
            .filter(|file| file.ids.contains(&id))
            .map(|file| file.offset)
            .collect();
        found.reverse();
        found.into_iter()
    }

    /// The records, in the order of the topic.
    pub fn iter(&self) -> impl Iterator<Item = &File<Id>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_for_where_its_range_lies_and_nowhere_else() {
        let mut files = Files::<u64>::default();
        files.push([5, 1, 9].into_iter(), Offset(10));
        files.push([20, 30].into_iter(), Offset(20));
        files.push(std::iter::empty(), Offset(25));
        files.push([8, 25].into_iter(), Offset(30));
        let at = |id| {
            files
                .candidates(id)
                .map(|offset| offset.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(at(9), [30, 10]);
        assert_eq!(at(20), [30, 20]);
        assert_eq!(at(30), [20]);
        assert_eq!(at(31), [0; 0]);
        assert_eq!(files.iter().count(), 3);
        let json = serde_json::to_string(&files).unwrap();
        assert_eq!(serde_json::from_str::<Files<u64>>(&json).unwrap(), files);
    }
}
