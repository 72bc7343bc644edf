//! Reading many series of a run at once, beside each other.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};

use super::super::StoreError;
use super::super::record::Split;
use super::rows::{SERIES, TOGETHER};
use super::{Sqlite, natural_at};

/// How many series are read one by one at most: more are read in one pass over all numbers of the run.
const ONE_BY_ONE: usize = 8;

/// Series of a run over its steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Courses {
    /// The steps of the run that have a row, ascending.
    pub steps: Vec<u64>,
    /// When each ended: milliseconds since 1970, UTC; of a step with a row on each split, the first that is known, train before val.
    pub times: Vec<Option<i64>>,
    /// By split and name.
    pub courses: Vec<Course>,
}

/// One name of a run on one split.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// What it was measured on.
    pub split: Split,
    /// The key.
    pub name: String,
    /// A number for each of [`Courses::steps`]; NaN where there is none.
    pub values: Vec<f64>,
}

/// A row's place among the steps, by its id.
type Lines = Vec<(i64, usize)>;

impl Sqlite {
    /// The series of a run that `keep` says are wanted, all as they stood at one moment. Nothing for a run without numbers.
    pub fn courses(
        &self,
        run_id: &str,
        keep: impl Fn(Split, &str) -> bool,
    ) -> Result<Courses, StoreError> {
        let mut wanted = self.names(run_id)?;
        wanted.retain(|(split, name)| keep(*split, name));
        self.read("read series", |db| {
            // A writer may go on meanwhile: what is read is of one moment.
            let moment = db.is_autocommit().then(|| db.unchecked_transaction());
            let _moment = moment.transpose()?;
            let mut found = steps(db, self.reading.rows, run_id)?;
            found.courses = wanted
                .into_iter()
                .map(|(split, name)| Course {
                    split,
                    name,
                    values: vec![f64::NAN; found.steps.len()],
                })
                .collect();
            if found.courses.len() <= ONE_BY_ONE {
                one_by_one(db, self.reading.series, run_id, &mut found)?;
            } else if self.reading.is_by_place {
                by_place(db, run_id, &mut found)?;
            } else {
                by_name(db, run_id, &mut found)?;
            }
            Ok(found)
        })
    }
}

fn steps(db: &Connection, sql: &str, run_id: &str) -> rusqlite::Result<Courses> {
    let mut rows: Vec<(u64, Split, Option<i64>)> = db
        .prepare_cached(sql)?
        .query_map(params![run_id, 0], |line| {
            Ok((natural_at(line, 0)?, line.get(1)?, line.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    rows.sort_unstable_by_key(|(step, split, _)| (*step, *split));
    let mut found = Courses::default();
    for (step, _, time) in rows {
        match (found.steps.last(), found.times.last_mut()) {
            (Some(last), Some(known)) if *last == step => *known = known.or(time),
            _ => {
                found.steps.push(step);
                found.times.push(time);
            }
        }
    }
    Ok(found)
}

fn one_by_one(
    db: &Connection,
    sql: &str,
    run_id: &str,
    found: &mut Courses,
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(sql)?;
    for course in &mut found.courses {
        let mut lines = select.query(params![run_id, course.name, course.split])?;
        while let Some(line) = lines.next()? {
            if let Ok(at) = found.steps.binary_search(&natural_at(line, 0)?) {
                course.values[at] = line.get(2)?;
            }
        }
    }
    Ok(())
}

/// In one pass, in the order in which numbers lie.
fn by_place(db: &Connection, run_id: &str, found: &mut Courses) -> rusqlite::Result<()> {
    let column = columns(db, run_id, found)?;
    let lines = lines(db, run_id, found)?;
    let four = |id: i64| id >> (SERIES + TOGETHER);
    let mut numbers =
        db.prepare_cached("SELECT id, value FROM numbers WHERE id >= ?1 AND id < ?2")?;
    // Other runs' numbers lie between those of this one where they were written at once.
    for stretch in lines.chunk_by(|a, b| four(b.0) - four(a.0) <= 1) {
        let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else {
            continue;
        };
        let ends = [four(first.0), four(last.0) + 1].map(|four| four << (SERIES + TOGETHER));
        let mut read = numbers.query(ends)?;
        let mut at = 0;
        while let Some(number) = read.next()? {
            let id: i64 = number.get(0)?;
            let place = usize::try_from(id >> TOGETHER & ((1 << SERIES) - 1)).unwrap_or(usize::MAX);
            let Some(Some(column)) = column.get(place) else {
                continue;
            };
            // The rows of a four stand side by side, and fours come in order.
            while at < stretch.len() && four(stretch[at].0) < four(id) {
                at += 1;
            }
            let lane = id & ((1 << TOGETHER) - 1);
            let mut same = stretch[at..].iter().take(1 << TOGETHER);
            let row =
                same.find(|(row, _)| four(*row) == four(id) && row & ((1 << TOGETHER) - 1) == lane);
            if let Some((_, line)) = row {
                found.courses[*column].values[*line] = number.get(1)?;
            }
        }
    }
    Ok(())
}

/// Which course the series at each place is; the places counted by one.
fn columns(db: &Connection, run_id: &str, found: &Courses) -> rusqlite::Result<Vec<Option<usize>>> {
    let sql =
        "SELECT place, split, name FROM series WHERE run = (SELECT key FROM runs WHERE id = ?1)";
    let mut columns = Vec::new();
    let mut select = db.prepare_cached(sql)?;
    let mut lines = select.query([run_id])?;
    while let Some(line) = lines.next()? {
        let place = natural_at(line, 0)? >> TOGETHER;
        let (split, name): (Split, String) = (line.get(1)?, line.get(2)?);
        let is_it = |course: &Course| (course.split, course.name.as_str()).cmp(&(split, &name));
        let (Ok(at), Ok(place)) = (
            found.courses.binary_search_by(is_it),
            usize::try_from(place),
        ) else {
            continue;
        };
        // A place that no program of ours gave would take room without end.
        if place >= 1 << SERIES {
            continue;
        }
        columns.resize(columns.len().max(place + 1), None);
        columns[place] = Some(at);
    }
    Ok(columns)
}

/// The run's rows by id, each with its place among the steps.
fn lines(db: &Connection, run_id: &str, found: &Courses) -> rusqlite::Result<Lines> {
    let sql =
        "SELECT id, step FROM rows WHERE run = (SELECT key FROM runs WHERE id = ?1) ORDER BY id";
    let line = |line: &Row<'_>| Ok((line.get::<_, i64>(0)?, natural_at(line, 1)?));
    let mut lines = Lines::new();
    for row in db.prepare_cached(sql)?.query_map([run_id], line)? {
        let (id, step) = row?;
        if let Ok(at) = found.steps.binary_search(&step) {
            lines.push((id, at));
        }
    }
    Ok(lines)
}

/// In one pass, name by name as schema 1 has them.
fn by_name(db: &Connection, run_id: &str, found: &mut Courses) -> rusqlite::Result<()> {
    let Courses { steps, courses, .. } = found;
    let mut by_name: [HashMap<String, usize>; 2] = Default::default();
    for (at, course) in courses.iter().enumerate() {
        by_name[course.split as usize].insert(course.name.clone(), at);
    }
    let sql = "SELECT step, split, name, value FROM metrics WHERE run_id = ?1";
    let mut select = db.prepare_cached(sql)?;
    let mut lines = select.query([run_id])?;
    while let Some(line) = lines.next()? {
        let split: Split = line.get(1)?;
        let name = line.get_ref(2)?.as_str()?;
        let (Some(course), Ok(at)) = (
            by_name[split as usize].get(name),
            steps.binary_search(&natural_at(line, 0)?),
        ) else {
            continue;
        };
        courses[*course].values[at] = line.get(3)?;
    }
    Ok(())
}
