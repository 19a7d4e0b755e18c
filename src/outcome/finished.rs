//! The end of a request, as metrics and the access log tell it.
