//! Numbers as JavaScript sees them, without losing 64-bit integers.

use serde::ser::{Serialize, Serializer};

/// A number. Whole ones keep all 64 bits; equality is that of the number, not of its type, and NaN
/// equals nothing.
#[derive(Clone, Copy, PartialEq)]
pub struct Number(Repr);

/// Canonical: a whole number in the range of `i64` is `Int`, of `u64` above that `Large`, all else
/// `Float`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Repr {
    Int(i64),
    Large(u64),
    Float(f64),
}

/// 2⁶³ and 2⁶⁴, both exact.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

impl Number {
    /// As JavaScript has it; above 2⁵³ the nearest.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(self) -> f64 {
        match self.0 {
            Repr::Int(value) => value as f64,
            Repr::Large(value) => value as f64,
            Repr::Float(value) => value,
        }
    }

    /// Exactly, if it is whole and fits.
    pub fn as_i64(self) -> Option<i64> {
        match self.0 {
            Repr::Int(value) => Some(value),
            Repr::Large(_) | Repr::Float(_) => None,
        }
    }

    /// Exactly, if it is whole, not negative and fits.
    pub fn as_u64(self) -> Option<u64> {
        match self.0 {
            Repr::Int(value) => value.try_into().ok(),
            Repr::Large(value) => Some(value),
            Repr::Float(_) => None,
        }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(Repr::Int(value))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(i64::try_from(value).map_or(Repr::Large(value), Repr::Int))
    }
}

impl From<f64> for Number {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn from(value: f64) -> Self {
        // The casts are exact: the value is whole and in range. -0 becomes 0, as BinaryPack and
        // JSON have it.
        Self(if value.fract() != 0.0 {
            Repr::Float(value)
        } else if (-TWO_63..TWO_63).contains(&value) {
            Repr::Int(value as i64)
        } else if (TWO_63..TWO_64).contains(&value) {
            Repr::Large(value as u64)
        } else {
            Repr::Float(value)
        })
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Repr::Int(value) => serializer.serialize_i64(value),
            Repr::Large(value) => serializer.serialize_u64(value),
            Repr::Float(value) => serializer.serialize_f64(value),
        }
    }
}

impl core::fmt::Display for Number {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Repr::Int(value) => value.fmt(f),
            Repr::Large(value) => value.fmt(f),
            Repr::Float(value) => value.fmt(f),
        }
    }
}

impl core::fmt::Debug for Number {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}
