//! Bars in SVG, drawn so that they can be read on paper, in one colour, and by a program that reads aloud.

use std::fmt::Write as _;

/// Width of a chart in its own units; the page scales it.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 190;
/// Room at the left for the numbers of the scale.
const LEFT: u64 = 52;
/// Room below for the names of the bars.
const BELOW: u64 = 22;
const TOP: u64 = 10;
/// Widest bar, in tenths.
const BAR_MAX: u64 = 600;

/// A bar: its name, its height, and the part of it that is drawn darker.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: u64,
    pub(super) dark: u64,
    /// What a pointer over it says.
    pub(super) says: String,
}

/// `text` as text of HTML and of attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Controls, and what would turn the order of the letters around.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                escaped.push('\u{fffd}');
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// A whole number with a thin space between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// A step of the scale: 1, 2 or 5 and zeros, so that four or five of them reach `most`.
fn step(most: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let step = unit.saturating_mul(factor);
            if step.saturating_mul(5) >= most {
                return step;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// Bars side by side. `label` says what the chart is.
pub(super) fn bars(label: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or_default().max(1);
    let step = step(most);
    let top = most.div_ceil(step).saturating_mul(step);
    let drawn = HEIGHT - TOP - BELOW;
    let y = |value: u64| {
        let scaled = u128::from(value).saturating_mul(u128::from(drawn)) * 10 / u128::from(top);
        let tenths = u64::try_from(scaled).unwrap_or_default();
        tenth((HEIGHT - BELOW).saturating_mul(10).saturating_sub(tenths))
    };
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escape(label)
    );
    for line in (0..=5).map(|lines| step.saturating_mul(lines)).take_while(|&line| line <= top) {
        let y = y(line);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/><text class=\"scale\" x=\"{}\" y=\"{y}\" dy=\"3.5\">{}</text>",
            LEFT - 6,
            grouped(line)
        );
    }
    let count = (bars.len() as u64).max(1);
    let slot = (WIDTH - LEFT).saturating_mul(10) / count;
    // A name needs some forty units: of many bars, some stay without.
    let every = 460_u64.div_ceil(slot.max(1)).max(1);
    for (at, bar) in (0_u64..).zip(bars) {
        let left = LEFT.saturating_mul(10).saturating_add(slot.saturating_mul(at));
        // A few bars are no walls.
        let gap = (slot / 8).min(60).max(slot.saturating_sub(BAR_MAX) / 2);
        let (x, width) =
            (tenth(left.saturating_add(gap)), tenth(slot.saturating_sub(2 * gap).max(4)));
        let _ = write!(svg, "<g><title>{}</title>", escape(&bar.says));
        for (class, value) in [("bar", bar.value), ("bar dark", bar.dark.min(bar.value))] {
            if value > 0 {
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x}\" width=\"{width}\" y=\"{0}\" height=\"{1}\"/>",
                    y(value),
                    height(value, top, drawn)
                );
            }
        }
        if at.is_multiple_of(every) {
            let middle = tenth(left.saturating_add(slot / 2));
            let _ = write!(
                svg,
                "<text class=\"name\" x=\"{middle}\" y=\"{}\">{}</text>",
                HEIGHT - 7,
                escape(&bar.name)
            );
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// The height of a bar in units, of which there are `drawn` for `top`; never so low that it is not seen.
fn height(value: u64, top: u64, drawn: u64) -> String {
    let scaled = u128::from(value).saturating_mul(u128::from(drawn)) * 10 / u128::from(top);
    tenth(u64::try_from(scaled).unwrap_or_default().max(5))
}

/// Tenths of a unit as a decimal.
fn tenth(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A bar in a cell of a table: `value` of `most`.
pub(super) fn cell_bar(value: u64, most: u64) -> String {
    let parts = u128::from(value).saturating_mul(1000) / u128::from(most.max(1));
    let width = u64::try_from(parts).unwrap_or_default().max(u64::from(value > 0) * 5);
    format!(
        "<svg class=\"cell\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"bar\" width=\"{}\" height=\"10\"/></svg>",
        tenth(width)
    )
}
