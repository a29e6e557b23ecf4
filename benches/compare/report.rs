//! Formats the figures as Markdown. `BENCHMARKS.md` explains the columns.

use std::fmt::Write;

use crate::measure::{Measured, median};
use crate::participant::{About, Run};

/// Selects the wall-clock or processor time of a run.
type Clock = fn(&Run) -> f64;

/// Returns all tables. Participant 0 is ours, participant 1 is Pillow; `peaks` are KiB per participant.
pub(crate) fn tables(abouts: &[About], measured: &[Measured], peaks: &[u64]) -> String {
    let names: Vec<&str> = abouts.iter().map(|about| about.name.as_str()).collect();
    let mut text = String::new();
    let cells = |measured: &Measured, cell: &dyn Fn(usize) -> String| {
        let photo = &measured.photo;
        let mut row = vec![photo.name.clone(), format!("{:.1}", photo.megapixels), photo.sampling.clone()];
        row.extend((0..names.len()).map(cell));
        row
    };
    let photo = ["photo", "MP", "sampling"];
    let head = |unit: &str| {
        photo
            .iter()
            .map(ToString::to_string)
            .chain(names.iter().map(|name| format!("{name} {unit}")))
            .collect::<Vec<_>>()
    };

    let clocks: [(&str, Clock); 2] = [("ms", wall), ("processor ms", cpu)];
    for (unit, clock) in clocks {
        let times = measured.iter().map(|one| {
            cells(one, &|who| {
                let ms = format!("{:.0}", one.median(who, clock));
                if who == 0 { ms } else { format!("{ms} ({:.2}x)", one.ratio(who, clock)) }
            })
        });
        table(&mut text, &head(unit), times);
    }
    let outputs = measured.iter().map(|one| {
        cells(one, &|who| {
            let score = one.scores.get(who).copied().unwrap_or(f64::NAN);
            format!("{:.0} / {score:.2}", one.bytes(who) / 1e3)
        })
    });
    table(&mut text, &head("kB / SSIM2"), outputs);

    let (large, set): (Vec<&Measured>, Vec<&Measured>) =
        measured.iter().partition(|one| one.photo.is_large());
    let head = [
        format!("summary of the {} photos up to 40 MP", set.len()),
        "median ratio, clock".into(),
        "median ratio, processor".into(),
        "mean SSIM2".into(),
        "mean size : Pillow".into(),
        "larger ones: ratio, clock".into(),
        "larger ones: ratio, processor".into(),
        "peak memory, largest".into(),
    ];
    let ratio = |of: &[&Measured], who: usize, what: Clock| {
        if of.is_empty() {
            "".into()
        } else {
            format!("{:.2}x", median(of.iter().map(|one| one.ratio(who, what)).collect()))
        }
    };
    let rows = (0..names.len()).map(|who| {
        let score = mean(set.iter().filter_map(|one| one.scores.get(who).copied()));
        let size = mean(set.iter().map(|one| one.bytes(who) / one.bytes(1)));
        let peak = peaks.get(who).map_or(String::new(), |kib| format!("{} MB", kib * 1024 / 1_000_000));
        vec![
            names[who].to_owned(),
            ratio(&set, who, wall),
            ratio(&set, who, cpu),
            format!("{score:.2}"),
            format!("{size:.3}"),
            ratio(&large, who, wall),
            ratio(&large, who, cpu),
            peak,
        ]
    });
    table(&mut text, &head, rows);
    text
}

fn wall(run: &Run) -> f64 {
    run.wall
}

fn cpu(run: &Run) -> f64 {
    run.cpu
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
    sum / count
}

fn table(text: &mut String, head: &[String], rows: impl Iterator<Item = Vec<String>>) {
    let mut line = |cells: &[String]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    line(head);
    line(&vec!["---".to_owned(); head.len()]);
    for row in rows {
        line(&row);
    }
    text.push('\n');
}
