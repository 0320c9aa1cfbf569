//! Line charts as SVG text: no script, no font, no network; they read in a browser and on paper.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Colours that stay apart for colour-blind readers (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One line of a chart: a name and its points, in increasing order of x.
#[derive(Clone, Debug)]
pub struct Series {
    /// Shown in the legend.
    pub name: String,
    /// `(x, y)`.
    pub points: Vec<(f64, f64)>,
}

/// How values lie along the horizontal axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// Equal differences, equal lengths.
    #[default]
    Linear,
    /// Equal ratios, equal lengths; values are above zero.
    Logarithmic,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// Heading.
    pub title: &'a str,
    /// Label under the horizontal axis.
    pub x_label: &'a str,
    /// Label of the vertical axis, with its unit.
    pub y_label: &'a str,
    /// The horizontal axis.
    pub x_axis: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

impl Chart<'_> {
    /// The chart as a `<figure>`; a sentence instead of a picture when there is nothing to draw.
    pub fn figure(&self) -> String {
        let title = escape(self.title);
        if self.series.iter().all(|series| series.points.is_empty()) {
            return format!(
                "<figure><figcaption>{title}</figcaption><p>No values in this run.</p></figure>\n"
            );
        }
        let mut text = format!(
            "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n{}</svg>\n<p class=\"legend\">",
            self.drawing()
        );
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let entry = entry(series);
            let _ = write!(text, "<span style=\"color:{colour}\">&#9632;</span> {entry} &nbsp; ");
        }
        text + "</p></figure>\n"
    }

    /// The chart as an SVG file with its legend beside the lines.
    pub fn svg(&self) -> String {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<title>{}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}",
            escape(self.title),
            self.drawing()
        );
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            // Curves of learning leave the lower right free.
            let (x, y) = (WIDTH - RIGHT - 8.0, HEIGHT - BOTTOM - 10.0 - 16.0 * index as f64);
            let entry = entry(series);
            let _ = writeln!(
                text,
                "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" fill=\"{colour}\">&#9632; {entry}</text>"
            );
        }
        text + "</svg>\n"
    }

    /// Axes and lines.
    fn drawing(&self) -> String {
        let across = |x: f64| if self.x_axis == Axis::Linear { x } else { x.max(1e-9).log10() };
        let all = || self.series.iter().flat_map(|series| &series.points).map(|&(x, y)| (across(x), y));
        let x_max = all().fold(f64::NEG_INFINITY, |max, (x, _)| max.max(x));
        let x_min = all().fold(x_max, |min, (x, _)| min.min(x));
        let y_step = nice_step(all().fold(0.0_f64, |max, (_, y)| max.max(y)));
        let y_max = y_step * (all().fold(0.0_f64, |max, (_, y)| max.max(y)) / y_step).ceil().max(1.0);
        let span = (x_max - x_min).max(1e-9);
        let place = |(x, y): (f64, f64)| {
            let across = LEFT + (WIDTH - LEFT - RIGHT) * (x - x_min) / span;
            (across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / y_max)
        };
        let mut svg = String::new();
        self.axes(&mut svg, (x_min, x_max), (y_step, y_max), place);
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            line(&mut svg, series, colour, |(x, y)| place((across(x), y)));
        }
        svg
    }

    fn axes(
        &self,
        svg: &mut String,
        (x_min, x_max): (f64, f64),
        (y_step, y_max): (f64, f64),
        place: impl Fn((f64, f64)) -> (f64, f64),
    ) {
        for line in 0..=(y_max / y_step).round() as u32 {
            let value = f64::from(line) * y_step;
            let (_, y) = place((x_min, value));
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short(value)
            );
        }
        let x_step = nice_step(x_max - x_min).max(1.0);
        let mut value = (x_min / x_step).ceil() * x_step;
        while value <= x_max + 1e-9 {
            let (x, y) = place((value, 0.0));
            let shown = if self.x_axis == Axis::Linear { value } else { 10_f64.powf(value) };
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                y + 16.0,
                short(shown)
            );
            value += x_step;
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text transform=\"translate(13,{}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 5.0,
            escape(self.x_label),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escape(self.y_label)
        );
    }
}

fn line(svg: &mut String, series: &Series, colour: &str, place: impl Fn((f64, f64)) -> (f64, f64)) {
    let mut points = String::new();
    for point in &series.points {
        let (x, y) = place(*point);
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    if let [only] = series.points[..] {
        let (x, y) = place(only);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        points.trim_end()
    );
}

/// Its name and its last value.
fn entry(series: &Series) -> String {
    let last = series.points.last().map_or_else(String::new, |point| format!(" ({})", short(point.1)));
    escape(&series.name) + &last
}

/// A round step that cuts `range` into three to seven parts.
fn nice_step(range: f64) -> f64 {
    if range <= 0.0 {
        return 1.0;
    }
    let magnitude = 10_f64.powf((range / 3.0).log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * magnitude);
    steps.into_iter().find(|step| range / step >= 3.0).unwrap_or(magnitude)
}

/// A number in at most five characters or so: `0.25`, `12`, `3.4k`, `1.2M`.
pub fn short(value: f64) -> String {
    let scaled = [(1e9, "G"), (1e6, "M"), (1e3, "k")].into_iter().find(|(unit, _)| value.abs() >= *unit);
    let (value, unit) = scaled.map_or((value, ""), |(size, unit)| (value / size, unit));
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// Text made safe inside HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_steps_are_round() {
        for (value, expected) in [
            (0.25, "0.25"),
            (12.0, "12"),
            (3400.0, "3.4k"),
            (1.2e6, "1.2M"),
            (0.0, "0"),
            (250.0, "250"),
            (100.0, "100"),
        ] {
            assert_eq!(short(value), expected);
        }
        for (range, expected) in [(1.0, 0.2), (0.62, 0.2), (20.0, 5.0), (100.0, 20.0), (7.0, 2.0)] {
            assert!((nice_step(range) - expected).abs() < 1e-9, "{range}: {}", nice_step(range));
        }
    }

    #[test]
    fn a_chart_draws_every_series_and_says_when_there_is_nothing() {
        let series =
            |name, points: &[(f64, f64)]| Series { name: String::from(name), points: points.to_vec() };
        let chart = |series| {
            Chart { title: "AP <50>", x_label: "round", y_label: "AP50", x_axis: Axis::Linear, series }
                .figure()
        };
        let drawn = chart(vec![series("one", &[(1.0, 0.1), (2.0, 0.4)]), series("two", &[(1.0, 0.2)])]);
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert!(drawn.contains("AP &lt;50&gt;") && drawn.contains("one (0.4)"));
        assert!(chart(vec![series("none", &[])]).contains("No values"));
    }
}
