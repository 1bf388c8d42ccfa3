// The broker's replies: rows of named values, as JSON and as text.
import Streams

/// One row. JSON output also has the fields that this program does not know.
struct Row {
  private(set) var fields: [TypedParameter]

  init(_ fields: [TypedParameter]) { self.fields = fields }

  private subscript(name: String) -> TypedParameter.Value? {
    fields.first { $0.field == name }?.value
  }

  /// Adds a value, or replaces the one with that name.
  mutating func set(_ name: String, _ value: TypedParameter.Value) {
    fields.removeAll { $0.field == name }
    fields.append(TypedParameter(name, value))
  }

  /// A value as text; empty: the row has none.
  func text(_ name: String) -> String {
    switch self[name] {
    case .string(let text): printable(text)
    case .boolean(let flag): flag ? "yes" : "no"
    case .double(let number): String(number)
    case nil: ""
    default: number(name).map { "\(Int64($0))" } ?? ""
    }
  }

  func number(_ name: String) -> Double? {
    switch self[name] {
    case .int(let number): Double(number)
    case .uint(let number): Double(number)
    case .llong(let number): Double(number)
    case .ullong(let number): Double(number)
    case .double(let number): number.isFinite ? number : nil
    case .boolean, .string, nil: nil
    }
  }
}

/// JSON of rows: each is an object with the broker's own names.
enum JSON {
  static func array(_ rows: [Row]) -> String {
    rows.isEmpty ? "[]" : "[\n" + rows.map { "  " + object($0) }.joined(separator: ",\n") + "\n]"
  }

  static func object(_ row: Row) -> String {
    "{" + row.fields.map { "\(jsonQuoted($0.field)): \(value($0.value))" }.joined(separator: ", ")
      + "}"
  }

  private static func value(_ value: TypedParameter.Value) -> String {
    switch value {
    case .int(let number): "\(number)"
    case .uint(let number): "\(number)"
    case .llong(let number): "\(number)"
    case .ullong(let number): "\(number)"
    // JSON has no other numbers.
    case .double(let number): number.isFinite ? "\(number)" : "null"
    case .boolean(let flag): "\(flag)"
    case .string(let text): jsonQuoted(text)
    }
  }
}
