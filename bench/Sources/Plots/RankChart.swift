// Horizontal bars with names and figures: readable without a legend.
import Foundation

/// Figures of one unit, a row for each, in groups with a heading of their own.
public struct RankChart: Sendable {
  public struct Row: Sendable {
    public var name, color: String
    public var figure: Reach
    /// Whether the name is bold: the row that the chart is about.
    public var isOwn: Bool
    public init(_ name: String, color: String, figure: Reach, isOwn: Bool = false) {
      (self.name, self.color, self.figure, self.isOwn) = (name, color, figure, isOwn)
    }
  }
  public struct Group: Sendable {
    /// Empty if there is only one.
    public var title: String
    public var rows: [Row]
    public init(_ title: String, rows: [Row]) { (self.title, self.rows) = (title, rows) }
  }
  /// The subtitle says which direction is better. The footer is the last line.
  public var title, subtitle, unit, footer: String
  /// For figures that differ by powers of ten.
  public var isLogarithmic: Bool
  public var groups: [Group]

  public init(
    title: String, subtitle: String, unit: String, footer: String, isLogarithmic: Bool = false,
    groups: [Group]
  ) {
    (self.title, self.subtitle, self.unit, self.footer) = (title, subtitle, unit, footer)
    (self.isLogarithmic, self.groups) = (isLogarithmic, groups)
  }

  private static let left = 190.0
  private static let rowHeight = 26.0
  private static let headingHeight = 24.0
  private static let top = 60.0

  public var svg: String {
    let shown = groups.map { group in
      Group(
        group.title,
        rows: group.rows.filter {
          $0.figure.isDrawable && (!isLogarithmic || $0.figure.low > 0 && $0.figure.value > 0)
        })
    }.filter { !$0.rows.isEmpty }
    let figures = shown.flatMap { $0.rows.map(\.figure) }
    let height = shown.reduce(0.0) {
      $0 + Double($1.rows.count) * Self.rowHeight + ($1.title.isEmpty ? 0 : Self.headingHeight)
    }
    // The figures stand at the ends of the bars, inside the picture.
    let frame = Box(
      left: Self.left, top: Self.top, width: Surroundings.width - Self.left - 110, height: height)
    // A logarithmic axis begins at a power of ten, so that the shortest bar has a length.
    let least = figures.map(\.low).min() ?? 1
    let start = isLogarithmic ? pow(10, log10(least / 1.2).rounded(.down)) * 1.06 : 0
    let x =
      isLogarithmic
      ? Scale(
        logarithmic: figures.flatMap { [$0.low, $0.value, $0.high] } + [start], isBinary: false,
        from: frame.left, to: frame.right)
      : Scale(
        upTo: (figures.map { max($0.value, $0.high) }.max() ?? 1) * 1.04, from: frame.left,
        to: frame.right)
    var canvas = Canvas(width: Surroundings.width, height: frame.bottom + 72, title: title)
    canvas.text(title, 16, 26, style: "title")
    canvas.text(subtitle, 16, 46)
    for tick in x.ticks {
      let place = x.place(tick)
      canvas.line(place, frame.top, place, frame.bottom, ["class": "grid"])
      canvas.text(Scale.label(tick), place, frame.bottom + 17, anchor: .middle)
    }
    canvas.text(unit, (frame.left + frame.right) / 2, frame.bottom + 36, anchor: .middle)
    var y = frame.top
    for group in shown {
      if !group.title.isEmpty {
        canvas.text(group.title, 16, y + 17, style: "own")
        y += Self.headingHeight
      }
      for row in group.rows {
        draw(row, on: &canvas, top: y, x, frame)
        y += Self.rowHeight
      }
    }
    canvas.rect(frame, ["class": "frame"])
    Surroundings.drawFooter(footer, on: &canvas, bottom: frame.bottom + 72)
    return canvas.svg
  }

  private func draw(_ row: Row, on canvas: inout Canvas, top: Double, _ x: Scale, _ frame: Box) {
    let middle = top + Self.rowHeight / 2
    let style = row.isOwn ? "own" : "label"
    canvas.text(row.name, Self.left - 10, middle + 4, anchor: .end, style: style)
    canvas.rect(
      Box(
        left: frame.left, top: top + 4, width: x.place(row.figure.value) - frame.left,
        height: Self.rowHeight - 8), ["class": "row", "fill": row.color])
    let (low, high) = (x.place(row.figure.low), x.place(row.figure.high))
    canvas.line(low, middle, high, middle, ["class": "whisker"])
    for end in [low, high] {
      canvas.line(end, middle - 4, end, middle + 4, ["class": "whisker"])
    }
    canvas.text(
      "\(Scale.figureLabel(row.figure.value)) \(unit)",
      max(high, x.place(row.figure.value)) + 8, middle + 4, style: style)
  }
}
