// Peers that somebody else has started: --peer NAME=URI,pid=N.
import ArgumentParser
import Ends
import Foundation

/// An endpoint of the user's own, and the process that costs the processor time.
struct PeerArgument: ExpressibleByArgument, Equatable, Sendable {
  var name: String
  var place: Place
  var process: pid_t?

  init?(argument: String) { self.init(argument) }

  /// `NAME=URI`, with `,pid=N` behind it or not. A comma that is part of a path stays one.
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

  /// These out of `known`, in the order of `known`; a word that is not known is an error that
  /// lists those that are.
  func chosen(from known: [String], option: String) throws -> [String] {
    if let stranger = words.first(where: { !known.contains($0) }) {
      throw ValidationError(
        "\(option): there is no \(stranger); there are \(known.joined(separator: ", "))")
    }
    return known.filter(words.contains)
  }
}
