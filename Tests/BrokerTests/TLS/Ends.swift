// A TLS session of the broker with a real client at the other end.
import CGnuTLS
import Certificates
import Foundation
import Streams
import Testing

@testable import Broker

/// Two connected sockets with the broker's session on one of them.
final class Ends {
  let server: TLSSession
  /// The client's socket. Its user owns it.
  let far: Int32
  let buffers = TLSBuffers()

  /// - Parameter isTCP: use a TCP connection over loopback instead of a pair of UNIX sockets.
  init(_ credentials: TLSCredentials, sendBuffer: Int32? = nil, isTCP: Bool = false) throws {
    let ends = try isTCP ? tcpPair() : socketPair()
    if let sendBuffer {
      setOption(ends.0, SOL_SOCKET, SO_SNDBUF, sendBuffer)
      setOption(ends.1, SOL_SOCKET, SO_SNDBUF, sendBuffer)
    }
    far = ends.1
    server = try TLSSession(serving: Descriptor(ends.0), with: credentials, buffers: buffers)
  }

  deinit { close(far) }

  /// Runs a client at the far end on a thread of its own. `join` throws the client's error.
  func client(
    _ identity: ClientIdentity, _ body: @escaping @Sendable (TLSClient) throws -> Void
  ) -> Client {
    let client = Client()
    let far = far
    Thread {
      do {
        let session = try TLSClient(far, as: identity)
        try session.handshake()
        try body(session)
      } catch {
        client.error = error
        shutdown(far, Int32(SHUT_RDWR))
      }
      client.done.signal()
    }.start()
    return client
  }

  final class Client: @unchecked Sendable {
    let done = DispatchSemaphore(value: 0)
    var error: (any Error)?
    func join() throws {
      guard done.wait(timeout: .now() + 30) == .success else {
        throw Trouble(what: "the client did not end")
      }
      if let error { throw error }
    }
  }

  func wait(for interest: Interest) throws {
    var item = pollfd(
      fd: server.number,
      events: Int16(
        (interest.contains(.read) ? POLLIN : 0) | (interest.contains(.write) ? POLLOUT : 0)),
      revents: 0)
    guard poll(&item, 1, 20_000) == 1 else { throw Trouble(what: "nothing happened for 20 s") }
  }

  /// The broker's side of the handshake.
  func shake() throws -> TLSSession.Step {
    while true {
      switch server.handshake() {
      case .blocked(let on): try wait(for: on)
      case let step: return step
      }
    }
  }

  var transport: TLSTransport {
    TLSTransport(server, TLSPeer(distinguishedName: nil, parameters: "", keyBits: 0))
  }
}

/// Data through a session.
extension Ends {
  static func bytes(_ count: Int, seed: Int = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 &+ seed) &* 31 ^ ($0 >> 9)) }
  }

  /// Sends all bytes in runs of odd sizes, as a scheduler would, until the transport has no unsent bytes.
  func send(_ bytes: [UInt8], over transport: TLSTransport) throws {
    var bytes = bytes
    var sent = 0
    try bytes.withUnsafeMutableBytes { bytes in
      let base = try #require(bytes.baseAddress)
      while sent < bytes.count {
        let outcome = withUnsafeTemporaryAllocation(of: Run.self, capacity: 8) { runs in
          var place = sent
          var used = 0
          for size in [1, 28, 5000, 70_000, 3, 16_384, 300_000, 40] where place < bytes.count {
            let count = min(size, bytes.count - place)
            runs[used] = Run(base: base + place, count: count)
            used += 1
            place += count
          }
          return transport.send(UnsafeBufferPointer(rebasing: runs[0..<used]))
        }
        switch outcome {
        case .moved(let count): sent += count
        case .blocked(let on): try wait(for: on)
        default: throw Trouble(what: "sending: \(outcome)")
        }
      }
    }
    while transport.unsent > 0 {
      try wait(for: .write)
      if case .failed(let number) = transport.send(UnsafeBufferPointer(start: nil, count: 0)) {
        throw Trouble(what: "sending: \(errorText(number))")
      }
    }
  }

  /// Receives `count` bytes into buffers of odd sizes. It waits only when the transport holds no bytes.
  func receive(_ count: Int, over transport: TLSTransport) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var got = 0
    var turn = 0
    try bytes.withUnsafeMutableBytes { bytes in
      let base = try #require(bytes.baseAddress)
      while got < count {
        let size = [1, 100, 5000, 70_000, 16_384, 17][turn % 6]
        turn += 1
        let first = min(size, count - got)
        let second = min(33, count - got - first)
        var descriptor: Int32 = -1
        let outcome = withUnsafeTemporaryAllocation(of: Run.self, capacity: 2) { rooms in
          rooms[0] = Run(base: base + got, count: first)
          rooms[1] = Run(base: base + got + first, count: second)
          return transport.receive(
            into: UnsafeBufferPointer(rebasing: rooms[0..<(second > 0 ? 2 : 1)]),
            descriptor: &descriptor)
        }
        switch outcome {
        case .moved(let count): got += count
        case .blocked(let on):
          #expect(!transport.holdsBytes, "what is held must be given")
          try wait(for: on)
        default: throw Trouble(what: "receiving: \(outcome) \(transport.error?.text ?? "")")
        }
      }
    }
    return bytes
  }

  /// The outcome of the next receive.
  func outcome(of transport: TLSTransport) -> Outcome {
    var descriptor: Int32 = -1
    return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { room in
      withUnsafeTemporaryAllocation(of: Run.self, capacity: 1) { rooms in
        rooms[0] = Run(base: room.baseAddress, count: room.count)
        return transport.receive(into: UnsafeBufferPointer(rooms), descriptor: &descriptor)
      }
    }
  }
}
