//! From a record's JSON: the scalars, and the controller's snapshot.

use serde::de::MapAccess;

use super::cell::{Bit, Maybe, Number, NumberOrBit, One, Reading, Text};
use super::fault::Fault;
use super::json::{ReadMembers, object, unknown};
use crate::batch::scalars::{Meta, Scalars, Weighting};

impl ReadMembers for Scalars {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        from: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        let field = format!("scalars.{name}");
        if let Some(x) = from.next_value_seed(One::<Maybe<Number>>::new(reading, &field))? {
            self.set(name, x);
        }
        Ok(())
    }
}

impl ReadMembers for Weighting {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        from: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        let field = format!("weighting.{name}");
        let name = Self::field(name).unwrap_or(name);
        if Self::WORDS.contains(&name) {
            let word = from.next_value_seed(One::<Maybe<Text>>::new(reading, &field))?;
            if let Some(Err(error)) = word.and_then(|word| self.set_word(name, &word)) {
                return Err(reading.refuse(Fault::Cell {
                    field,
                    expected: error.expected.to_owned(),
                    found: format!("\"{}\"", error.found),
                }));
            }
        } else if name == "meta" {
            self.meta = object(&field, from, reading)?;
        } else if let Some(place) = self.number_mut(name) {
            *place = from.next_value_seed(One::<Maybe<Number>>::new(reading, &field))?;
        } else if let Some(place) = self.flag_mut(name) {
            *place = from.next_value_seed(One::<Maybe<Bit>>::new(reading, &field))?;
        } else {
            let known = [Self::NUMBERS, Self::FLAGS, Self::WORDS, &["meta"]].concat();
            return Err(unknown(reading, name, "weighting", known));
        }
        Ok(())
    }
}

impl ReadMembers for Meta {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        from: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        let field = format!("weighting.meta.{name}");
        let name = Self::field(name).unwrap_or(name);
        // Whether a projection moved the parameter: some controllers say it as a flag.
        let flag_too = name.ends_with("_projected");
        if let Some(place) = self.number_mut(name) {
            *place = if flag_too {
                from.next_value_seed(One::<Maybe<NumberOrBit>>::new(reading, &field))?
            } else {
                from.next_value_seed(One::<Maybe<Number>>::new(reading, &field))?
            };
        } else if let Some(place) = self.flag_mut(name) {
            *place = from.next_value_seed(One::<Maybe<Bit>>::new(reading, &field))?;
        } else {
            let known = Self::NUMBERS.iter().chain(Self::FLAGS).copied();
            return Err(unknown(reading, name, "weighting.meta", known));
        }
        Ok(())
    }
}
