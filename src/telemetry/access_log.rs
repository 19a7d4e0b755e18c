//! One JSON line a request, formatted off the request's thread.
