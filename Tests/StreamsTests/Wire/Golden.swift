// The golden captures and their table.
import Foundation
import Streams
import Testing

/// One line of `Golden/packets.tsv`: the content of a capture at an offset.
struct GoldenRow: Sendable, CustomStringConvertible {
  let capture: String
  /// `c2s` or `s2c`.
  let direction: String
  let offset: Int
  let length: Int
  /// The packet's header; nil if these bytes are not a packet.
  let header: PacketHeader?
  /// The name of the kind, or `CARRIER` or `SASL`.
  let kind: String

  var file: String { "\(capture).\(direction)" }
  var description: String { "\(file)+\(offset)" }

  private static let programs: [Substring: UInt32] = [
    "REMOTE": Program.remote, "KEEPALIVE": Program.keepAlive, "ADMIN": 0x0690_0690,
  ]
  private static let kinds: [Substring: PacketKind] = [
    "CALL": .call, "REPLY": .reply, "MESSAGE": .message, "STREAM": .stream,
    "CALL_WITH_FDS": .callWithDescriptors, "REPLY_WITH_FDS": .replyWithDescriptors,
    "STREAM_HOLE": .streamHole,
  ]
  private static let statuses: [Substring: PacketStatus] = [
    "OK": .ok, "ERROR": .error, "CONTINUE": .continue,
  ]

  init(_ line: Substring) throws {
    let cells = line.split(separator: "\t", omittingEmptySubsequences: false)
    try #require(cells.count == 9, "\(line)")
    capture = String(cells[0])
    direction = String(cells[1])
    offset = try #require(Int(cells[2]))
    length = try #require(Int(cells[3]))
    kind = String(cells[6])
    guard kind != "CARRIER", kind != "SASL" else {
      header = nil
      return
    }
    header = PacketHeader(
      length: try #require(UInt32(cells[3])), program: try #require(Self.programs[cells[4]]),
      procedure: try #require(Int32(cells[5])), kind: try #require(Self.kinds[cells[6]]),
      serial: try #require(UInt32(cells[7])), status: try #require(Self.statuses[cells[8]]))
  }
}

enum Golden {
  private static let folder = Bundle.module.bundleURL.appending(path: "Golden")

  /// The bytes of one direction of a capture, such as `02-vol-download.s2c`.
  static func bytes(_ file: String) throws -> [UInt8] {
    Array(try Data(contentsOf: folder.appending(path: file + ".bin")))
  }

  /// The table's rows, in the recorded order.
  static func rows() throws -> [GoldenRow] {
    try String(contentsOf: folder.appending(path: "packets.tsv"), encoding: .utf8)
      .split(separator: "\n").dropFirst().map { try GoldenRow($0) }
  }

  /// The names of the capture files.
  static func files() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path)
      .filter { $0.hasSuffix(".bin") }.map { String($0.dropLast(4)) }.sorted()
  }
}
