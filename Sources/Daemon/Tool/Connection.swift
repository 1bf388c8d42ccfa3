// The connection to the admin socket: one call at a time.
@preconcurrency import Glibc
import Streams

/// Blocks, but no longer than `patienceSeconds`.
final class Connection {
  private static let patienceSeconds = 20.0
  private let descriptor: Int32
  private let path: String
  private var serial: UInt32 = 0
  /// Advice for the case that another program answers.
  var hint: Message?

  init(_ path: String) throws {
    self.path = path
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw ToolFailure(.toolSocketFailed, [Connection.reason]) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw ToolFailure(.toolPathTooLong, [printable(path)])
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard connected == 0 else {
      throw ToolFailure(.cannotConnectToBroker, [printable(path), Connection.reason])
    }
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  private static var reason: String { String(cString: strerror(errno)) }

  // MARK: Calls

  /// All rows of a call that returns them in pages.
  func rows(_ ask: (UInt64) -> BrokerCall) throws -> [Row] {
    var rows: [Row] = []
    var next: UInt64 = 0
    repeat {
      let reply = try call(ask(next))
      guard let page = try? reply.withUnsafeBytes({ try BrokerPage(payload: $0) }) else {
        throw ToolFailure(.undecodableAnswer, [printable(path)])
      }
      // A page whose `next` does not increase would be requested forever.
      guard page.next == 0 || page.next > next else {
        throw ToolFailure(.repeatedPage, [printable(path)])
      }
      rows += page.rows.map { Row($0) }
      next = page.next
    } while next != 0
    return rows
  }

  /// Makes a call and returns the body of a successful reply.
  @discardableResult
  func call(_ call: BrokerCall) throws -> [UInt8] {
    let header = PacketHeader(
      program: Program.broker, procedure: call.procedure, kind: .call, serial: serial)
    serial &+= 1
    let deadline = Connection.now + Connection.patienceSeconds
    try send(Packets.make(header, arguments: call.arguments), before: deadline)
    while true {
      let (reply, body) = try receive(before: deadline)
      guard reply.kind == .reply, reply.serial == header.serial else { continue }
      guard reply.status == .ok else { throw refusal(body) }
      return body
    }
  }

  private func refusal(_ body: [UInt8]) -> ToolFailure {
    guard let error = try? body.withUnsafeBytes({ try RemoteError(payload: $0) }) else {
      return ToolFailure(.callRefusedWithoutReason, [printable(path)])
    }
    let message = printable(error.message ?? "no reason given")
    guard error.code == .rpc, message.hasPrefix("Cannot find program") else {
      return ToolFailure(.callRefused, [message])
    }
    return ToolFailure(.notVirtbrokerd, [printable(path)]).adding(hint)
  }

  /// Waits, without a time limit, until the broker has closed the connection.
  func awaitEnd() throws {
    var bytes = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(descriptor, &bytes, bytes.count, 0)
      if count > 0 { continue }
      if count == 0 || errno == ECONNRESET { return }
      guard errno == EAGAIN || errno == EINTR else {
        throw ToolFailure(.brokerConnectionFailed, [printable(path), Connection.reason])
      }
      var item = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(&item, 1, -1)
    }
  }

  // MARK: Bytes

  private func send(_ bytes: [UInt8], before deadline: Double) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count > 0 { sent += count } else { try wait(POLLOUT, before: deadline) }
    }
  }

  private func receive(before deadline: Double) throws -> (PacketHeader, [UInt8]) {
    let start = try receive(Limits.header, before: deadline)
    let header = start.withUnsafeBytes { bytes in
      bytes.baseAddress.map { PacketHeader(at: $0) }
    }
    guard let header, header.length >= UInt32(Limits.header),
      header.length <= UInt32(Limits.packet)
    else { throw ToolFailure(.notLibvirtProtocol, [printable(path)]) }
    return (header, try receive(Int(header.length) - Limits.header, before: deadline))
  }

  private func receive(_ count: Int, before deadline: Double) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let some = bytes[filled...].withUnsafeMutableBytes {
        recv(descriptor, $0.baseAddress, $0.count, 0)
      }
      if some > 0 {
        filled += some
      } else if some == 0 {
        throw ToolFailure(.brokerClosedConnection, [printable(path)])
      } else {
        try wait(POLLIN, before: deadline)
      }
    }
    return bytes
  }

  /// Waits after a call that would block.
  private func wait(_ events: Int32, before deadline: Double) throws {
    guard errno == EAGAIN || errno == EINTR else {
      throw ToolFailure(.brokerConnectionFailed, [printable(path), Connection.reason])
    }
    let left = deadline - Connection.now
    guard left > 0 else {
      throw ToolFailure(.brokerDoesNotAnswer, [printable(path), Int(Connection.patienceSeconds)])
    }
    var item = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
    _ = poll(&item, 1, Int32(left * 1000) + 1)
  }

  /// Seconds on the monotonic clock.
  static var now: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
