//! `-o explain`: which policy and modifier did what, what was skipped, and why.

use crate::{
    columns::{Columns, Tone},
    inject::{
        Decision,
        report::{Refusal, Step},
    },
    policy::near_miss::NearMiss,
};

const HEADER: [&str; 4] = ["POLICY", "MODIFIER", "OUTCOME", "WHY"];
/// How many of the policies that nearly matched are named.
const MISSES: usize = 8;

/// The table of one pod, with the policies that nearly matched it.
pub(super) fn table(name: &str, decision: &Result<Decision<'_>, Refusal>, misses: &[NearMiss<'_>]) -> String {
    let decision = match decision {
        Err(refusal) => return format!("{name}: refused\n  {refusal}\n\n"),
        Ok(decision) => decision,
    };
    if let Some(why) = decision.left_alone {
        return format!("{name}: left alone: {why}\n{}\n", near(misses));
    }
    let count = decision.patch.len();
    let operations = if count == 1 { "operation" } else { "operations" };
    let mut text = format!("{name}: {count} {operations}\n");
    let rows: Vec<[String; 4]> = decision.report.steps().iter().flat_map(step_rows).collect();
    if !rows.is_empty() {
        let mut columns = Columns::new(HEADER);
        rows.iter().for_each(|row| columns.fit(row));
        text.push_str(&format!("  {}\n", columns.line(&HEADER, |_| Tone::Plain)));
        for row in &rows {
            text.push_str(&format!("  {}\n", columns.line(row, |_| Tone::Plain)));
        }
    }
    let steps: Vec<String> = decision.report.warnings().collect();
    for warning in decision.warnings.iter().filter(|warning| !steps.contains(warning)) {
        text.push_str(&format!("  {warning}\n"));
    }
    text.push_str(&near(misses));
    text.push('\n');
    text
}

/// A line for each of the policies that nearly matched.
fn near(misses: &[NearMiss<'_>]) -> String {
    let lines = misses.iter().take(MISSES).map(|miss| format!("  {miss}\n"));
    let more = misses.len().saturating_sub(MISSES);
    lines.chain((more > 0).then(|| format!("  and {more} more policies do not match\n"))).collect()
}

/// A row for the step, and one more for every remark after the first.
fn step_rows(step: &Step<'_>) -> Vec<[String; 4]> {
    let [policy, modifier, outcome] =
        [step.policy.id.to_string(), step.modifier.to_string(), step.outcome.word().to_owned()];
    let more = (step.more > 0).then(|| format!("and {} more", step.more));
    let mut notes = step.notes.iter().map(|note| note.text.clone()).chain(more);
    let first = [policy, modifier, outcome, notes.next().unwrap_or_default()];
    let rest = notes.map(|note| [String::new(), String::new(), String::new(), note]);
    [first].into_iter().chain(rest).collect()
}
