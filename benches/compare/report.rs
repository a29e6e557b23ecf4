//! Formats the figures as Markdown. `BENCHMARKS.md` explains the columns.

use std::fmt::Write;

use crate::format::Format;
use crate::measure::{Measured, median};
use crate::participant::{About, Run};

/// Selects the wall-clock or processor time of a run.
type Clock = fn(&Run) -> f64;

/// The photos of a format.
pub(crate) struct Block {
    pub(crate) format: Format,
    pub(crate) photos: Vec<Measured>,
    /// Peak memory of each participant in KiB with the largest photo, or `None` if it cannot read that.
    pub(crate) peaks: Vec<Option<u64>>,
}

/// Returns the summary and the table of all photos. Participant 0 is ours, participant 1 is Pillow.
pub(crate) fn tables(abouts: &[About], blocks: &[Block]) -> String {
    let names: Vec<&str> = abouts.iter().map(|about| about.name.as_str()).collect();
    let mut text = summary(&names, blocks);
    text.push_str("\n<details><summary>Each photo: processor milliseconds, kB, SSIM2</summary>\n\n");
    text.push_str(&each_photo(&names, blocks));
    text.push_str("\n</details>\n");
    text
}

fn summary(names: &[&str], blocks: &[Block]) -> String {
    let mut text = String::new();
    let head = [
        "photos",
        "participant",
        "ratio, clock",
        "ratio, processor",
        "SSIM2",
        "size : Pillow",
        "peak memory",
    ];
    table(&mut text, &head.map(str::to_owned));
    for Block { format, photos, peaks } in blocks {
        for (who, name) in names.iter().enumerate() {
            let all = photos.len();
            let read = photos.iter().filter(|photo| photo.is_read_by(who)).count();
            let first = if who == 0 { format!("{} ({all})", format.title()) } else { String::new() };
            let name =
                if read == all || read == 0 { (*name).to_owned() } else { format!("{name}, {read} of them") };
            let ratio = |clock: Clock| known(photos.iter().map(|photo| photo.ratio(who, clock)));
            let scores = known(photos.iter().map(|photo| photo.scores.get(who).copied().unwrap_or(f64::NAN)));
            let sizes = known(photos.iter().map(|photo| photo.bytes(who) / photo.bytes(1)));
            let peak = peaks.get(who).copied().flatten();
            let cells = [
                first,
                name,
                number(median(ratio(wall)), 2, "x"),
                number(median(ratio(cpu)), 2, "x"),
                number(mean(&scores), 2, ""),
                number(mean(&sizes), 3, ""),
                peak.map_or_else(|| NOTHING.to_owned(), |kib| format!("{} MB", kib * 1024 / 1_000_000)),
            ];
            row(&mut text, &cells);
        }
    }
    text
}

fn each_photo(names: &[&str], blocks: &[Block]) -> String {
    let mut text = String::new();
    let head = ["photo", "MP", "kind"].iter().chain(names).map(ToString::to_string).collect::<Vec<_>>();
    table(&mut text, &head);
    for block in blocks {
        for one in &block.photos {
            let photo = &one.photo;
            let name = format!("{} {}", photo.format.word(), photo.name);
            let mut cells = vec![name, format!("{:.1}", photo.megapixels), photo.kind.clone()];
            cells.extend((0..names.len()).map(|who| {
                if !one.is_read_by(who) {
                    return NOTHING.to_owned();
                }
                let time = if who == 0 {
                    number(one.median(who, cpu), 0, " ms")
                } else {
                    number(one.ratio(who, cpu), 2, "x")
                };
                let score = one.scores.get(who).copied().unwrap_or(f64::NAN);
                format!("{time}, {}, {}", number(one.bytes(who) / 1e3, 0, ""), number(score, 1, ""))
            }));
            row(&mut text, &cells);
        }
    }
    text
}

/// The cell of a participant that cannot read a photo.
const NOTHING: &str = "–";

fn wall(run: &Run) -> f64 {
    run.wall
}

fn cpu(run: &Run) -> f64 {
    run.cpu
}

fn known(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    numbers.filter(|number| !number.is_nan()).collect()
}

fn mean(numbers: &[f64]) -> f64 {
    let (sum, count) = numbers.iter().fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
    sum / count
}

fn number(number: f64, digits: usize, unit: &str) -> String {
    if number.is_nan() { NOTHING.to_owned() } else { format!("{number:.digits$}{unit}") }
}

/// Begins a table.
fn table(text: &mut String, head: &[String]) {
    row(text, head);
    row(text, &vec!["---".to_owned(); head.len()]);
}

fn row(text: &mut String, cells: &[String]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
