//! Who is calling: the form of a key, the index of all keys, and the check that joins them.

pub mod authenticate;
pub mod cancellation;
pub mod client_address;
pub mod key;
pub mod key_record;
pub mod key_ring;
pub mod model_glob;
pub mod token;
