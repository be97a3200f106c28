//! The timeline of an outage: what is encrypted above, what is decrypted below, and three marks.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use serde_json::Value;

use super::{BLUE, Drawn, INK, ORANGE, RED, SIZE, number, numbers, placed, text};

/// Height of the title.
const HEAD: u32 = 72;

/// One panel: its counts, and in which colour.
struct Panel<'a> {
    name: &'a str,
    series: &'a [(Vec<f64>, RGBColor)],
    is_last: bool,
}

pub(super) fn draw(svg: &mut String, data: &Value) -> Drawn {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let title = "Answers in each tenth of a second, while the root swallows packets";
    root.draw(&Text::new(title, (380, 12), placed(18, HPos::Center, VPos::Top)))?;
    let (_, below) = root.split_vertically(HEAD);
    let (above, below) = below.split_vertically(166);
    let sealed =
        [(numbers(data, "/encrypt_served")?, BLUE), (numbers(data, "/encrypt_refused")?, RED)];
    let opened = [(numbers(data, "/decrypt_served")?, ORANGE)];
    panel(&above, data, &Panel { name: "encrypt", series: &sealed, is_last: false })?;
    panel(&below, data, &Panel { name: "decrypt", series: &opened, is_last: true })?;
    for (x, name, colour) in [
        (150, "encrypt, served", BLUE),
        (290, "encrypt, refused: 503 root_unavailable", RED),
        (560, "decrypt, served", ORANGE),
    ] {
        root.draw(&Rectangle::new([(x, 37), (x + 10, 47)], colour.filled()))?;
        root.draw(&Text::new(name, (x + 16, 42), placed(13, HPos::Left, VPos::Center)))?;
    }
    root.present()?;
    Ok(())
}

fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, data: &Value, panel: &Panel<'_>) -> Drawn {
    let bin = number(data, "/bin_seconds")?;
    let bins = panel.series.iter().map(|(counts, _)| counts.len()).max().unwrap_or(0);
    let end = bin * f64::from(u32::try_from(bins)?);
    let highest = panel.series.iter().flat_map(|(counts, _)| counts).copied().fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin_left(12)
        .margin_right(24)
        .margin_top(8)
        .x_label_area_size(if panel.is_last { 44 } else { 18 })
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..highest * 1.15)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.3))
        .axis_style(INK)
        .x_labels(10)
        .y_labels(5)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .y_desc(panel.name)
        .axis_desc_style(text(14))
        .label_style(text(13));
    if panel.is_last {
        mesh.x_desc("seconds");
    }
    mesh.draw()?;
    for (counts, colour) in panel.series {
        let colour = *colour;
        let bars = counts.iter().zip(0_u32..).filter(|(count, _)| **count > 0.0);
        let bars = bars.map(|(count, place)| {
            let left = bin * f64::from(place);
            Rectangle::new([(left, 0.0), (left + bin * 0.8, *count)], colour.filled())
        });
        chart.draw_series(bars)?;
    }
    for (field, name) in
        [("/root_gone", "root gone"), ("/bound", "encrypt bound"), ("/root_back", "root back")]
    {
        let at = number(data, field)?;
        let (x, top) = chart.backend_coord(&(at, highest * 1.15));
        let (_, bottom) = chart.backend_coord(&(at, 0.0));
        let root = area.strip_coord_spec();
        let line = PathElement::new(
            [in_area(area, x, top), in_area(area, x, bottom)],
            INK.stroke_width(2),
        );
        root.draw(&line)?;
        if !panel.is_last {
            let (x, y) = in_area(area, x, top);
            root.draw(&Text::new(name, (x, y - 4), placed(13, HPos::Center, VPos::Bottom)))?;
        }
    }
    Ok(())
}

/// A place on the whole picture as one in `area`.
fn in_area(area: &DrawingArea<SVGBackend<'_>, Shift>, x: i32, y: i32) -> (i32, i32) {
    let (left, top) = area.get_base_pixel();
    (x - left, y - top)
}
