//! Figures as SVG, which takes its text and axes' colour from the page around it.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;

const SIZE: (u32, u32) = (640, 340);

/// Stands for the page's text colour until [`themed`] replaces it.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_TUPLE: (u8, u8, u8) = (INK.0, INK.1, INK.2);
const INK_SVG: &str = "#010203";

/// A title and what the axes show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
}

/// Points of one colour.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) colour: (u8, u8, u8),
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether marks are rings instead of discs.
    pub(crate) rings: bool,
}

impl Series {
    pub(crate) const fn new(colour: (u8, u8, u8), points: Vec<(f64, f64)>) -> Self {
        Self { colour, points, rings: false }
    }

    fn colour(&self) -> RGBColor {
        RGBColor(self.colour.0, self.colour.1, self.colour.2)
    }

    /// Points with numbers on both axes: a diverged run has others.
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }
}

/// How the vertical axis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Logarithmic,
}

/// How the axes run.
#[derive(Clone, Copy, Debug)]
struct Axes {
    x: Scale,
    y: Scale,
}

impl Axes {
    /// The horizontal one is linear.
    const fn up(y: Scale) -> Self {
        Self { x: Scale::Linear, y }
    }
}

impl Scale {
    /// The value at a place of the axis.
    fn value(self, place: f64) -> f64 {
        if self == Self::Logarithmic { 10f64.powf(place) } else { place }
    }
}

/// One line a series.
pub(crate) fn lines(labels: Labels<'_>, series: &[Series], scale: Scale) -> anyhow::Result<String> {
    let log = scale == Scale::Logarithmic;
    let shown = |y: f64| if log { y.max(f64::MIN_POSITIVE).log10() } else { y };
    draw(labels, series, shown, Axes::up(scale), |series, plot| {
        let points = series.finite().map(|(x, y)| (x, shown(y)));
        plot.draw_series(LineSeries::new(points, series.colour().stroke_width(2))).map(|_| ())
    })
}

/// One mark a point.
pub(crate) fn scatter(labels: Labels<'_>, series: &[Series], scale: Scale) -> anyhow::Result<String> {
    let log = scale == Scale::Logarithmic;
    let shown = |y: f64| if log { y.max(f64::MIN_POSITIVE).log10() } else { y };
    draw(labels, series, shown, Axes::up(scale), |series, plot| {
        let points = series.finite().map(|(x, y)| (x, shown(y)));
        let (colour, rings) = (series.colour(), series.rings);
        let style = if rings { colour.stroke_width(2) } else { colour.mix(0.7).filled() };
        plot.draw_series(points.map(|point| Circle::new(point, 6, style))).map(|_| ())
    })
}

impl Series {
    /// The series over the logarithms of its points.
    fn over_logarithms(&self) -> Self {
        let points = self.finite().filter(|point| point.0 > 0.0).map(|(x, y)| (x.log10(), y)).collect();
        Self { points, ..self.clone() }
    }
}

/// Marks of each of the series over a horizontal axis of powers of ten.
fn draw_over_decades<'a>(
    labels: Labels<'_>,
    series: impl IntoIterator<Item = &'a Series>,
    marks: impl Fn(&Series, &mut Plot<'_, '_>) -> DrawResult,
) -> anyhow::Result<String> {
    let series: Vec<Series> = series.into_iter().map(Series::over_logarithms).collect();
    draw(labels, &series, |y| y, Axes { x: Scale::Logarithmic, y: Scale::Linear }, marks)
}

/// Lines, and points among them that none goes through, over a horizontal axis of powers of ten.
pub(crate) fn among_lines(labels: Labels<'_>, lines: &[Series], points: &Series) -> anyhow::Result<String> {
    draw_over_decades(labels, lines.iter().chain([points]), |series, plot| {
        let colour = series.colour();
        if series.colour == points.colour {
            let discs = series.finite().map(|point| Circle::new(point, 5, colour.filled()));
            return plot.draw_series(discs).map(|_| ());
        }
        plot.draw_series(LineSeries::new(series.finite(), colour.stroke_width(2))).map(|_| ())
    })
}

/// A line with marks a series, over a horizontal axis of powers of ten.
pub(crate) fn over_decades(labels: Labels<'_>, series: &[Series]) -> anyhow::Result<String> {
    draw_over_decades(labels, series, |series, plot| {
        let (colour, points) = (series.colour(), || series.finite());
        plot.draw_series(LineSeries::new(points(), colour.stroke_width(2)))?;
        plot.draw_series(points().map(|point| Circle::new(point, 4, colour.filled()))).map(|_| ())
    })
}

/// A mean with its standard deviation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deviation {
    pub(crate) x: f64,
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

/// A line of means in a band of one standard deviation to either side, and the `given` ones as dots with bars.
pub(crate) fn band(
    labels: Labels<'_>,
    colour: (u8, u8, u8),
    learnt: &[Deviation],
    given: &[Deviation],
) -> anyhow::Result<String> {
    let finite = |d: &&Deviation| d.mean.is_finite() && d.deviation.is_finite();
    let edge = |of: &[Deviation], side: f64| -> Vec<(f64, f64)> {
        of.iter().filter(finite).map(|d| (d.x, d.mean + side * d.deviation)).collect()
    };
    // The edges are series too, so that the axes have room for them.
    let sides = |of: &[Deviation]| [-1.0, 0.0, 1.0].map(|side| edge(of, side)).concat();
    let series = [Series::new(colour, sides(learnt)), Series::new(INK_TUPLE, sides(given))];
    draw(
        labels,
        &series,
        |y| y,
        Axes::up(Scale::Linear),
        |series, plot| {
            if series.colour == INK_TUPLE {
                let bars = edge(given, -1.0).into_iter().zip(edge(given, 1.0));
                plot.draw_series(bars.map(|(low, high)| PathElement::new(vec![low, high], INK.stroke_width(1))))?;
                let dots = edge(given, 0.0).into_iter().map(|point| Circle::new(point, 3, INK.filled()));
                return plot.draw_series(dots).map(|_| ());
            }
            let area = edge(learnt, 1.0).into_iter().chain(edge(learnt, -1.0).into_iter().rev());
            plot.draw_series([Polygon::new(area.collect::<Vec<_>>(), series.colour().mix(0.25).filled())])?;
            plot.draw_series(LineSeries::new(edge(learnt, 0.0), series.colour().stroke_width(2))).map(|_| ())
        },
    )
}

/// Dots, and from the last of them on a line in a band.
#[derive(Clone, Debug)]
pub(crate) struct Fan {
    pub(crate) colour: (u8, u8, u8),
    pub(crate) given: Vec<(f64, f64)>,
    /// At each place the band's lower edge, the line, and the upper edge.
    pub(crate) told: Vec<(f64, [f64; 3])>,
}

impl Fan {
    fn edge(&self, edge: usize) -> impl DoubleEndedIterator<Item = (f64, f64)> + '_ {
        let finite = |(x, bands): &&(f64, [f64; 3])| x.is_finite() && bands.iter().all(|y| y.is_finite());
        self.told.iter().filter(finite).map(move |(x, bands)| (*x, bands[edge]))
    }
}

/// Fans, each in its colour.
pub(crate) fn fans(labels: Labels<'_>, fans: &[Fan]) -> anyhow::Result<String> {
    // All of their points, so that the axes have room for them.
    let points = |fan: &Fan| fan.given.iter().copied().chain((0..3).flat_map(|edge| fan.edge(edge))).collect();
    let series: Vec<Series> = fans.iter().map(|fan| Series::new(fan.colour, points(fan))).collect();
    draw(
        labels,
        &series,
        |y| y,
        Axes::up(Scale::Linear),
        |series, plot| {
            let Some(fan) = fans.iter().find(|fan| fan.colour == series.colour) else { return Ok(()) };
            let area: Vec<(f64, f64)> = fan.edge(2).chain(fan.edge(0).rev()).collect();
            if fan.edge(0).ne(fan.edge(2)) {
                plot.draw_series([Polygon::new(area, series.colour().mix(0.25).filled())])?;
            }
            plot.draw_series(LineSeries::new(fan.edge(1), series.colour().stroke_width(2)))?;
            plot.draw_series(fan.given.iter().map(|&point| Circle::new(point, 3, series.colour().filled()))).map(|_| ())
        },
    )
}

/// Figures below each other, as a file of its own.
pub(crate) fn stacked(figures: &[String]) -> String {
    let ((width, height), count) = (SIZE, figures.len() as u32);
    let place = |(index, figure): (usize, &String)| {
        let y = index as u32 * height;
        figure.replacen("<svg ", &format!("<svg y=\"{y}\" width=\"{width}\" height=\"{height}\" "), 1)
    };
    let figures: String = figures.iter().enumerate().map(place).collect();
    let size = format!("width=\"{width}\" height=\"{0}\" viewBox=\"0 0 {width} {0}\"", count * height);
    format!("<svg xmlns=\"http://www.w3.org/2000/svg\" {size}>\n{figures}</svg>\n")
}

/// Small dots within the ends of both axes.
pub(crate) fn dots(
    title: &str,
    ends: [[f64; 2]; 2],
    colour: (u8, u8, u8),
    points: Vec<(f64, f64)>,
) -> anyhow::Result<String> {
    let [x, y] = ends;
    let inside = |point: &(f64, f64)| (x[0]..=x[1]).contains(&point.0) && (y[0]..=y[1]).contains(&point.1);
    let series = [Series::new(colour, points.into_iter().filter(inside).collect())];
    within(title, ends, &series, |series, plot| {
        let style = series.colour().mix(0.6).filled();
        plot.draw_series(series.finite().map(|point| Circle::new(point, 1, style))).map(|_| ())
    })
}

/// A square of squares between the ends of both axes, row by row from below, in shades of a colour: full where a value is the
/// largest.
pub(crate) fn heat(title: &str, ends: [[f64; 2]; 2], colour: (u8, u8, u8), values: &[f64]) -> anyhow::Result<String> {
    let side = values.len().isqrt().max(1);
    let largest = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    let [x, y] = ends;
    let edge = |[low, high]: [f64; 2], i: usize| low + (high - low) * i as f64 / side as f64;
    within(title, ends, &[Series::new(colour, Vec::new())], |series, plot| {
        // What would hardly be seen is left out: a picture is thousands of squares.
        let seen = values.iter().enumerate().map(|(i, value)| (i, value / largest)).filter(|(_, share)| *share > 0.01);
        plot.draw_series(seen.map(|(i, share)| {
            let (column, row) = (i % side, i / side);
            let corners = [(edge(x, column), edge(y, row)), (edge(x, column + 1), edge(y, row + 1))];
            Rectangle::new(corners, series.colour().mix(share).filled())
        }))
        .map(|_| ())
    })
}

/// Axes between ends, whatever the series.
fn within(
    title: &str,
    [x, y]: [[f64; 2]; 2],
    series: &[Series],
    marks: impl Fn(&Series, &mut Plot<'_, '_>) -> DrawResult,
) -> anyhow::Result<String> {
    let corners = Series::new(INK_TUPLE, vec![(x[0], y[0]), (x[1], y[1])]);
    let all: Vec<Series> = [corners].into_iter().chain(series.iter().cloned()).collect();
    let labels = Labels { title, x: "first feature", y: "second feature" };
    draw(
        labels,
        &all,
        |y| y,
        Axes::up(Scale::Linear),
        |series, plot| {
            // The corners only stretch the axes.
            if series.colour == INK_TUPLE { Ok(()) } else { marks(series, plot) }
        },
    )
}

type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedF64, RangedF64>>;
type RangedF64 = plotters::coord::types::RangedCoordf64;
type DrawResult = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Axes around all series, and `marks` for each of them. `shown` maps a value to its place on the vertical axis.
fn draw(
    labels: Labels<'_>,
    series: &[Series],
    shown: impl Fn(f64) -> f64,
    axes: Axes,
    marks: impl Fn(&Series, &mut Plot<'_, '_>) -> DrawResult,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        chart(&area, labels, series, shown, axes, marks).map_err(|error| anyhow!("{}: {error}", labels.title))?;
    }
    Ok(themed(&svg, labels.title))
}

fn chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    labels: Labels<'_>,
    series: &[Series],
    shown: impl Fn(f64) -> f64,
    axes: Axes,
    marks: impl Fn(&Series, &mut Plot<'_, '_>) -> DrawResult,
) -> DrawResult {
    let points = || series.iter().flat_map(Series::finite);
    let (x, y) = (range(points().map(|p| p.0)), range(points().map(|p| shown(p.1))));
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let mut plot = ChartBuilder::on(area)
        .margin(8)
        .margin_right(20)
        .caption(labels.title, text(17))
        .x_label_area_size(42)
        .y_label_area_size(66)
        .build_cartesian_2d(x, y)?;
    plot.configure_mesh()
        .axis_style(INK.mix(0.7))
        .bold_line_style(INK.mix(0.15))
        .light_line_style(TRANSPARENT)
        .label_style(text(13))
        .axis_desc_style(text(14))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .x_label_formatter(&|x| number(axes.x.value(*x)))
        .y_label_formatter(&|y| number(axes.y.value(*y)))
        .draw()?;
    for series in series {
        marks(series, &mut plot)?;
    }
    area.present()
}

/// The values' range with a margin, which is wide enough to divide by.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low > high {
        return 0.0..1.0;
    }
    let margin = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
    low - margin..high + margin
}

/// A tick's number in few characters.
fn number(x: f64) -> String {
    let size = x.abs();
    if size < 1e-12 {
        return "0".to_owned();
    }
    let text = match size {
        1e5.. => return format!("{x:.1e}"),
        100.0.. => format!("{x:.0}"),
        1.0.. => format!("{x:.1}"),
        0.01.. => format!("{x:.3}"),
        _ => return format!("{x:.1e}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Makes the figure scale with the page, take its colour, and name itself to a screen reader.
fn themed(svg: &str, title: &str) -> String {
    let (width, height) = SIZE;
    let fixed = format!("<svg width=\"{width}\" height=\"{height}\"");
    svg.replacen(&fixed, &format!("<svg role=\"img\" aria-label=\"{title}\""), 1).replace(INK_SVG, "currentColor")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels<'_> = Labels { title: "loss", x: "step", y: "loss" };

    #[test]
    fn figures_are_svg_in_the_pages_colour() {
        let series = [Series::new((0, 114, 178), vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 0.01)])];
        let drawn = [lines(LABELS, &series, Scale::Logarithmic), scatter(LABELS, &series, Scale::Linear)];
        for svg in drawn.map(|svg| svg.expect("drawn")) {
            assert!(svg.starts_with("<svg role=\"img\"") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(svg.contains("currentColor") && !svg.contains(INK_SVG), "the page's colour");
            assert!(svg.contains("#0072B2"), "the series' colour");
        }
    }

    #[test]
    fn a_band_has_room_for_its_edges() {
        let at = |x: f64| Deviation { x, mean: x, deviation: 4.0 };
        let drawn = band(LABELS, (0, 114, 178), &[at(0.0), at(1.0)], &[at(0.0), at(0.5)]).expect("drawn");
        assert_eq!(drawn.matches("<circle").count(), 2, "a dot a given mean: {drawn}");
        assert!(
            drawn.contains("<polygon") && drawn.contains("-4"),
            "the band, and its lower edge on the axis: {drawn}"
        );
    }

    #[test]
    fn fans_have_bands_where_there_is_one() {
        let fan = |colour, half: f64| Fan {
            colour,
            given: vec![(0.0, 1.0), (1.0, 2.0)],
            told: vec![(1.0, [2.0; 3]), (2.0, [3.0 - half, 3.0, 3.0 + half]), (3.0, [f64::NAN; 3])],
        };
        let drawn = fans(LABELS, &[fan((0, 114, 178), 20.0), fan((213, 94, 0), 0.0)]).expect("drawn");
        assert_eq!((drawn.matches("<circle").count(), drawn.matches("<polygon").count()), (4, 1), "{drawn}");
        assert!(drawn.contains("\n20\n"), "room for the band's edge: {drawn}");
        let page = stacked(&[drawn.clone(), drawn]);
        assert!(page.starts_with("<svg xmlns=") && page.contains("<svg y=\"340\" width=\"640\" height=\"340\" role="));
        assert_eq!((page.matches("<svg ").count(), page.matches("</svg>").count()), (3, 3), "one in the other");
    }

    #[test]
    fn nothing_to_draw_is_no_error() {
        band(LABELS, (0, 0, 0), &[], &[]).expect("empty axes");
        lines(LABELS, &[], Scale::Linear).expect("empty axes");
        let diverged = [Series::new((0, 0, 0), vec![(0.0, f64::NAN)])];
        lines(LABELS, &diverged, Scale::Logarithmic).expect("empty axes");
    }

    #[test]
    fn ticks_are_short() {
        let shown: Vec<String> = [0.0, 1500.0, 2.5, 0.95, 0.001, 123_456.0].map(number).into();
        assert_eq!(shown, ["0", "1500", "2.5", "0.95", "1.0e-3", "1.2e5"]);
    }
}
