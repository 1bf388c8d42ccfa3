// Sockets in place of the service manager's and the journal's.
import Broker
import Foundation
import Testing

@testable import virtbrokerd

/// Receives datagrams, as systemd and the journal do.
final class DatagramSocket {
  private let descriptor: CInt

  init(boundTo path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    let address = try #require(UnixAddress(path))
    let bound = address.withPointer { bind(descriptor, $0, $1) }
    try #require(bound == 0)
  }

  deinit { close(descriptor) }

  /// The datagrams received so far.
  func received() -> [String] {
    var texts: [String] = []
    var bytes = [UInt8](repeating: 0, count: 128 << 10)
    while true {
      let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
      guard count >= 0 else { return texts }
      texts.append(String(decoding: bytes[..<count], as: UTF8.self))
    }
  }
}
