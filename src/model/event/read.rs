//! Reading an event field by field as the text goes by. Its tag stands first, as it is written; of a map in another order
//! (no journal's) a tree is made first.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Value;

use super::{Event, Variants};

const TAG: &str = "event";

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<Event, M::Error> {
        match fields.next_key::<String>()? {
            Some(first) if first == TAG => Variants::deserialize(Tagged(fields)),
            Some(first) => {
                let mut tree = vec![(first, fields.next_value()?)];
                while let Some(pair) = fields.next_entry::<String, Value>()? {
                    tree.push(pair);
                }
                let tag = tree.iter().position(|(name, _)| name == TAG);
                tree.swap(0, tag.ok_or_else(|| M::Error::missing_field(TAG))?);
                let fields = MapDeserializer::<_, serde_json::Error>::new(tree.into_iter());
                Self.visit_map(fields).map_err(M::Error::custom)
            }
            None => Err(M::Error::missing_field(TAG)),
        }
    }
}

/// A map of which the tag's name was read and its value comes next.
struct Tagged<M>(M);

impl<'de, M: MapAccess<'de>> Deserializer<'de> for Tagged<M> {
    type Error = M::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, M::Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, M: MapAccess<'de>> EnumAccess<'de> for Tagged<M> {
    type Error = M::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self), M::Error> {
        Ok((self.0.next_value_seed(seed)?, self))
    }
}

/// What stands after the tag: the variant's fields.
impl<'de, M: MapAccess<'de>> VariantAccess<'de> for Tagged<M> {
    type Error = M::Error;

    fn unit_variant(mut self) -> Result<(), M::Error> {
        while self.0.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, M::Error> {
        seed.deserialize(MapAccessDeserializer::new(self.0))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, M::Error> {
        Err(M::Error::custom("no event has fields without names"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, M::Error> {
        visitor.visit_map(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::submission::Outcome;
    use crate::store::sample;

    #[test]
    fn what_is_written_is_read_in_whatever_order_it_stands() {
        let received = Event::SubmissionReceived {
            submission: Box::new(sample::submission(1, 7, Some(7))),
            outcome: Outcome::Accepted,
        };
        let mail = Event::MailSealed(Box::new(sample::mail(1, 3, Vec::new(), sample::NOW)));
        for event in [received, mail, Event::InsurerSet(sample::insurer()), Event::Stopped] {
            let text = serde_json::to_string(&event).unwrap();
            assert!(text.starts_with("{\"event\":\""), "{text}");
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
            // A tree's names are sorted: the tag is somewhere among them.
            let tree: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::from_value::<Event>(tree).unwrap(), event);
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over_and_what_is_no_event_is_told() {
        let read = |text| serde_json::from_str::<Event>(text).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"event":"stopped","why":[1,{"a":"b"}]}"#), Ok(Event::Stopped));
        let uuid = "u".to_owned();
        let text = r#"{"event":"epoch_began","later":{"x":1},"epoch":2,"uuid":"u"}"#;
        assert_eq!(read(text), Ok(Event::EpochBegan { epoch: 2, uuid }));
        for (bad, why) in [
            ("{}", "missing field `event`"),
            (r#"{"epoch":2}"#, "missing field `event`"),
            (r#"{"event":"flew"}"#, "unknown variant `flew`"),
            (r#"{"event":"epoch_began","epoch":2}"#, "missing field `uuid`"),
            (r#"{"event":"stopped""#, "EOF"),
        ] {
            let said = read(bad).unwrap_err();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }
}
