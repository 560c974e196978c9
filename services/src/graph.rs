//! Being written.
/// Placeholder of the contract.
#[derive(Debug)]
pub struct Graph;
