// Handshakes that cost the broker much more than the client.
import Certificates
import Foundation
import Streams
import Synchronization
import Testing

@Suite("A flood of TLS handshakes", .inTurn)
struct TLSFloodTests {
  /// The round-trip times of calls in milliseconds, sorted.
  private func times(_ socket: RawClient, _ session: TLSClient, _ count: Int) throws -> [Double] {
    let clock = ContinuousClock()
    return try (0..<count).map { _ in
      let packet = Packets.make(socket.header(59))
      let time = try clock.measure {
        try session.send(packet)
        _ = try session.receiveAll(28)
      }
      return time / .milliseconds(1)
    }.sorted()
  }

  @Test("with an RSA key of 4096 bits a flood hardly delays calls on an open connection")
  func latency() async throws {
    let certificates = try CertificateDirectory()
    try certificates.serve(.server().with { $0.key = .rsa4096 })
    let sockets = try Scratch.directory("s")
    let backend = try ScriptedBackend(in: sockets) { _, _ in false }
    let tls = try await TLSBroker(backends: sockets, certificates: certificates)
    try await blocking {
      let (socket, session) = try tls.client(certificates.identity())
      try session.send(Packets.make(socket.header(Remote.authList)))
      _ = try session.receiveAll(36)
      try session.send(
        Packets.make(
          socket.header(Remote.connectOpen), ConnectOpenArguments(name: "qemu:///system", flags: 0))
      )
      _ = try session.receiveAll(28)
      let quiet = try times(socket, session, 500)

      let hello = try TLSFloodTests.hello()
      let isOver = Atomic<Bool>(false)
      let answered = Atomic<Int>(0)
      var loud: [Double] = []
      try withoutActuallyEscaping({ @Sendable () -> Void in
        while !isOver.load(ordering: .relaxed) {
          guard let client = try? RawClient(tcp: tls.port) else { continue }
          var item = pollfd(fd: client.descriptor, events: Int16(POLLIN), revents: 0)
          guard (try? client.send(hello)) != nil, poll(&item, 1, 20_000) == 1 else { continue }
          answered.add(1, ordering: .relaxed)
        }
      }) { flood in
        let threads = DispatchGroup()
        for _ in 0..<8 { DispatchQueue(label: "flood").async(group: threads, execute: flood) }
        defer {
          isOver.store(true, ordering: .relaxed)
          threads.wait()
        }
        // The flood has started when as many handshakes have been answered as run concurrently.
        guard eventually({ answered.load(ordering: .relaxed) >= 8 }) else {
          throw Trouble("no handshake was answered")
        }
        loud = try times(socket, session, 500)
      }
      let (before, median) = (quiet[quiet.count / 2], loud[loud.count / 2])
      print(
        "a call takes \(before) ms, in a flood \(median) ms (90 %: \(loud[450]) ms), "
          + "\(answered.load(ordering: .relaxed)) handshakes answered")
      // On a busy machine the time without a flood is already large.
      #expect(median < max(5, 10 * before), "without a flood: \(before) ms")
    }
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }

  /// The first record of a client.
  private static func hello() throws -> [UInt8] {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 else {
      throw Trouble("socketpair: \(errnoText())")
    }
    let (near, far) = (ends[0], ends[1])
    let done = DispatchSemaphore(value: 0)
    Thread {
      if let session = try? TLSClient(far, as: ClientIdentity()) { try? session.handshake() }
      close(far)
      done.signal()
    }.start()
    var buffer = [UInt8](repeating: 0, count: 1 << 14)
    let count = read(near, &buffer, buffer.count)
    shutdown(near, Int32(SHUT_RDWR))
    done.wait()
    close(near)
    return Array(buffer.prefix(max(count, 0)))
  }
}
