// D-Bus messages, as far as polkit needs them.
import CSystemD
import Glibc
import Streams

/// Fills a message. The first error is kept, and nothing more is appended after it.
struct BusMessage {
  private let message: OpaquePointer
  private(set) var status: Int32 = 0

  init(_ message: OpaquePointer) { self.message = message }

  private mutating func unlessFailed(_ body: (OpaquePointer) -> Int32) {
    guard status >= 0 else { return }
    status = body(message)
  }

  mutating func append(_ text: String) {
    unlessFailed { message in
      text.withCString { sd_bus_message_append_basic(message, CChar(UInt8(ascii: "s")), $0) }
    }
  }

  mutating func append<Number: BitwiseCopyable>(_ type: Unicode.Scalar, _ number: Number) {
    unlessFailed { message in
      withUnsafeBytes(of: number) {
        sd_bus_message_append_basic(message, CChar(truncatingIfNeeded: type.value), $0.baseAddress)
      }
    }
  }

  mutating func inside(
    _ kind: Unicode.Scalar, _ contents: String, _ fill: (inout BusMessage) -> Void
  ) {
    unlessFailed {
      sd_bus_message_open_container($0, CChar(truncatingIfNeeded: kind.value), contents)
    }
    fill(&self)
    unlessFailed { sd_bus_message_close_container($0) }
  }

  /// One entry of a dictionary from names to values of any type.
  mutating func entry<Number: BitwiseCopyable>(
    _ name: String, _ type: Unicode.Scalar, _ number: Number
  ) {
    inside("e", "sv") { message in
      message.append(name)
      message.inside("v", String(Character(type))) { $0.append(type, number) }
    }
  }

  /// The result in the reply to a check: two booleans and a dictionary of strings.
  static func result(of reply: OpaquePointer?) -> PolkitResult {
    var isGranted: Int32 = 0
    var isChallenge: Int32 = 0
    let boolean = CChar(UInt8(ascii: "b"))
    guard sd_bus_message_enter_container(reply, CChar(UInt8(ascii: "r")), "bba{ss}") > 0,
      sd_bus_message_read_basic(reply, boolean, &isGranted) > 0,
      sd_bus_message_read_basic(reply, boolean, &isChallenge) > 0
    else { return .failed(Message(.polkitAnswerNotDecoded)) }
    if isGranted != 0 { return .granted }
    var isDismissed = false
    if sd_bus_message_enter_container(reply, CChar(UInt8(ascii: "a")), "{ss}") > 0 {
      while sd_bus_message_enter_container(reply, CChar(UInt8(ascii: "e")), "ss") > 0 {
        let name = text(reply)
        let value = text(reply)
        if name == "polkit.dismissed" { isDismissed = value == "true" || value == "1" }
        if sd_bus_message_exit_container(reply) < 0 { break }
      }
    }
    if isDismissed { return .dismissed }
    return isChallenge != 0 ? .noAgent : .denied
  }

  private static func text(_ message: OpaquePointer?) -> String? {
    var text: UnsafePointer<CChar>?
    guard sd_bus_message_read_basic(message, CChar(UInt8(ascii: "s")), &text) > 0 else {
      return nil
    }
    return text.map { String(cString: $0) }
  }
}
