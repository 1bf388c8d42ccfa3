// Payload from a TCP socket to a UNIX socket through a pipe in the kernel.
import Glibc
import Testing

@testable import Broker
@testable import Streams

@Suite("Pipes")
struct PipeTests {
  /// A client's TCP socket and a daemon's UNIX socket as the broker has them, and their far ends.
  private final class Scene {
    let pipes: Pipes
    let client: PlainTransport
    let daemon: PlainTransport
    let farClient: Descriptor
    let farDaemon: Descriptor

    init(pipes: Pipes = Pipes(descriptorLimit: 1024)) throws {
      self.pipes = pipes
      let tcp = try tcpPair()
      let unix = try socketPair()
      client = PlainTransport(Descriptor(tcp.0), carriesDescriptors: false)
      daemon = PlainTransport(Descriptor(unix.0), carriesDescriptors: true, pipes: pipes)
      farClient = Descriptor(tcp.1)
      farDaemon = Descriptor(unix.1)
      _ = fcntl(unix.0, F_SETFL, O_NONBLOCK)
    }

    func send(_ bytes: [UInt8]) {
      #expect(write(farClient.number, bytes, bytes.count) == bytes.count)
    }

    func empty() -> Outcome { daemon.send(UnsafeBufferPointer(start: nil, count: 0)) }

    func arrived(_ count: Int) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: count)
      let found = recv(farDaemon.number, &bytes, count, Int32(MSG_WAITALL))
      return Array(bytes.prefix(max(0, found)))
    }
  }

  private static let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 37) }

  @Test("bytes arrive behind those put into the pipe, and an empty socket blocks")
  func passes() throws {
    let scene = try Scene()
    #expect(scene.daemon.openPipe(from: scene.client))
    #expect(scene.daemon.fillPipe(from: scene.client, limit: 10) == .blocked(.read))
    let header: [UInt8] = [1, 2, 3]
    #expect(header.withUnsafeBytes { scene.daemon.fillPipe(with: $0) })
    #expect(scene.daemon.fillPipe(from: scene.client, limit: 10) == .blocked(.write))
    scene.send(Array(Self.bytes.prefix(20)))
    #expect(scene.daemon.fillPipe(from: scene.client, limit: 15) == .moved(15))
    #expect(scene.daemon.unsent == 18)
    #expect(scene.empty() == .moved(18))
    #expect(scene.daemon.unsent == 0)
    #expect(scene.arrived(18) == header + Self.bytes.prefix(15))
  }

  @Test("a daemon that reads nothing blocks; what the pipe holds arrives later, in order")
  func blocks() throws {
    let scene = try Scene()
    #expect(scene.daemon.openPipe(from: scene.client))
    var moved = 0
    var isBlocked = false
    while !isBlocked, moved < 8 << 20 {
      scene.send(Self.bytes)
      var left = Self.bytes.count
      while left > 0, !isBlocked {
        if case .moved(let count) = scene.daemon.fillPipe(from: scene.client, limit: left) {
          left -= count
          moved += count
        } else if scene.empty() == .blocked(.write) {
          isBlocked = true
        }
      }
    }
    #expect(isBlocked && scene.daemon.unsent > 0)
    var all: [UInt8] = []
    while all.count < moved {
      let sent = moved - scene.daemon.unsent
      try #require(sent > all.count, "an empty socket accepts something")
      all += scene.arrived(sent - all.count)
      if scene.daemon.unsent > 0 { _ = scene.empty() }
    }
    #expect(all.indices.allSatisfy { all[$0] == Self.bytes[$0 % Self.bytes.count] })
  }

  @Test("the end of the client is an end")
  func ends() throws {
    let scene = try Scene()
    #expect(scene.daemon.openPipe(from: scene.client))
    shutdown(scene.farClient.number, Int32(SHUT_WR))
    #expect(scene.daemon.fillPipe(from: scene.client, limit: 10) == .end)
  }

  @Test("there is no pipe for a UNIX client, to a socket without pipes, or beyond the limit")
  func none() throws {
    let scene = try Scene()
    #expect(!scene.daemon.openPipe(from: scene.daemon))
    #expect(!scene.client.openPipe(from: scene.client))
    let two = Pipes(descriptorLimit: 64)
    let scenes = [try Scene(pipes: two), try Scene(pipes: two), try Scene(pipes: two)]
    #expect(scenes.map { $0.daemon.openPipe(from: $0.client) } == [true, true, false])
    scenes[0].daemon.closePipe()
    #expect(scenes[2].daemon.openPipe(from: scenes[2].client))
  }

  @Test("a pipe with content is closed when it is empty")
  func closes() throws {
    let one = Pipes(descriptorLimit: 32)
    let scenes = [try Scene(pipes: one), try Scene(pipes: one)]
    #expect(scenes[0].daemon.openPipe(from: scenes[0].client))
    #expect([7].withUnsafeBytes { scenes[0].daemon.fillPipe(with: $0) })
    scenes[0].daemon.closePipe()
    #expect(!scenes[1].daemon.openPipe(from: scenes[1].client))
    #expect(scenes[0].empty() == .moved(MemoryLayout<Int>.size))
    #expect(scenes[1].daemon.openPipe(from: scenes[1].client))
  }
}
