//! The table's rows as an SVG of bars, and a score over time.

use std::fmt::Write as _;

use crate::figures::Row;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 330.0;
const LINE: f64 = 26.0;

/// Bars of all rows whose bound is a share, with the bound as a line.
pub fn bars(rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.bound <= 1.0).collect();
    let scale = WIDTH - LEFT - 90.0;
    let mut svg = begin(rows.len() as f64 * LINE + 40.0);
    for (index, row) in rows.iter().enumerate() {
        let y = 20.0 + index as f64 * LINE;
        let length = row.reached.clamp(0.0, 1.0) * scale;
        let color = if row.passed { "#2a7" } else { "#c33" };
        let bound = LEFT + row.bound * scale;
        let text = y + 13.0;
        let _ = write!(
            svg,
            r##"<text x="{x}" y="{text}" text-anchor="end">{what}</text><rect x="{LEFT}" y="{y}" width="{length:.1}" height="16" fill="{color}"/><path d="M{bound:.1} {top}v22" stroke="#000"/><text x="{end}" y="{text}">{reached:.3} {relation} {limit}</text>"##,
            x = LEFT - 8.0,
            what = row.what,
            top = y - 3.0,
            end = WIDTH - 105.0,
            reached = row.reached,
            relation = if row.relation == ">=" { "≥" } else { "≤" },
            limit = row.bound,
        );
        svg.push('\n');
    }
    svg + "</svg>\n"
}

/// A line for each series over its steps, values 0 to 1.
pub fn lines(title: &str, series: &[(&str, Vec<f64>)]) -> String {
    const COLORS: [&str; 3] = ["#2a7", "#c33", "#36c"];
    let (height, bottom) = (300.0, 330.0);
    let mut svg = begin(370.0);
    let _ = write!(svg, r#"<text x="40" y="16">{title}</text>"#);
    for tenth in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        let y = bottom - tenth * height;
        let _ = write!(
            svg,
            r##"<path d="M40 {y}h840" stroke="#ddd"/><text x="8" y="{y}">{tenth}</text>"##
        );
    }
    for (index, (name, values)) in series.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let step = 840.0 / (values.len().max(2) - 1) as f64;
        let points: Vec<String> = (values.iter().enumerate())
            .map(|(at, value)| {
                format!(
                    "{:.1},{:.1}",
                    40.0 + at as f64 * step,
                    bottom - value * height
                )
            })
            .collect();
        let _ = writeln!(
            svg,
            r#"<polyline fill="none" stroke="{color}" stroke-width="2" points="{}"/><text x="{}" y="355" fill="{color}">{name}</text>"#,
            points.join(" "),
            60.0 + 200.0 * index as f64,
        );
    }
    svg + "</svg>\n"
}

fn begin(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    )
}
