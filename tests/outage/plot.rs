//! The pictures, from the data of the figures: SVGs that read on a light ground and on a dark one.

mod outage;
mod revoked;
mod rotate;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::Value;

const SIZE: (u32, u32) = (760, 400);
const FONT: &str = "sans-serif";
/// Between white and black: both grounds leave it readable where the style below is not heeded.
const INK: RGBColor = RGBColor(110, 118, 129);
const BLUE: RGBColor = RGBColor(31, 136, 190);
const ORANGE: RGBColor = RGBColor(218, 119, 44);
const RED: RGBColor = RGBColor(207, 56, 56);
/// What a viewer in dark mode shows instead.
const STYLE: &str = "<style>text{fill:#424a53}\
    @media(prefers-color-scheme:dark){text{fill:#d1d7e0}}</style>";

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// One picture.
pub(crate) struct Plot {
    pub(crate) file: &'static str,
    /// The figure whose data it shows.
    pub(crate) figure: &'static str,
    /// For who does not see it.
    pub(crate) shows: &'static str,
    draw: fn(&mut String, &Value) -> Drawn,
}

pub(crate) const ALL: &[Plot] = &[
    Plot {
        file: "outage.svg",
        figure: "gone",
        shows: "Answers in each tenth of a second while the root goes and comes back: encryptions are served until \
                the bound, then refused, and served again soon after; decryptions are served throughout",
        draw: outage::draw,
    },
    Plot {
        file: "revoked.svg",
        figure: "revoked",
        shows: "Requests that each of five pods served after the grant was revoked: every pod ends within root_recheck",
        draw: revoked::draw,
    },
    Plot {
        file: "rotate.svg",
        figure: "rotate",
        shows: "The share of twenty pods that use the new version over the time since the first of their rotations was \
                answered: all of them within a few latencies of the root",
        draw: rotate::draw,
    },
];

/// The picture as text.
pub(crate) fn svg(plot: &Plot, data: &Value) -> anyhow::Result<String> {
    let mut svg = String::new();
    (plot.draw)(&mut svg, data)
        .map_err(|error| anyhow::anyhow!("{} cannot be drawn: {error}", plot.file))?;
    // The ground is left to whoever shows it; the texts take the colour that suits it.
    Ok(svg.replacen('>', &format!(">\n{STYLE}"), 1))
}

fn text(size: i32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

fn placed(size: i32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    text(size).pos(Pos::new(horizontal, vertical))
}

/// A field that must be a number.
fn number(data: &Value, field: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let value = data.pointer(field).and_then(Value::as_f64);
    value.ok_or_else(|| format!("the results have no number {field}").into())
}

/// A field that must be a list of numbers.
fn numbers(data: &Value, field: &str) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let values = data.pointer(field).and_then(Value::as_array);
    let values = values.ok_or_else(|| format!("the results have no list {field}"))?;
    Ok(values.iter().filter_map(Value::as_f64).collect())
}
