//! A number that may be NaN or infinite: as text, where JSON knows neither, it is `"NaN"`, `"inf"` or `"-inf"`. Where earlier
//! versions wrote `null` for all of these, it is read as NaN.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let named = !x.is_finite() && serializer.is_human_readable();
    // Rust's names of these.
    if named { serializer.collect_str(x) } else { x.serialize(serializer) }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Named(String),
    Null(()),
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    if !deserializer.is_human_readable() {
        return f64::deserialize(deserializer);
    }
    match Number::deserialize(deserializer)? {
        Number::Finite(x) => Ok(x),
        Number::Null(()) => Ok(f64::NAN),
        Number::Named(name) => match name.as_str() {
            "NaN" => Ok(f64::NAN),
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            other => Err(D::Error::invalid_value(Unexpected::Str(other), &"a number, \"NaN\", \"inf\" or \"-inf\"")),
        },
    }
}
