// Plots are valid documents, and their content is inside the visible area.
import Foundation
import Testing

@testable import Plots

@Suite("Plots")
struct PlotsTests {
  private let awkward = "a<b> & \"c\" \u{1}\u{ffff}'d'"

  private func bars(_ values: [[Reach?]], isLogarithmic: Bool = false) -> BarChart {
    BarChart(
      title: "throughput", subtitle: "higher is better", unit: "GiB/s",
      isLogarithmic: isLogarithmic,
      groups: values.first.map { $0.indices.map { "g\($0)" } } ?? [],
      series: values.enumerated().map {
        BarChart.Series("peer\($0)", color: Palette.color($0), bars: $1)
      })
  }

  private func lines(_ points: [[(Double, Double)]]) -> LineChart {
    LineChart(
      title: "per size", subtitle: "lower is better", xUnit: "bytes per message", isInBytes: true,
      yUnit: "GiB/s",
      series: points.enumerated().map {
        LineChart.Series(
          "peer\($0)", color: Palette.color($0),
          points: $1.map { ($0, Reach($1, low: $1 * 0.9, high: $1 * 1.2)) })
      })
  }

  /// Whether every element with a position is inside the frame, apart from rounding.
  private func expectInside(_ elements: Elements) throws {
    let frame = try #require(elements.of("frame").first)
    let (left, top) = (frame.number("x") - 0.02, frame.number("y") - 0.02)
    let right = left + frame.number("width") + 0.04
    let bottom = top + frame.number("height") + 0.04
    for bar in elements.of("bar") {
      #expect(bar.number("x") >= left && bar.number("x") + bar.number("width") <= right)
      #expect(bar.number("y") >= top && bar.number("height") >= 0)
      let foot = bar.number("y") + bar.number("height")
      #expect(abs(foot - bottom) < 0.1, "a bar stands on the axis")
    }
    for point in elements.of("point") {
      let radius = point.number("r")
      #expect(point.number("cx") - radius >= left && point.number("cx") + radius <= right)
      #expect(point.number("cy") >= top && point.number("cy") <= bottom)
    }
    for line in elements.of("whisker") + elements.of("reach") {
      for (x, y) in [("x1", "y1"), ("x2", "y2")] {
        #expect(line.number(x) >= left && line.number(x) <= right)
        #expect(line.number(y) >= top && line.number(y) <= bottom)
      }
    }
  }

  @Test("bars are inside the frame, in proportion to their figures", arguments: 0..<40)
  func barsInside(seed: Int) throws {
    var state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 &+ 1
    func next() -> Double {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Double(state >> 11) / Double(1 << 53)
    }
    let unit = pow(10, next() * 12 - 6)
    let values = (0..<(1 + seed % 9)).map { _ in
      (0..<(1 + seed % 5)).map { _ -> Reach? in
        let value = next() * unit
        return next() < 0.1 ? nil : Reach(value, low: value * next(), high: value * (1 + next()))
      }
    }
    let elements = try #require(Elements(bars(values).svg))
    try expectInside(elements)
    let drawn = elements.of("bar")
    #expect(drawn.count == values.joined().compactMap { $0 }.count)
    // Groups follow each other, and within each the series.
    let figures = (0..<(1 + seed % 5)).flatMap { group in values.compactMap { $0[group]?.value } }
    guard let most = figures.max(), let index = figures.firstIndex(of: most) else { return }
    let perUnit = drawn[index].number("height") / most
    for (figure, bar) in zip(figures, drawn) {
      #expect(abs(bar.number("height") - figure * perUnit) < 0.05)
    }
  }

  @Test(
    "equal factors are equal heights on a logarithmic axis, and values not above zero are left out")
  func logarithmicBars() throws {
    let values = [0.1, 10, 1000].map { [Reach?.some(Reach($0, low: $0 / 1.5, high: $0 * 1.5))] }
    let elements = try #require(Elements(bars(values, isLogarithmic: true).svg))
    try expectInside(elements)
    let heights = elements.of("bar").map { $0.number("height") }
    #expect(heights.count == 3 && heights[0] > 5)
    #expect(abs((heights[1] - heights[0]) - (heights[2] - heights[1])) < 0.05)
    let nothing = values + [[Reach(0, low: 0, high: 1)], [Reach(1, low: 0, high: 1)]]
    #expect(try #require(Elements(bars(nothing, isLogarithmic: true).svg)).of("bar").count == 3)
  }

  @Test(
    "rows have names, figures and bars in proportion, inside the picture",
    arguments: [false, true])
  func rows(isLogarithmic: Bool) throws {
    let figures = [0.5, 5, 50].map { Reach($0, low: $0 * 0.8, high: $0 * 1.5) }
    let chart = RankChart(
      title: awkward, subtitle: "shorter is better", unit: "ms", footer: "a machine; a day",
      isLogarithmic: isLogarithmic,
      groups: [
        RankChart.Group("one", rows: [RankChart.Row("a", color: "#123456", figure: figures[0])]),
        RankChart.Group(
          "two",
          rows: figures.enumerated().map {
            RankChart.Row("b\($0)", color: "#123456", figure: $1, isOwn: $0 == 1)
          } + [RankChart.Row("none", color: "#123456", figure: Reach(.nan, low: 0, high: 1))]),
        RankChart.Group("empty", rows: []),
      ])
    let elements = try #require(Elements(chart.svg))
    let texts = elements.all.filter { $0.name == "text" }.map(\.text)
    for words in ["one", "two", "a", "b0", "b1", "b2", "50.0 ms", "a machine; a day"] {
      #expect(texts.contains(words), "\(words) in \(texts)")
    }
    #expect(!texts.contains("none") && !texts.contains("empty"))
    let frame = try #require(elements.of("frame").first)
    let right = frame.number("x") + frame.number("width")
    let bars = elements.of("row")
    #expect(bars.count == 4)
    for bar in bars {
      #expect(abs(bar.number("x") - frame.number("x")) < 0.02)
      #expect(bar.number("x") + bar.number("width") <= right + 0.02)
    }
    let widths = bars.dropFirst().map { $0.number("width") }
    if isLogarithmic {
      #expect(abs((widths[1] - widths[0]) - (widths[2] - widths[1])) < 0.05)
    } else {
      #expect(abs(widths[2] / widths[1] - 10) < 0.05)
    }
  }

  @Test("no two colours are equal")
  func colors() { #expect(Set(Palette.colors).count == 16 && Palette.colors.count == 16) }

  @Test("points are inside the frame, and larger figures are higher and further right")
  func pointsInside() throws {
    let sizes = (6...20).map { exp2(Double($0)) }
    let chart = lines([sizes.map { ($0, $0 / 1e5) }, sizes.map { ($0, 1e-4 * $0.squareRoot()) }])
    let elements = try #require(Elements(chart.svg))
    try expectInside(elements)
    let points = elements.of("point")
    #expect(points.count == 30)
    for (one, next) in zip(points[..<15], points[1..<15]) {
      #expect(one.number("cx") < next.number("cx") && one.number("cy") > next.number("cy"))
    }
    // Equal factors are equal distances on a logarithmic axis.
    let ways = zip(points[..<15], points[1..<15]).map { $1.number("cx") - $0.number("cx") }
    #expect((ways.max() ?? 0) - (ways.min() ?? 1) < 0.03)
  }

  @Test("axes, units, legend and title are present as text")
  func words() throws {
    let bar = try #require(
      Elements(bars([[Reach(1, low: 0.5, high: 2)], [Reach(3, low: 3, high: 3)]]).svg))
    let texts = bar.all.filter { $0.name == "text" }.map(\.text)
    for word in [
      "throughput", "higher is better", "GiB/s", "g0", "peer0", "peer1", "0", "1", "2", "3",
    ] {
      #expect(texts.contains(word), "\(word) is not in \(texts)")
    }
    let line = try #require(Elements(lines([[(64, 0.01), (1024, 0.1), (1_048_576, 3)]]).svg))
    let others = line.all.filter { $0.name == "text" }.map(\.text)
    for word in [
      "per size", "lower is better", "bytes per message", "GiB/s", "peer0", "64 B", "1 KiB",
      "1 MiB",
    ] {
      #expect(others.contains(word), "\(word) is not in \(others)")
    }
  }

  @Test("with any names the document is well-formed and contains them")
  func escapes() throws {
    let chart = BarChart(
      title: awkward, subtitle: awkward, unit: awkward, groups: [awkward],
      series: [.init(awkward, color: Palette.color(3), bars: [Reach(1, low: 1, high: 1)])])
    let elements = try #require(Elements(chart.svg))
    #expect(elements.all.filter { $0.text == "a<b> & \"c\" 'd'" }.count >= 4)
  }

  @Test("figures that do not fit on any axis are left out, and the rest is drawn")
  func impossible() throws {
    let bad = [Double.nan, .infinity, -.infinity, -1]
    let chart = bars(bad.map { [Reach($0, low: $0, high: $0)] } + [[Reach(2, low: 1, high: 3)]])
    let elements = try #require(Elements(chart.svg))
    try expectInside(elements)
    #expect(elements.of("bar").count == 1)

    let line = lines([(bad + [0]).map { (1024, $0) } + bad.map { ($0, 1) } + [(0, 1), (512, 7)]])
    let others = try #require(Elements(line.svg))
    try expectInside(others)
    #expect(others.of("point").count == 1)
  }

  @Test("a chart without figures is a valid document")
  func nothing() throws {
    #expect(Elements(bars([]).svg) != nil)
    #expect(Elements(bars([[nil, nil]]).svg) != nil)
    #expect(Elements(lines([]).svg) != nil)
    #expect(Elements(lines([[]]).svg) != nil)
  }

  @Test(
    "an axis from zero ends above the maximum, in a few round steps",
    arguments: [
      1e-9, 0.013, 0.9, 1, 1.04, 3.7, 99.9, 100, 54_321, 8e12,
    ])
  func linear(most: Double) {
    let scale = Scale(upTo: most, from: 300, to: 50)
    #expect(scale.high >= most && scale.high <= most * 1.7)
    #expect((3...11).contains(scale.ticks.count))
    #expect(abs((scale.ticks.last ?? 0) - scale.high) <= scale.high * 1e-9)
    #expect(scale.place(0) == 300 && abs(scale.place(scale.high) - 50) < 1e-9)
  }

  @Test(
    "numbers are short",
    arguments: [
      (0.0, "0"), (0.05, "0.05"), (2.5, "2.5"), (999, "999"), (1000, "1,000"),
      (40_000, "40,000"), (1_234_567, "1,234,567"),
    ])
  func labels(value: Double, text: String) {
    #expect(Scale.label(value) == text)
  }

  @Test(
    "measured figures keep three digits",
    arguments: [
      (2.0, "2.00"), (0.3333, "0.333"), (12.34, "12.3"), (123.4, "123"), (12345, "12,345"),
    ])
  func figures(value: Double, text: String) {
    #expect(Scale.figureLabel(value) == text)
  }
}
