//! What is told of relations between services, as init has them now, whatever lies in files. Not here:
//! finding it out (`supervisor`), and what is made of it for people (`sharkctl`).

use serde::{Deserialize, Serialize};

/// The relations of one service. What is told of one end of a relation is not told of the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRelations {
    /// The service.
    pub name: String,
    /// Must be up, and it is up only while they are.
    pub binds_to: Vec<String>,
    /// Must be up, and are started with it.
    pub requires: Vec<String>,
    /// Are started with it.
    pub wants: Vec<String>,
    /// Come before it; nothing else.
    pub after: Vec<String>,
    /// Cannot run beside it.
    pub conflicts: Vec<String>,
    /// Are part of it: stopped and restarted with it.
    pub parts: Vec<String>,
    /// Are started when it is left failed.
    pub on_failure: Vec<String>,
    /// What its start, or its stop, waits for now.
    pub waits_for: Vec<String>,
}

/// Services by name, from one on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationsPage {
    /// Each with its relations.
    pub relations: Vec<ServiceRelations>,
    /// With which name the next page begins, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
