//! BinaryPack beside MessagePack (`rmp-serde`) and JSON (`serde_json`): the messages of the vectors
//! as Rust types, written into a buffer that is there and read into borrowing types.
//!
//! `cargo bench -p peer-core --bench binarypack`. Throughput is in bytes of the format itself.

use core::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peer_core::binarypack;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Chat<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    from: &'a str,
    text: &'a str,
    ts: u64,
    tags: [&'a str; 2],
    read: bool,
}

#[derive(Serialize, Deserialize)]
struct Player {
    id: u32,
    x: f64,
    y: f64,
    alive: bool,
}

#[derive(Serialize, Deserialize)]
struct Game {
    t: f64,
    players: Vec<Player>,
}

#[derive(Serialize, Deserialize)]
struct Samples {
    channel: u8,
    values: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
struct Counts {
    values: Vec<u32>,
}

fn bench<'a, T: Serialize + Deserialize<'a>>(c: &mut Criterion, name: &str, value: &T) {
    let mut buffer = vec![0; 1 << 20];
    let packed = binarypack::to_slice(value, &mut buffer)
        .expect("packs")
        .to_vec();
    let message_pack = rmp_serde::to_vec_named(value).expect("packs");
    let json = serde_json::to_vec(value).expect("is JSON");
    // Leaked, so that the types may borrow for `'a`.
    let (packed, message_pack, json): (&'static [u8], &'static [u8], &'static [u8]) =
        (packed.leak(), message_pack.leak(), json.leak());

    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Bytes(packed.len() as u64));
    group.bench_function(BenchmarkId::new("binarypack", name), |b| {
        b.iter(|| {
            binarypack::to_slice(black_box(value), &mut buffer)
                .map(|bytes| bytes.len())
                .unwrap()
        });
    });
    group.throughput(Throughput::Bytes(message_pack.len() as u64));
    group.bench_function(BenchmarkId::new("rmp-serde", name), |b| {
        b.iter(|| {
            let mut rest = &mut buffer[..];
            let mut serializer = rmp_serde::Serializer::new(&mut rest).with_struct_map();
            black_box(value).serialize(&mut serializer).unwrap();
        });
    });
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function(BenchmarkId::new("serde_json", name), |b| {
        b.iter(|| serde_json::to_writer(&mut buffer[..], black_box(value)).unwrap());
    });
    group.finish();

    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(packed.len() as u64));
    group.bench_function(BenchmarkId::new("binarypack", name), |b| {
        b.iter(|| binarypack::from_slice::<T>(black_box(packed)).unwrap());
    });
    group.bench_function(BenchmarkId::new("binarypack Value", name), |b| {
        b.iter(|| binarypack::Value::from_slice(black_box(packed)).unwrap());
    });
    group.throughput(Throughput::Bytes(message_pack.len() as u64));
    group.bench_function(BenchmarkId::new("rmp-serde", name), |b| {
        b.iter(|| rmp_serde::from_slice::<T>(black_box(message_pack)).unwrap());
    });
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function(BenchmarkId::new("serde_json", name), |b| {
        b.iter(|| serde_json::from_slice::<T>(black_box(json)).unwrap());
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    let chat = Chat {
        kind: "chat",
        from: "alice",
        text: "Hello, wörld! 👋",
        ts: 1_700_000_000_000,
        tags: ["a", "b"],
        read: false,
    };
    bench(c, "chat", &chat);
    let players = (0..64).map(|id| Player {
        id,
        x: f64::from(id) * 1.37 - 10.5,
        y: f64::from(id) + 200.0,
        alive: id % 3 != 0,
    });
    bench(
        c,
        "game state",
        &Game {
            t: 12.345,
            players: players.collect(),
        },
    );
    let values = (0..4096).map(|i| f64::from(i) * 0.1 + 0.05);
    bench(
        c,
        "4096 doubles",
        &Samples {
            channel: 1,
            values: values.collect(),
        },
    );
    let values = (0..4096_u32).map(|i| i.wrapping_mul(2_654_435_761) >> (i % 32));
    bench(
        c,
        "4096 integers",
        &Counts {
            values: values.collect(),
        },
    );
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20);
    targets = benches
}
criterion_main!(all);
