// Lines over sizes; both axes are logarithmic.

/// How figures depend on a size: for each series a line with points and whiskers.
public struct LineChart: Sendable {
  public struct Series: Sendable {
    public var name, color: String
    public var points: [(x: Double, y: Reach)]
    public init(_ name: String, color: String, points: [(x: Double, y: Reach)]) {
      (self.name, self.color, self.points) = (name, color, points)
    }
    /// A logarithm needs a value above zero.
    var drawable: [(x: Double, y: Reach)] {
      points.filter { $0.x.isFinite && $0.x > 0 && $0.y.isDrawable && $0.y.value > 0 }
        .sorted { $0.x < $1.x }
    }
  }
  /// The subtitle says which direction is better and what points and lines mean.
  public var title, subtitle, xUnit, yUnit: String
  /// Whether the x axis is in bytes, with powers of two as its marks.
  public var isInBytes: Bool
  public var series: [Series]
  /// The last line: where and when.
  public var footer: String

  public init(
    title: String, subtitle: String, xUnit: String, isInBytes: Bool, yUnit: String,
    series: [Series], footer: String = ""
  ) {
    self.footer = footer
    (self.title, self.subtitle, self.xUnit, self.yUnit) = (title, subtitle, xUnit, yUnit)
    (self.isInBytes, self.series) = (isInBytes, series)
  }

  public var svg: String {
    let shown = series.map { (series: $0, points: $0.drawable) }.filter { !$0.points.isEmpty }
    let legend = Legend(
      shown.map { ($0.series.name, $0.series.color) }, width: Surroundings.width - 112)
    let frame = Surroundings.frame(legend: legend, height: 330)
    let points = shown.flatMap(\.points)
    let x = Scale(
      logarithmic: points.map(\.x), isBinary: isInBytes, from: frame.left, to: frame.right)
    let y = Scale(
      logarithmic: points.flatMap { [$0.y.value, $0.y.low, $0.y.high] }, isBinary: false,
      from: frame.bottom, to: frame.top)
    let height = frame.bottom + 58 + Surroundings.footerHeight(footer)
    var canvas = Canvas(width: Surroundings.width, height: height, title: title)
    Surroundings.draw(
      on: &canvas, title: title, subtitle: subtitle, unit: yUnit, legend: legend, frame: frame, y: y
    )
    for tick in x.ticks {
      let place = x.place(tick)
      canvas.line(place, frame.top, place, frame.bottom, ["class": "grid"])
      canvas.text(
        isInBytes ? Scale.bytesLabel(tick) : Scale.label(tick), place, frame.bottom + 18,
        anchor: .middle)
    }
    canvas.text(xUnit, (frame.left + frame.right) / 2, frame.bottom + 42, anchor: .middle)

    for (series, points) in shown {
      let places = points.map { (x: x.place($0.x), y: y.place($0.y.value)) }
      canvas.path(through: places, color: series.color)
      for (point, place) in zip(points, places) {
        canvas.line(
          place.x, y.place(point.y.low), place.x, y.place(point.y.high),
          ["class": "reach", "stroke": series.color, "stroke-opacity": "0.6"])
        canvas.circle(
          place.x, place.y, radius: 3.5, ["class": "point", "fill": series.color])
      }
    }
    canvas.rect(frame, ["class": "frame"])
    Surroundings.drawFooter(footer, on: &canvas, bottom: height)
    return canvas.svg
  }
}
