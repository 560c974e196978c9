//! Content keys: a hash over everything a result depends on, so that a result is made once.
