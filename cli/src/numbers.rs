//! Numbers of records. JSON has no NaN and no infinities; a run that diverges has.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Numbers that come back from JSON whatever they are: finite ones to the bit, the others as `"NaN"`, `"inf"` and
/// `"-inf"`. Where earlier versions wrote `null` for all of these, it is read as NaN.
pub(crate) trait Numbers: Sized {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// For `#[serde(with = "numbers")]`.
pub(crate) fn serialize<N: Numbers, S: Serializer>(numbers: &N, serializer: S) -> Result<S::Ok, S::Error> {
    numbers.write(serializer)
}

/// For `#[serde(with = "numbers")]`.
pub(crate) fn deserialize<'de, N: Numbers, D: Deserializer<'de>>(deserializer: D) -> Result<N, D::Error> {
    N::read(deserializer)
}

impl Numbers for f64 {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Number(*self).serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Number::deserialize(deserializer).map(|number| number.0)
    }
}

/// Of these `null` means that there is no number.
impl Numbers for Option<f64> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.map(Number).serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Number>::deserialize(deserializer)?.map(|number| number.0))
    }
}

impl Numbers for [f64; 2] {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.map(Number).serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(<[Number; 2]>::deserialize(deserializer)?.map(|number| number.0))
    }
}

impl Numbers for Vec<f64> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().copied().map(Number))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Number>::deserialize(deserializer)?.into_iter().map(|number| number.0).collect())
    }
}

#[derive(Clone, Copy)]
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            x if x.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("inf"),
            f64::NEG_INFINITY => serializer.serialize_str("-inf"),
            x => serializer.serialize_f64(x),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor).map(Self)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number, \"NaN\", \"inf\" or \"-inf\"")
    }

    fn visit_f64<E: Error>(self, x: f64) -> Result<f64, E> {
        Ok(x)
    }

    fn visit_u64<E: Error>(self, x: u64) -> Result<f64, E> {
        Ok(x as f64)
    }

    fn visit_i64<E: Error>(self, x: i64) -> Result<f64, E> {
        Ok(x as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        match text {
            "NaN" => Ok(f64::NAN),
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<f64, E> {
        Ok(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct All {
        #[serde(with = "super")]
        one: f64,
        #[serde(with = "super", default)]
        perhaps: Option<f64>,
        #[serde(with = "super")]
        pair: [f64; 2],
        #[serde(with = "super")]
        list: Vec<f64>,
    }

    #[test]
    fn every_number_comes_back_with_its_bits() {
        let list = vec![0.1 + 0.2, 1.0 / 3.0, 5e-324, -0.0, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for &x in &list {
            let text = serde_json::to_string(&All { one: x, perhaps: Some(x), pair: [x, 1.0], list: list.clone() });
            let back: All = serde_json::from_str(&text.expect("plain data")).expect("what was written");
            let bits = |xs: &[f64]| xs.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&[back.one, back.pair[0], back.perhaps.expect("there")]), bits(&[x; 3]), "{x}");
            assert_eq!(bits(&back.list), bits(&list), "the list");
        }
    }

    #[test]
    fn null_is_nan_as_in_old_records_and_words_are_refused() {
        let read = |one: &str| {
            serde_json::from_str::<All>(&format!(r#"{{"one":{one},"perhaps":null,"pair":[null,2],"list":[null,-1]}}"#))
        };
        let All { one, perhaps, pair, list } = read("null").expect("an old record");
        assert!(one.is_nan() && pair[0].is_nan() && list[0].is_nan(), "null");
        assert_eq!((perhaps, pair[1], list[1]), (None, 2.0, -1.0), "the others");
        assert!(read("\"many\"").expect_err("no number").to_string().contains("\"NaN\""), "says what may stand there");
    }
}
