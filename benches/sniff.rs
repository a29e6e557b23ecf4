//! Detecting the type of a part by its first bytes, compared with the bare library.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use vintedbot_ingest::ingest::sniff::{HEAD_BYTES, sniff};

/// First bytes, by the middle part of their benchmark ids: the type that is checked first, one in the middle, and an
/// unknown one, for which every signature is tried.
const HEADS: [(&str, &[u8]); 4] = [
    ("jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF\0"),
    ("heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
    ("pdf", b"%PDF-1.7"),
    ("text", b"nothing that anybody knows"),
];

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sniff");
    group.throughput(Throughput::Elements(1));
    for (label, start) in HEADS {
        let mut head = start.to_vec();
        head.resize(HEAD_BYTES, b' ');
        group.bench_function(label, |bencher| bencher.iter(|| sniff(black_box(&head))));
        group.bench_function(format!("{label}/infer"), |bencher| {
            bencher.iter(|| black_box(infer::get(black_box(&head))));
        });
    }
    group.finish();
}
