// A TLS session of the broker's with a real client at its other end.
import CGnuTLS
import Certificates
import Foundation
import Streams

@testable import Broker

/// Two connected sockets, the broker's session on one of them.
final class Ends {
  let server: TLSSession
  /// The other end; belongs to whoever takes it.
  let far: Int32
  let buffers = TLSBuffers()

  init(_ credentials: TLSCredentials, sendBuffer: Int32? = nil) throws {
    let ends = try socketPair()
    if let sendBuffer {
      setOption(ends.0, SOL_SOCKET, SO_SNDBUF, sendBuffer)
      setOption(ends.1, SOL_SOCKET, SO_SNDBUF, sendBuffer)
    }
    far = ends.1
    server = try TLSSession(serving: Descriptor(ends.0), with: credentials, buffers: buffers)
  }

  deinit { close(far) }

  /// Runs a client at the far end on a thread of its own. Its error, if it had one, comes with `join`.
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
