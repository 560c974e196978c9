//! Insight into why services are as they are: from what init tells of services, their relations and the
//! boot. Here: what is asked for, once for all verbs. Not here: what each verb makes of it.

pub(crate) mod advice;
pub(crate) mod blame;
pub(crate) mod cat;
pub(crate) mod cli;
pub(crate) mod dot;
pub(crate) mod files;
pub(crate) mod known;
pub(crate) mod plot;
pub(crate) mod tree;
pub(crate) mod why;

use self::cli::InsightVerb;
use self::known::Known;
use crate::Context;
use crate::failure::Failure;
use crate::screen::Screen;

/// Does one of the verbs.
pub(crate) fn perform(
    verb: &InsightVerb,
    context: &Context,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    match verb {
        InsightVerb::Why { service } => why::why(context, screen, service),
        InsightVerb::Tree { service, reverse } => {
            let known = Known::ask(context, screen)?;
            tree::tree(&known, screen, service.as_deref(), *reverse)
        }
        InsightVerb::Graph { service } => {
            dot::graph(&Known::ask(context, screen)?, screen, service.as_deref())
        }
        InsightVerb::Blame => {
            let known = Known::ask(context, screen)?;
            blame::blame(&known, screen, (context.boottime_us)())
        }
        InsightVerb::CriticalChain { service } => {
            blame::chain(&Known::ask(context, screen)?, screen, service.as_deref())
        }
        InsightVerb::Plot { output } => {
            let known = Known::ask(context, screen)?;
            plot::plot(&known, screen, output.as_deref(), (context.boottime_us)())
        }
        InsightVerb::Cat { service, compare } => cat::cat(context, screen, service, *compare),
    }
}
