//! The picture of the throughputs, for the README: an SVG that reads on a light ground and on a dark one.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::rounds::{Measured, Subject};

const SIZE: (u32, u32) = (760, 400);
const FONT: &str = "sans-serif";
/// Between white and black: both grounds leave it readable where the style below is not heeded.
const INK: RGBColor = RGBColor(110, 118, 129);
/// What a viewer in dark mode shows instead.
const STYLE: &str = "<style>text:not([fill=\"#FFFFFF\"]){fill:#424a53}\
    @media(prefers-color-scheme:dark){text:not([fill=\"#FFFFFF\"]){fill:#d1d7e0}}</style>";

fn colour(subject: Subject) -> RGBColor {
    match subject {
        Subject::Bare => RGBColor(139, 148, 158),
        Subject::Encrypt => RGBColor(31, 136, 190),
        _ => RGBColor(218, 119, 44),
    }
}

/// One group of bars for each number of connections.
pub(crate) fn throughput(measured: &[Measured]) -> anyhow::Result<String> {
    let mut counts: Vec<_> = measured.iter().map(|row| row.connections).collect();
    counts.dedup();
    let highest = measured.iter().map(|row| row.requests_per_second).fold(0.0, f64::max);
    let mut svg = String::new();
    draw(&mut svg, measured, &counts, highest * 1.3 / 1e3)
        .map_err(|error| anyhow::anyhow!("the plot cannot be drawn: {error}"))?;
    // The ground is left to whoever shows it; the texts take the colour that suits it.
    Ok(svg.replacen('>', &format!(">\n{STYLE}"), 1))
}

fn draw(
    svg: &mut String,
    measured: &[Measured],
    counts: &[u16],
    top: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    let title = format!(
        "1 KiB of plaintext, beside a bare handler (= 100 %) on the same {} cores",
        crate::cores()
    );
    let groups = 0.0..f64::from(u16::try_from(counts.len())?);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, text(18))
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(groups, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.3))
        .axis_style(INK)
        .y_labels(6)
        .y_label_formatter(&|value| format!("{value:.0}"))
        .y_desc("thousand requests a second")
        .axis_desc_style(text(14))
        .label_style(text(13))
        .draw()?;
    for (place, count) in counts.iter().enumerate() {
        let left = f64::from(u16::try_from(place)?);
        let under = text(14).pos(Pos::new(HPos::Center, VPos::Top));
        let name =
            if *count == 1 { "1 connection".to_owned() } else { format!("{count} connections") };
        let (x, y) = chart.backend_coord(&(left + 0.5, 0.0));
        root.draw(&Text::new(name, (x, y + 10), under))?;
    }
    for (order, subject) in Subject::SHOWN.into_iter().enumerate() {
        let shift = 0.14 + 0.24 * f64::from(u16::try_from(order)?);
        let rows = measured.iter().filter(|row| row.subject == subject).collect::<Vec<_>>();
        let bars = rows.iter().zip(0_u16..).map(|(row, group)| {
            let left = f64::from(group) + shift;
            let corners = [(left, 0.0), (left + 0.22, row.requests_per_second / 1e3)];
            Rectangle::new(corners, colour(subject).filled())
        });
        let legend =
            move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour(subject).filled());
        chart.draw_series(bars)?.label(subject.name()).legend(legend);
        for (row, group) in rows.iter().zip(0_u16..) {
            let top = (f64::from(group) + shift + 0.11, row.requests_per_second / 1e3);
            let (x, y) = chart.backend_coord(&top);
            let above = text(12).pos(Pos::new(HPos::Center, VPos::Bottom));
            root.draw(&Text::new(format!("{:.1}", top.1), (x, y - 4), above))?;
            if subject != Subject::Bare {
                let inside =
                    (FONT, 12).into_font().color(&WHITE).pos(Pos::new(HPos::Center, VPos::Top));
                let ratio = format!("{:.0} %", row.ratio_to_bare * 100.0);
                root.draw(&Text::new(ratio, (x, y + 6), inside))?;
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(text(13))
        .border_style(TRANSPARENT)
        .draw()?;
    root.present()?;
    Ok(())
}
