// The common parts of bar and line charts: figures with a range, colours, frame and legend.

/// A figure with the range of its single runs.
public struct Reach: Sendable, Equatable {
  public var value, low, high: Double
  public init(_ value: Double, low: Double, high: Double) {
    (self.value, self.low, self.high) = (value, low, high)
  }
  var isDrawable: Bool { value.isFinite && low.isFinite && high.isFinite && value >= 0 }
}

/// Colours for white and black backgrounds. The first ten are distinguishable with any kind of colour vision (Okabe
/// and Ito's, and three more).
public enum Palette {
  public static func color(_ index: Int) -> String {
    colors[((index % colors.count) + colors.count) % colors.count]
  }
  static let colors = [
    "#8a8a8a", "#d55e00", "#0072b2", "#009e73", "#e69f00", "#56b4e9", "#cc79a7", "#8c6d31",
    "#7b5cc4", "#b3b300", "#4d4d4d", "#a3320b", "#00a3a3", "#ff9da7", "#6b8e23", "#b07aa1",
  ]
}

/// The names of a chart's series below its title, in rows.
struct Legend {
  static let rowHeight = 18.0
  private let rows: [[(name: String, color: String)]]

  init(_ entries: [(name: String, color: String)], width: Double) {
    var rows: [[(name: String, color: String)]] = [[]]
    var used = 0.0
    for entry in entries {
      let need = Self.width(of: entry.name)
      if used + need > width, !rows[rows.count - 1].isEmpty {
        rows.append([])
        used = 0
      }
      rows[rows.count - 1].append(entry)
      used += need
    }
    self.rows = rows
  }

  var height: Double { Double(rows.count) * Self.rowHeight }

  func draw(on canvas: inout Canvas, left: Double, top: Double) {
    for (index, row) in rows.enumerated() {
      var x = left
      let y = top + Double(index) * Self.rowHeight
      for (name, color) in row {
        canvas.rect(
          Box(left: x, top: y + 2, width: 11, height: 11), ["class": "key", "fill": color])
        canvas.text(name, x + 16, y + 12)
        x += Self.width(of: name)
      }
    }
  }

  /// Letters twelve units high are slightly less than seven wide on average.
  private static func width(of name: String) -> Double { 32 + 6.9 * Double(name.count) }
}

/// The parts of a chart around the figures.
enum Surroundings {
  static let width = 860.0
  static let margin = (left: 92.0, right: 20.0)
  private static let legendTop = 56.0

  /// Draws title, subtitle, legend, frame and y axis. Returns the area for the figures.
  static func draw(
    on canvas: inout Canvas, title: String, subtitle: String, unit: String, legend: Legend,
    frame: Box, y: Scale
  ) {
    canvas.text(title, margin.left, 26, style: "title")
    canvas.text(subtitle, margin.left, 44)
    legend.draw(on: &canvas, left: margin.left, top: legendTop)
    for tick in y.ticks {
      let place = y.place(tick)
      canvas.line(frame.left, place, frame.right, place, ["class": "grid"])
      canvas.text(Scale.label(tick), frame.left - 7, place + 4, anchor: .end)
    }
    canvas.text(
      unit, 20, (frame.top + frame.bottom) / 2, anchor: .middle, degrees: -90)
  }

  /// The space that a footer needs; none without one.
  static func footerHeight(_ footer: String) -> Double { footer.isEmpty ? 0 : 18 }

  /// Draws the last line of a picture that ends at `bottom`.
  static func drawFooter(_ footer: String, on canvas: inout Canvas, bottom: Double) {
    if !footer.isEmpty { canvas.text(footer, 16, bottom - 12, style: "note") }
  }

  static func frame(legend: Legend, height: Double) -> Box {
    Box(
      left: margin.left, top: legendTop + legend.height + 12,
      width: width - margin.left - margin.right,
      height: height)
  }
}
