// Calls that a scripted backend holds until its test answers them.
import Foundation
import Streams

/// Held calls, in the order of their arrival.
final class Held: @unchecked Sendable {
  private let condition = NSCondition()
  private var calls: [(line: Line, call: RawPacket)] = []

  /// As a script: holds every call except CONNECT_CLOSE.
  func keep(_ line: Line, _ call: RawPacket) -> Bool {
    guard call.header.procedure != Remote.connectClose else { return false }
    condition.withLock {
      calls.append((line, call))
      condition.broadcast()
    }
    return true
  }

  /// Waits until `count` calls are held.
  func await(_ count: Int, within seconds: Double = 20) throws {
    let end = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    while calls.count < count {
      guard condition.wait(until: end) else {
        throw Trouble("only \(calls.count) calls of \(count) reached the backend")
      }
    }
  }

  var count: Int { condition.withLock { calls.count } }

  /// Answers the oldest call.
  func answer(_ result: some XDRBody) throws {
    try send { Packets.reply(answering: $0, result) }
  }

  /// Answers the oldest call without a result.
  func answer() throws { try send { Packets.reply(answering: $0) } }

  private func send(_ make: (PacketHeader) -> [UInt8]) throws {
    guard
      let (line, call) = condition.withLock({ calls.isEmpty ? nil : calls.removeFirst() })
    else { throw Trouble("no call is held") }
    try line.send(make(call.header))
  }
}
