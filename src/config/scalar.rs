//! The smallest things that may be written: texts, numbers, sizes, durations, addresses.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

use crate::units::{ByteSize, parse_duration};

/// A key's value: not written, not readable (then a problem is recorded), or read.
///
/// Only for `config::de`, whose errors are recorded before they arrive here: this type swallows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Slot<T> {
    /// Not written.
    #[default]
    Absent,
    /// Written, but wrong.
    Bad,
    /// Written.
    Given(T),
}

impl<T> Slot<T> {
    /// What was read, if anything.
    pub fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    /// What was read, else `default`.
    pub fn or(self, default: T) -> T {
        self.given().unwrap_or(default)
    }

    /// A reference to what was read, if anything.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Slot<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(T::deserialize(deserializer).map_or(Self::Bad, Self::Given))
    }
}

impl<T: JsonSchema> JsonSchema for Slot<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A scalar as the tree holds it.
enum Scalar<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
}

/// What can be read from a scalar.
trait FromScalar: Sized {
    /// What is expected, for problems.
    const EXPECTED: &'static str;
    /// False if a wrong value must not be shown.
    const SHOWN: bool;
    /// `None` if it is nothing of the kind.
    fn from_scalar(scalar: Scalar<'_>) -> Option<Self>;
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: FromScalar> ScalarVisitor<T> {
    fn take<E: de::Error>(&self, scalar: Scalar<'_>) -> Result<T, E> {
        T::from_scalar(scalar).ok_or_else(|| match T::SHOWN {
            true => E::invalid_value(Unexpected::Other("value"), self),
            false => E::invalid_type(Unexpected::Other("value"), self),
        })
    }
}

impl<T: FromScalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        self.take(Scalar::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.take(Scalar::Int(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        self.take(Scalar::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        self.take(Scalar::Text(value))
    }
}

macro_rules! scalar {
    ($name:ident, $method:ident, $schema:tt) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.$method(ScalarVisitor(PhantomData))
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// Any text. Debug does not show it: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(…)")
    }
}

scalar!(Text, deserialize_str, {"type": "string"});

impl FromScalar for Text {
    const EXPECTED: &'static str = "text";
    const SHOWN: bool = false;

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Text(text) => Some(Self(text.to_owned())),
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => None,
        }
    }
}

/// A whole number, 0 to 4,294,967,295.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

scalar!(Count, deserialize_i64, {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 4294967295_u32}, {"type": "string", "pattern": "\\$\\{"}]});

impl FromScalar for Count {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";
    const SHOWN: bool = true;

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Int(value) => u32::try_from(value).ok().map(Self),
            Scalar::Bool(_) | Scalar::Text(_) | Scalar::Float(_) => None,
        }
    }
}

/// Any finite number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

scalar!(Number, deserialize_f64, {"anyOf": [{"type": "number"}, {"type": "string", "pattern": "\\$\\{"}]});

impl FromScalar for Number {
    const EXPECTED: &'static str = "a number";
    const SHOWN: bool = true;

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Int(value) => i32::try_from(value).ok().map(|value| Self(value.into())),
            Scalar::Float(value) => value.is_finite().then_some(Self(value)),
            Scalar::Bool(_) | Scalar::Text(_) => None,
        }
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

scalar!(Flag, deserialize_bool, {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "\\$\\{"}]});

impl FromScalar for Flag {
    const EXPECTED: &'static str = "true or false";
    const SHOWN: bool = true;

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Bool(value) => Some(Self(value)),
            Scalar::Int(_) | Scalar::Text(_) | Scalar::Float(_) => None,
        }
    }
}

/// A size: `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub ByteSize);

scalar!(Size, deserialize_str, {"anyOf": [{"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$|\\$\\{"}, {"const": 0}]});

impl FromScalar for Size {
    const EXPECTED: &'static str = "a size such as 64KiB (units: B, KiB, MiB, GiB, TiB)";
    const SHOWN: bool = true;

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Text(text) => ByteSize::parse(text).map(Self),
            Scalar::Int(0) => Some(Self(ByteSize::default())),
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => None,
        }
    }
}

/// A span of time: `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

scalar!(Span, deserialize_str, {"anyOf": [{"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$|\\$\\{"}, {"const": 0}]});

impl FromScalar for Span {
    const EXPECTED: &'static str = "a duration such as 250ms (units: ms, s, m, h, d; at most 10000d)";
    const SHOWN: bool = true;

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Text(text) => parse_duration(text).map(Self),
            Scalar::Int(0) => Some(Self(Duration::ZERO)),
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => None,
        }
    }
}

/// A network, `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

scalar!(Network, deserialize_str, {"type": "string"});

impl FromScalar for Network {
    const EXPECTED: &'static str = "an address or a network such as 10.0.0.0/8 or 2001:db8::/32";
    const SHOWN: bool = true;

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Text(text) => parse_network(text).map(Self),
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => None,
        }
    }
}

/// Reads an address or a network. Bits behind the prefix are cleared, and a network of IPv4-mapped IPv6 addresses
/// (`::ffff:10.0.0.0/104`) becomes the IPv4 network that it means.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let mapped = match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => {
            v6.addr().to_ipv4_mapped().map(|v4| (v4, v6.prefix_len() - 96))
        }
        _ => None,
    };
    match mapped {
        Some((address, prefix)) => mapped_network(address, prefix),
        None => Some(network.trunc()),
    }
}

fn mapped_network(address: Ipv4Addr, prefix: u8) -> Option<IpNet> {
    Ipv4Net::new(address, prefix).ok().map(|network| IpNet::V4(network.trunc()))
}
