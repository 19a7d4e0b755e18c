//! Every metric the gateway has.
