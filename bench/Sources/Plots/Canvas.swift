// An SVG document under construction.
import Foundation

/// A rectangle in the document's units; y increases downwards.
struct Box {
  var left, top, width, height: Double
  var right: Double { left + width }
  var bottom: Double { top + height }
}

/// Collects the elements of a picture. It escapes all text, so the document is well-formed whatever the name of a
/// peer.
struct Canvas {
  enum Anchor: String { case start, middle, end }

  private let width, height: Double
  private var elements = ""

  init(width: Double, height: Double, title: String) {
    self.width = width
    self.height = height
    open("title", [:])
    elements += Self.escaped(title) + "</title>\n"
    // A background of its own, because the page may be white or black.
    rect(
      Box(left: 0.5, top: 0.5, width: width - 1, height: height - 1),
      ["class": "ground", "rx": "6"])
  }

  mutating func rect(_ box: Box, _ attributes: KeyValuePairs<String, String>) {
    open(
      "rect",
      [
        "x": Self.number(box.left), "y": Self.number(box.top), "width": Self.number(box.width),
        "height": Self.number(box.height),
      ], attributes, isEmpty: true)
  }

  mutating func line(
    _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double,
    _ attributes: KeyValuePairs<String, String>
  ) {
    open(
      "line",
      [
        "x1": Self.number(x1), "y1": Self.number(y1), "x2": Self.number(x2),
        "y2": Self.number(y2),
      ], attributes, isEmpty: true)
  }

  mutating func circle(
    _ x: Double, _ y: Double, radius: Double, _ attributes: KeyValuePairs<String, String>
  ) {
    open(
      "circle",
      ["cx": Self.number(x), "cy": Self.number(y), "r": Self.number(radius)], attributes,
      isEmpty: true)
  }

  mutating func path(through points: [(x: Double, y: Double)], color: String) {
    let steps = points.enumerated().map { index, point in
      "\(index == 0 ? "M" : "L")\(Self.number(point.x)) \(Self.number(point.y))"
    }
    open(
      "path", ["d": steps.joined(separator: " "), "class": "course", "stroke": color],
      isEmpty: true)
  }

  /// `degrees` turns the text around its own position.
  mutating func text(
    _ words: String, _ x: Double, _ y: Double, anchor: Anchor = .start, style: String = "label",
    degrees: Double = 0
  ) {
    var turn: KeyValuePairs<String, String> = [:]
    if degrees != 0 {
      turn = ["transform": "rotate(\(Self.number(degrees)) \(Self.number(x)) \(Self.number(y)))"]
    }
    open(
      "text",
      [
        "x": Self.number(x), "y": Self.number(y), "text-anchor": anchor.rawValue, "class": style,
      ], turn)
    elements += Self.escaped(words) + "</text>\n"
  }

  var svg: String {
    """
    <svg xmlns="http://www.w3.org/2000/svg" width="\(Self.number(width))" \
    height="\(Self.number(height))" viewBox="0 0 \(Self.number(width)) \(Self.number(height))" \
    font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12">
    <style>
    .ground { fill: #ffffff; stroke: #b8b8b8 }
    .frame { fill: none; stroke: #6a6a6a }
    .grid { stroke: #dddddd }
    .label { fill: #333333 }
    .title { fill: #111111; font-size: 15px; font-weight: bold }
    .figure { fill: #333333; font-size: 9px }
    .own { fill: #111111; font-weight: bold }
    .note { fill: #666666; font-size: 10px }
    .whisker { stroke: #222222; stroke-width: 1.2 }
    .course { fill: none; stroke-width: 2 }
    @media (prefers-color-scheme: dark) {
    .ground { fill: #16191d; stroke: #4a4f55 }
    .frame { stroke: #9a9a9a }
    .grid { stroke: #33383e }
    .label, .figure { fill: #d4d4d4 }
    .title, .own { fill: #f2f2f2 }
    .note { fill: #a0a0a0 }
    .whisker { stroke: #f0f0f0 }
    }
    </style>
    \(elements)</svg>

    """
  }

  private mutating func open(
    _ name: String, _ attributes: KeyValuePairs<String, String>,
    _ more: KeyValuePairs<String, String> = [:], isEmpty: Bool = false
  ) {
    elements += "<\(name)"
    for (key, value) in Array(attributes) + Array(more) {
      elements += " \(key)=\"\(Self.escaped(value))\""
    }
    elements += isEmpty ? "/>\n" : ">"
  }

  /// Escapes markup and leaves out characters that XML does not allow.
  static func escaped(_ text: String) -> String {
    var safe = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": safe += "&amp;"
      case "<": safe += "&lt;"
      case ">": safe += "&gt;"
      case "\"": safe += "&quot;"
      case "\t", "\n", "\r": safe += " "
      case "\u{0}"..."\u{1f}", "\u{fffe}"..."\u{ffff}": break
      default: safe.unicodeScalars.append(scalar)
      }
    }
    return safe
  }

  /// A coordinate, rounded to a hundredth of a unit, which is finer than visible.
  static func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e6
      ? String(Int(value)) : String(format: "%.2f", value)
  }
}
