//! How records of one number of fields are read: where each field of the table stands, and a quick look at each, since nearly
//! all are sound.

use super::record::{Record, Span, plain};
use super::tables::{Class, Field, is_among};

/// The layout of one number of fields.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// How many fields a record has.
    pub(crate) count: usize,
    /// Where each field of the table stands, from 0; none when this layout has it not.
    pub(crate) places: Vec<Option<usize>>,
    looks: Vec<Look>,
}

/// What is asked of one field, in a few words of memory.
#[derive(Debug, Clone)]
struct Look {
    field: usize,
    at: usize,
    required: bool,
    class: Class,
    bytes: (usize, usize),
    chars_max: usize,
    values: Option<u128>,
    /// Its values are no bits: only blanks are passed.
    listed: bool,
}

impl Look {
    /// Whether nothing is to be said about the field. What is not surely sound is looked at by its rules.
    #[inline]
    fn passes(&self, record: &Record<'_>, span: Span) -> bool {
        let len = (span.to - span.from) as usize;
        if len == 0 {
            return !self.required;
        }
        let value = &record.line[span.from as usize..span.to as usize];
        let chars = if span.classes & self.class.bit() != 0 {
            len
        } else if self.class.is_wide()
            && let Some(chars) = plain(self.class, value)
        {
            chars
        } else {
            return false;
        };
        (self.bytes.0..=self.bytes.1).contains(&len)
            && chars <= self.chars_max
            && !self.listed
            && self.values.is_none_or(|bits| is_among(bits, value))
    }
}

impl Layout {
    /// The layout of `count` fields: each field of the table that is there, in order.
    pub(super) fn new(count: usize, places: Vec<Option<usize>>, fields: &[Field]) -> Self {
        // The first is the code, by which the form was found.
        let here = fields.iter().zip(&places).enumerate().skip(1);
        let looks = here.filter_map(|(i, (field, place))| {
            Some(Look {
                field: i,
                at: (*place)?,
                required: field.required,
                class: field.class,
                bytes: field.bytes,
                chars_max: field.chars_max.unwrap_or(usize::MAX),
                values: field.value_bits,
                listed: field.value_bits.is_none() && !field.values.is_empty(),
            })
        });
        let looks = looks.collect();
        Self { count, places, looks }
    }

    /// The fields of the table that a record of this layout may have something wrong with.
    #[inline]
    pub(super) fn doubtful<'a>(&'a self, record: &'a Record<'_>) -> impl Iterator<Item = usize> + 'a {
        let passes = |look: &Look| record.spans.get(look.at).is_some_and(|span| look.passes(record, *span));
        self.looks.iter().filter(move |look| !passes(look)).map(|look| look.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filing::record::{broken, classes_of_all};
    use crate::filing::{Profile, RuleSet};

    #[test]
    fn a_quick_look_passes_nothing_that_the_rules_do_not() {
        let rules = RuleSet::builtin().unwrap();
        let (kanji, name) = (encoding_rs::SHIFT_JIS.encode("見本　太郎").0, b"\xd0\xce\xdd \xc0\xdb\xb3");
        let long = kanji.repeat(20);
        let values: [&[u8]; 20] = [
            b"",
            b"1",
            b"9",
            b"04",
            b"00",
            b"99",
            b"31",
            b"0405",
            b"123456",
            b"1234567",
            b"123456789012",
            b"AB",
            b"a/b",
            name,
            &kanji,
            &long,
            b"\x81",
            b"\x87\x40",
            b"\xf0\x40",
            b"1,\x01",
        ];
        let (mut passed, mut doubted) = (0, 0);
        for form in rules.forms(Profile::Kpfd).chain(rules.forms(Profile::Claims)) {
            for layout in &form.layouts {
                for (i, field) in form.fields.iter().enumerate().skip(1) {
                    let Some(at) = layout.places[i] else { continue };
                    for value in values {
                        let mut spans = vec![Span::begin(0); layout.count];
                        spans[at] = Span {
                            from: 0,
                            to: u32::try_from(value.len()).unwrap(),
                            classes: classes_of_all(value),
                        };
                        let record = Record { line: value, spans: &spans, places: &layout.places };
                        let doubtful = layout.doubtful(&record).any(|doubtful| doubtful == i);
                        let sound = broken(field, value).is_none();
                        // Values of more than two digits are not known to a quick look.
                        let listed =
                            !field.values.is_empty() && field.value_bits.is_none() && !value.is_empty();
                        assert_eq!(doubtful, !sound || listed, "{} {}: {value:x?}", form.code, field.key);
                        (passed, doubted) =
                            (passed + usize::from(!doubtful), doubted + usize::from(doubtful));
                    }
                }
            }
        }
        assert!(passed > 500 && doubted > 500, "{passed} {doubted}");
    }
}
