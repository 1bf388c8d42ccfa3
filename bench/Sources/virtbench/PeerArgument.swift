// Peers that the user has started: --peer NAME=URI,pid=N.
import ArgumentParser
import Ends
import Foundation

/// The user's own endpoint, and the process whose processor time is measured.
struct PeerArgument: ExpressibleByArgument, Equatable, Sendable {
  var name: String
  var place: Place
  var process: pid_t?

  init?(argument: String) { self.init(argument) }

  /// Parses `NAME=URI`, optionally followed by `,pid=N`. The URI may contain commas.
  init?(_ text: String) {
    guard let equals = text.firstIndex(of: "=") else { return nil }
    name = String(text[..<equals])
    guard Self.isName(name) else { return nil }
    var uri = String(text[text.index(after: equals)...])
    if let mark = uri.range(of: ",pid=", options: .backwards) {
      let digits = uri[mark.upperBound...]
      guard !digits.isEmpty, digits.allSatisfy({ "0"..."9" ~= $0 }),
        let number = pid_t(digits), number > 0
      else { return nil }
      process = number
      uri = String(uri[..<mark.lowerBound])
    }
    guard let place = Place(uri) else { return nil }
    self.place = place
  }

  /// Names become parts of file names and of table cells.
  static func isName(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 40
      && text.utf8.allSatisfy { byte in
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
          || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
          || [UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_")].contains(byte)
      }
  }
}

/// Words with commas between them, as in `--measure download,upload`.
struct Words: ExpressibleByArgument, Equatable, Sendable {
  var words: [String]
  init?(argument: String) {
    words = argument.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    guard words.allSatisfy(PeerArgument.isName) else { return nil }
  }

  /// The words that are in `known`, in its order. An unknown word is an error that lists the known ones.
  func chosen(from known: [String], option: String) throws -> [String] {
    if let unknown = words.first(where: { !known.contains($0) }) {
      throw ValidationError(
        "\(option): there is no \(unknown); there are \(known.joined(separator: ", "))")
    }
    return known.filter(words.contains)
  }
}
