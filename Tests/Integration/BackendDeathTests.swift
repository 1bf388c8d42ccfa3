// A backend that is killed: errors at once, then the end of the connections opened on it.
import Foundation
import Streams
import Testing

@Suite("A killed backend", .serialized, Lab.isPossible)
struct BackendDeathTests {
  /// The time within which clients of a dead daemon must get their errors, in seconds.
  static let promise = 2.0

  @Test(
    "calls fail with an error that names the daemon, then the connection ends; a new client gets an error too",
    arguments: Way.allCases)
  func call(way: Way) async throws {
    let lab = try await Lab.shared(.mono, for: "killing")
    let broker = try await BrokerProcess.start(in: lab)
    let pid = try await lab.pid(of: "libvirtd")
    let (client, calls) = try await blocking {
      let client = try broker.client(way)
      try client.open()
      #expect(try client.call(Remote.connectRegisterCloseCallback).header.status == .ok)
      // A stopped daemon accepts calls and answers none.
      kill(pid, SIGSTOP)
      let calls = (0..<3).map { _ in client.header(157) }
      for call in calls { try client.send(Packets.make(call)) }
      #expect(client.receiveAll(for: 0.3).isEmpty)
      return (client, calls)
    }
    // virsh too, to see its message for the user.
    let uri = way == .unix ? broker.unixURI() : broker.tcpURI()
    let connected = { @Sendable in broker.log.components(separatedBy: " connected to ").count }
    let before = connected()
    async let waiting = virsh(uri, ["list", "--all"], limit: .seconds(20))
    #expect(try await blocking { eventually { connected() > before } })
    try await lab.kill("libvirtd")
    try await blocking {
      let event = try client.receive(within: Self.promise, "the event of the closed connection") {
        $0.header.kind == .message
      }
      #expect(event.header.procedure == Remote.connectEventConnectionClosed)
      for call in calls {
        let reply = try client.receive(within: Self.promise, "the failure of a call") {
          $0.answers(call.serial)
        }
        #expect(reply.error?.code == .systemError && reply.error?.domain == .rpc)
        #expect(reply.error?.message?.contains("libvirtd") == true, "it names the daemon")
      }
      #expect(try client.awaitEnd(within: Self.promise).isEmpty, "then the connection ends")
      let late = try broker.client(way)
      try late.call(Remote.authList)
      let refusal = try late.call(
        Remote.connectOpen, ConnectOpenArguments(name: "qemu:///system", flags: 0),
        within: Self.promise)
      #expect(refusal.error?.message?.contains("libvirt-sock") == true, "it says what is not there")
      #expect(try late.call(Remote.authList).header.status == .ok, "it was never open")
    }
    let result = try await waiting
    #expect(result.status == 1)
    #expect(result.errors.contains("libvirtd"), "virsh says: \(result.errors)")

    try await lab.start("libvirtd")
    try await blocking {
      let client = try broker.client(way)
      try client.open()
      #expect(try client.call(59).header.status == .ok)
    }
    try await broker.stop()
  }

  @Test(
    "uploads and downloads end with an error that names the daemon",
    arguments: Way.allCases)
  func streams(way: Way) async throws {
    let lab = try await Lab.shared(.mono, for: "killing")
    let volume = try await TestVolume(in: lab, bytes: 1 << 30)
    let broker = try await BrokerProcess.start(in: lab)
    let (client, streams) = try await blocking {
      let client = try broker.client(way)
      try client.open()
      let upload = try client.openStream(
        Remote.storageVolUpload, pool: volume.pool, volume: volume.name)
      try client.send(RawClient.packet(upload, [1, 2, 3]))
      let download = try client.openStream(
        Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
      // The download is under way, and the broker holds more of it than the client has read.
      _ = try client.receive("some data") { !$0.body.isEmpty }
      return (client, [upload, download])
    }
    try await lab.kill("libvirtd")
    try await blocking {
      for stream in streams {
        let end = try client.receive(within: Self.promise, "the failure of a stream") {
          $0.header.kind == .stream && $0.header.serial == stream.serial
            && $0.header.status != .continue
        }
        #expect(end.header.status == .error && end.header.procedure == stream.procedure)
        #expect(end.error?.message?.contains("libvirtd") == true, "\(end)")
      }
    }
    try await lab.start("libvirtd")
    // No more packets of the streams arrive, and the connection stays open.
    try await blocking {
      let call = client.header(59)
      try client.send(Packets.make(call))
      let reply = try client.receive(within: 5, "a reply") {
        $0.header.kind != .stream || $0.header.status != .continue
      }
      #expect(reply.answers(call.serial) && reply.header.status == .ok)
    }
    try await broker.stop()
  }

  @Test(
    "libvirt's clients see a closed connection: isAlive() is 0, the close callback is called, virsh reports it"
  )
  func alive() async throws {
    let lab = try await Lab.shared(.mono, for: "killing")
    let tls = try await TLSBroker(backends: lab.sockets)
    let broker = tls.broker
    let pid = try await lab.pid(of: "libvirtd")
    let said = try await python(
      "alive.py", ["\(pid)", broker.unixURI(), broker.tcpURI(), tls.uri])
    #expect(said == "3 dead\n")
    try await lab.start("libvirtd")
    try await broker.stop()
  }

  @Test(
    "with modular daemons the death of the opened one ends its clients' connections, and streams at other daemons too",
    arguments: Way.allCases)
  func opened(way: Way) async throws {
    let lab = try await Lab.shared(.modular, for: "killing")
    let volume = try await TestVolume(in: lab, bytes: 1 << 30)
    let broker = try await BrokerProcess.start(in: lab)
    let (client, other, stream) = try await blocking {
      let client = try broker.client(way)
      try client.open()
      #expect(try client.call(Remote.connectRegisterCloseCallback).header.status == .ok)
      // Another client, which opened another daemon.
      let other = try broker.client(.unix)
      try other.open("storage:///system")
      #expect(try other.call(71).header.status == .ok)
      let stream = try client.openStream(
        Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
      return (client, other, stream)
    }
    try await lab.kill("virtqemud")
    try await blocking {
      let end = try client.receive(within: Self.promise, "the failure of the stream") {
        $0.header.kind == .stream && $0.header.status == .error
      }
      #expect(end.header.serial == stream.serial)
      #expect(end.error?.message?.contains("virtqemud") == true, "\(end)")
      let rest = try client.awaitEnd(within: Self.promise)
      #expect(rest.allSatisfy { $0.header.kind == .message || $0.header.status == .continue })
      #expect(try other.call(71).header.status == .ok)
    }
    try await lab.start("virtqemud")
    try await broker.stop()
  }

  @Test(
    "with modular daemons the death of another daemon than the opened one fails only the calls that it serves",
    arguments: Way.allCases)
  func modular(way: Way) async throws {
    let lab = try await Lab.shared(.modular, for: "killing")
    let volume = try await TestVolume(in: lab, bytes: 1 << 30)
    let broker = try await BrokerProcess.start(in: lab)
    // Numbers of networks and of storage pools: calls for two other daemons than virtqemud.
    let (networks, pools): (Int32, Int32) = (52, 71)
    let (client, other, stream) = try await blocking {
      let (client, other) = (try broker.client(way), try broker.client(.unix))
      for client in [client, other] {
        try client.open()
        #expect(try client.call(networks).header.status == .ok)
      }
      let stream = try client.openStream(
        Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
      return (client, other, stream)
    }
    try await lab.kill("virtstoraged")
    try await blocking {
      let end = try client.receive(within: Self.promise, "the failure of the stream") {
        $0.header.kind == .stream && $0.header.status == .error
      }
      #expect(end.header.serial == stream.serial)
      #expect(end.error?.message?.contains("virtstoraged") == true)
      for client in [client, other] {
        for procedure in [59, networks] {
          #expect(try client.call(procedure).header.status == .ok, "\(procedure) goes on")
        }
      }
      // One client has used the daemon and waits for it; the other one finds none.
      try client.send(Packets.make(client.header(pools)))
      #expect(try other.call(pools, within: 10).header.status == .error)
    }
    try await lab.start("virtstoraged")
    try await blocking {
      let waited = try client.receive(within: 5, "the reply that waited") {
        $0.header.kind == .reply
      }
      #expect(waited.header.procedure == pools && waited.header.status == .ok)
      let reply = try other.call(pools)
      #expect(reply.header.status == .ok, "a daemon that is back is found again")
    }
    try await broker.stop()
  }
}
