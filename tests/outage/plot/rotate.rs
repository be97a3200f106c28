//! How soon after a rotation the pods use the new version: their share over time, a step for each round.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use serde_json::Value;

use super::{BLUE, Drawn, INK, ORANGE, SIZE, number, numbers, placed, text};

pub(super) fn draw(svg: &mut String, data: &Value) -> Drawn {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let latency = number(data, "/latency_seconds")? * 1e3;
    let rounds = data.pointer("/after_answer").and_then(Value::as_array).map_or(0, Vec::len);
    let (mut steps, mut all) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let times = numbers(data, &format!("/after_answer/{round}"))?;
        let times: Vec<_> = times.into_iter().map(|seconds| seconds * 1e3).collect();
        all.extend(times.clone());
        steps.push(times);
    }
    let end = all.iter().copied().fold(latency, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&root)
        .caption("Pods that use the new version, after many rotated the key at once", text(18))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..112.0)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.3))
        .axis_style(INK)
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0} %"))
        .x_desc("milliseconds since the first of the rotations was answered")
        .y_desc("of the pods")
        .axis_desc_style(text(14))
        .label_style(text(13))
        .draw()?;
    for times in steps {
        chart
            .draw_series([PathElement::new(shares(times, end)?, BLUE.mix(0.35).stroke_width(1))])?;
    }
    chart.draw_series([PathElement::new(shares(all, end)?, BLUE.stroke_width(3))])?;
    chart.draw_series([PathElement::new(
        [(latency, 0.0), (latency, 104.0)],
        ORANGE.stroke_width(2),
    )])?;
    let (x, y) = chart.backend_coord(&(latency, 104.0));
    let name = "one latency of the root";
    root.draw(&Text::new(name, (x, y - 3), placed(13, HPos::Center, VPos::Bottom)))?;
    let (x, y) = chart.backend_coord(&(end, 0.0));
    let name = "thin: one round each; thick: all rounds";
    root.draw(&Text::new(name, (x - 8, y - 10), placed(13, HPos::Right, VPos::Bottom)))?;
    root.present()?;
    Ok(())
}

/// The share of these times that has passed, in percent, as the corners of a stair.
fn shares(mut times: Vec<f64>, end: f64) -> Result<Vec<(f64, f64)>, Box<dyn std::error::Error>> {
    times.sort_by(f64::total_cmp);
    let all = f64::from(u32::try_from(times.len())?);
    let mut corners = vec![(0.0, 0.0)];
    let mut share = 0.0;
    for (time, passed) in times.into_iter().zip(1_u32..) {
        corners.push((time, share));
        share = 100.0 * f64::from(passed) / all;
        corners.push((time, share));
    }
    corners.push((end, share));
    Ok(corners)
}
