// Groups of bars, each bar with a whisker from the minimum to the maximum.

/// Figures of one unit: a group for each measurement, and in it a bar for each series.
public struct BarChart: Sendable {
  public struct Series: Sendable {
    public var name, color: String
    /// One for each group; nil if there is no figure.
    public var bars: [Reach?]
    public init(_ name: String, color: String, bars: [Reach?]) {
      (self.name, self.color, self.bars) = (name, color, bars)
    }
  }
  /// The subtitle says which direction is better and what bars and whiskers mean.
  public var title, subtitle, unit: String
  /// The last line: where and when.
  public var footer: String
  /// For figures that differ by powers of ten. Bars then start at the lowest figure of the axis, not at zero.
  public var isLogarithmic: Bool
  public var groups: [String]
  public var series: [Series]

  public init(
    title: String, subtitle: String, unit: String, isLogarithmic: Bool = false, groups: [String],
    series: [Series], footer: String = ""
  ) {
    (self.title, self.subtitle, self.unit, self.footer) = (title, subtitle, unit, footer)
    (self.isLogarithmic, self.groups, self.series) = (isLogarithmic, groups, series)
  }

  /// A logarithm needs a value above zero.
  private func isDrawable(_ bar: Reach) -> Bool {
    bar.isDrawable && (!isLogarithmic || bar.low > 0 && bar.value > 0)
  }

  private func axis(_ bars: [Reach], _ frame: Box) -> Scale {
    if isLogarithmic {
      return Scale(
        logarithmic: bars.flatMap { [$0.low, $0.value, $0.high] }, isBinary: false,
        from: frame.bottom, to: frame.top)
    }
    let most = bars.map { max($0.value, $0.high) }.max() ?? 1
    return Scale(upTo: most * 1.04, from: frame.bottom, to: frame.top)
  }

  public var svg: String {
    let shown = series.filter { $0.bars.contains { $0.map(isDrawable) == true } }
    let legend = Legend(shown.map { ($0.name, $0.color) }, width: Surroundings.width - 112)
    let frame = Surroundings.frame(legend: legend, height: 250)
    let y = axis(shown.flatMap(\.bars).compactMap { $0 }.filter(isDrawable), frame)
    let height = frame.bottom + 40 + Surroundings.footerHeight(footer)
    var canvas = Canvas(width: Surroundings.width, height: height, title: title)
    Surroundings.draw(
      on: &canvas, title: title, subtitle: subtitle, unit: unit, legend: legend, frame: frame, y: y)

    let room = frame.width / Double(max(1, groups.count))
    for (index, group) in groups.enumerated() {
      let left = frame.left + room * Double(index)
      let bars = shown.compactMap { series -> (Series, Reach)? in
        guard index < series.bars.count, let bar = series.bars[index], isDrawable(bar) else {
          return nil
        }
        return (series, bar)
      }
      canvas.text(group, left + room / 2, frame.bottom + 20, anchor: .middle)
      if index > 0 { canvas.line(left, frame.top, left, frame.bottom, ["class": "grid"]) }
      let step = min(64, room * 0.9 / Double(max(1, bars.count)))
      var x = left + (room - step * Double(bars.count)) / 2
      for (series, bar) in bars {
        draw(bar, series, on: &canvas, from: x, width: step, y, frame)
        x += step
      }
    }
    canvas.rect(frame, ["class": "frame"])
    Surroundings.drawFooter(footer, on: &canvas, bottom: height)
    return canvas.svg
  }

  private func draw(
    _ bar: Reach, _ series: Series, on canvas: inout Canvas, from x: Double, width: Double,
    _ y: Scale, _ frame: Box
  ) {
    let top = y.place(bar.value)
    canvas.rect(
      Box(left: x + width * 0.06, top: top, width: width * 0.88, height: frame.bottom - top),
      ["class": "bar", "fill": series.color])
    let (middle, cap) = (x + width / 2, min(5, width * 0.25))
    let (low, high) = (y.place(bar.low), y.place(bar.high))
    canvas.line(middle, low, middle, high, ["class": "whisker"])
    canvas.line(middle - cap, low, middle + cap, low, ["class": "whisker"])
    canvas.line(middle - cap, high, middle + cap, high, ["class": "whisker"])
    // Narrow bars have no space for the figure; the table has it.
    if width >= 26 {
      canvas.text(
        Scale.figureLabel(bar.value), middle, max(min(high, top) - 4, frame.top + 9),
        anchor: .middle,
        style: "figure")
    }
  }
}
