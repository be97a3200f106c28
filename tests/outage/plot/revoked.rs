//! What each pod still served after the grant was revoked: a strip for each, and the bound.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use serde_json::Value;

use super::{BLUE, Drawn, INK, SIZE, number, numbers, placed, text};

pub(super) fn draw(svg: &mut String, data: &Value) -> Drawn {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let bin = number(data, "/timeline/bin_seconds")?;
    let recheck = number(data, "/timeline/recheck_seconds")?;
    let pods = data.pointer("/timeline/pods").and_then(Value::as_array).map_or(0, Vec::len);
    let pods = u32::try_from(pods)?;
    let mut strips = Vec::new();
    for pod in 0..pods {
        strips.push(numbers(data, &format!("/timeline/pods/{pod}"))?);
    }
    let highest = strips.iter().flatten().copied().fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption("Requests that each pod served after the grant was revoked", text(18))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..1.2, 0.0..f64::from(pods) + 0.5)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .axis_style(INK)
        .x_labels(7)
        .x_label_formatter(&|value| format!("{value:.1}"))
        .x_desc("time since the revocation, in root_recheck")
        .axis_desc_style(text(14))
        .label_style(text(13))
        .draw()?;
    for (strip, row) in strips.iter().zip((0..pods).rev()) {
        let base = f64::from(row) + 0.1;
        let bars = strip.iter().zip(0_u32..).filter(|(count, _)| **count > 0.0);
        let bars = bars.map(|(count, place)| {
            let left = bin * f64::from(place) / recheck;
            let corners =
                [(left, base), (left + bin * 0.85 / recheck, base + 0.75 * count / highest)];
            Rectangle::new(corners, BLUE.filled())
        });
        chart.draw_series(bars)?;
        let (x, y) = chart.backend_coord(&(0.0, base + 0.3));
        let name = format!("pod {}", pods - row);
        root.draw(&Text::new(name, (x - 10, y), placed(14, HPos::Right, VPos::Center)))?;
        chart.draw_series([PathElement::new([(0.0, base), (1.2, base)], INK.mix(0.3))])?;
    }
    let top = f64::from(pods) + 0.1;
    chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, top)], INK.stroke_width(2))])?;
    let (x, y) = chart.backend_coord(&(1.0, top));
    root.draw(&Text::new("root_recheck", (x, y - 4), placed(13, HPos::Center, VPos::Bottom)))?;
    root.present()?;
    Ok(())
}
