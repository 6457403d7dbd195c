mod attacks;
mod world;
use attacks::*;
use world::Qualities;
fn main() {
    let n: u64 = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(4);
    let all: Vec<(&str, Run)> = vec![
        ("honest", honest),
        ("company", company),
        ("wash", wash),
        ("sybils20", sybils_20),
        ("sybils200", sybils_200),
        ("ring", ring),
        ("circle", circle),
        ("sybil_slander", sybil_slander),
        ("verified_slander", verified_slander),
        ("cheat", cheat),
        ("onoff1", on_off_1),
        ("onoff2", on_off_2),
        ("whitewash", whitewash),
        ("disputes", disputes),
        ("routing", routing),
    ];
    for (name, run) in all {
        let t = std::time::Instant::now();
        let rs: Vec<Measured> = (0..n).map(|s| run(s, Qualities::Classes)).collect();
        print!("{name:17}");
        for i in 0..rs[0].len() {
            let m = rs.iter().map(|r| r[i].1).sum::<f64>() / n as f64;
            print!(" {}={m:.3}", rs[0][i].0);
        }
        println!("  [{:.1}s]", t.elapsed().as_secs_f64());
    }
}
