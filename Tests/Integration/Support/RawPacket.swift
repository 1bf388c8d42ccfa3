// One packet as received.
import Streams

/// A whole packet, header and body.
struct RawPacket: Sendable, CustomStringConvertible {
  var header: PacketHeader
  var body: [UInt8]

  /// The body decoded as a structure of the protocol; nil if it is not a valid one.
  func decoded<Body: XDRBody>(_: Body.Type = Body.self) -> Body? {
    body.withUnsafeBytes { try? Body(payload: $0) }
  }

  /// The error in a failed reply or stream packet; nil if there is none.
  var error: RemoteError? { header.status == .error ? decoded(RemoteError.self) : nil }

  /// Whether it is the reply to the call with this serial.
  func answers(_ serial: UInt32) -> Bool { header.kind == .reply && header.serial == serial }

  var isPing: Bool { isKeepAlive(KeepAliveProcedure.ping) }
  var isPong: Bool { isKeepAlive(KeepAliveProcedure.pong) }

  private func isKeepAlive(_ procedure: Int32) -> Bool {
    header.program == Program.keepAlive && header.kind == .message && header.procedure == procedure
  }

  /// The text by which the replies of two servers are compared.
  var description: String {
    let words =
      error.map {
        "code \($0.code.rawValue) domain \($0.domain.rawValue) level \($0.level) '\($0.message ?? "")' "
          + "('\($0.str1 ?? "")', '\($0.str2 ?? "")', '\($0.str3 ?? "")', \($0.int1), \($0.int2))"
      } ?? "\(body.count) bytes"
    return "program \(header.program) version \(header.version) procedure \(header.procedure) "
      + "kind \(header.kind.rawValue) serial \(header.serial) status \(header.status.rawValue): \(words)"
  }
}

/// Cuts a byte stream into packets.
struct PacketCutter {
  private var bytes: [UInt8] = []
  private var start = 0

  mutating func add(_ new: UnsafeRawBufferPointer) {
    if start > 1 << 20 {
      bytes.removeFirst(start)
      start = 0
    }
    bytes.append(contentsOf: new)
  }

  /// Bytes of an incomplete packet.
  var rest: Int { bytes.count - start }

  /// The next whole packet; nil if more bytes are needed or the length is invalid.
  mutating func next() -> RawPacket? {
    guard rest >= Limits.header else { return nil }
    let header = bytes.withUnsafeBytes { PacketHeader(at: $0.baseAddress! + start) }
    guard header.length >= UInt32(Limits.header), rest >= Int(header.length) else { return nil }
    let body = Array(bytes[start + Limits.header..<start + Int(header.length)])
    start += Int(header.length)
    return RawPacket(header: header, body: body)
  }
}
