//! The predictions of one step, to be shown: as many, and as much of their texts, as can be looked at.

use rusqlite::params;
use serde_json::Value;

use super::super::StoreError;
use super::{Sqlite, natural_at};

/// A prediction, with the beginnings of its texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Predicted {
    pub instruction: Option<Beginning>,
    pub model_output: Option<Beginning>,
    pub reward: Option<f64>,
    pub advantage: Option<f64>,
    /// Null where it is none, or as long as no metadata is.
    pub metadata: Value,
}

/// The beginning of a text, and how many characters the whole of it has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Beginning {
    pub text: String,
    pub characters: u64,
}

/// Metadata that is longer is not read.
const METADATA: i64 = 1 << 20;

impl Sqlite {
    /// The nearest steps before and after `step` that have predictions of a kind.
    pub(crate) fn predicted_around(
        &self,
        run_id: &str,
        kind: &str,
        step: u64,
    ) -> Result<[Option<u64>; 2], StoreError> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let one = |sql: &str| {
            self.read("read predictions", |db| {
                db.prepare_cached(sql)?
                    .query_row(params![run_id, kind, step], |line| {
                        let found: Option<i64> = line.get(0)?;
                        found.map(|_| natural_at(line, 0)).transpose()
                    })
            })
        };
        let of = "FROM predictions WHERE run_id = ?1 AND kind = ?2 AND step";
        Ok([
            one(&format!("SELECT max(step) {of} < ?3"))?,
            one(&format!("SELECT min(step) {of} > ?3"))?,
        ])
    }

    /// The predictions of a kind of a step, the oldest first: `most` of them, with `characters` of each text.
    pub(crate) fn predicted_at(
        &self,
        run_id: &str,
        kind: &str,
        step: u64,
        most: usize,
        characters: usize,
    ) -> Result<Vec<Predicted>, StoreError> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let sql = "SELECT substr(instruction, 1, ?5), length(instruction), substr(model_output, 1, ?5), length(model_output),
                reward, advantage, iif(length(metadata) <= ?6, metadata, NULL)
            FROM predictions WHERE run_id = ?1 AND kind = ?2 AND step = ?3 ORDER BY created_at, rowid LIMIT ?4";
        let beginning = |line: &rusqlite::Row<'_>, column: usize| -> rusqlite::Result<_> {
            let text: Option<String> = line.get(column)?;
            let characters = natural_at(line, column + 1).unwrap_or_default();
            Ok(text.map(|text| Beginning { text, characters }))
        };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (most, characters) = (number(most), number(characters));
        self.read("read predictions", |db| {
            db.prepare_cached(sql)?
                .query_map(
                    params![run_id, kind, step, most, characters, METADATA],
                    |line| {
                        let metadata: Option<String> = line.get(6)?;
                        Ok(Predicted {
                            instruction: beginning(line, 0)?,
                            model_output: beginning(line, 2)?,
                            reward: line.get(4)?,
                            advantage: line.get(5)?,
                            metadata: metadata
                                .and_then(|text| serde_json::from_str(&text).ok())
                                .unwrap_or_default(),
                        })
                    },
                )?
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Prediction, RunSpec, Store};

    #[test]
    fn predictions_of_a_step_come_with_the_beginnings_of_their_texts() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(dir.path().join("runs.db")).unwrap();
        store.open_run(&RunSpec::new("a")).unwrap();
        for (step, kind) in [(5, "train"), (10, "train"), (7, "eval"), (20, "train")] {
            let prediction = Prediction {
                run_id: "a".to_owned(),
                kind: kind.to_owned(),
                step: Some(step),
                model_output: Some("\u{fc}ber alles".to_owned()),
                reward: Some(0.5),
                ..Prediction::default()
            };
            store.add_prediction(&prediction).unwrap();
        }
        let around = |step| store.predicted_around("a", "train", step).unwrap();
        assert_eq!(around(10), [Some(5), Some(20)]);
        assert_eq!(around(1), [None, Some(5)]);
        assert_eq!(around(u64::MAX), [Some(20), None]);
        assert_eq!(store.newest_prediction().unwrap(), 4);
        let at = |step| store.predicted_at("a", "train", step, 9, 3).unwrap();
        assert_eq!(at(7), []);
        let found = at(10);
        let text = Beginning {
            text: "\u{fc}be".to_owned(),
            characters: 10,
        };
        assert_eq!(found[0].model_output, Some(text));
        assert_eq!((found.len(), found[0].reward), (1, Some(0.5)));
        assert_eq!(found[0].instruction, None);
    }
}
