// The broker itself is killed: its clients notice, and the daemons let go of everything.
import Foundation
import Streams
import Testing

@Suite("A broker that is killed", Lab.isPossible)
struct BrokerDeathTests {
  @Test("its clients notice at once, libvirtd lets go of them, and the next broker serves")
  func killed() async throws {
    let lab = try await Lab.shared(.mono, for: "killing brokers")
    let volume = try await TestVolume(in: lab, bytes: 64 << 20)
    let daemon = try await lab.pid(of: "libvirtd")
    let broker = try await BrokerProcess.start(in: lab)
    let before = try await blocking {
      try broker.client().open()
      return settledDescriptorCount(of: daemon)
    }
    let waiting = Command(
      "virsh", "-c", broker.tcpURI(), "event", "--all", "--loop", "--timeout", "60")
    async let listening = waiting.run()
    try await blocking {
      let clients = try [Way.unix, .tcp, .unix, .tcp].map { way in
        let client = try broker.client(way)
        try client.open()
        return client
      }
      // An upload in the middle, a download nobody reads on, a call just sent, and one at rest.
      let upload = try clients[0].openStream(
        Remote.storageVolUpload, pool: volume.pool, volume: volume.name)
      try clients[0].send(RawClient.packet(upload, [UInt8](repeating: 7, count: 100_000)))
      _ = try clients[1].openStream(
        Remote.storageVolDownload, pool: volume.pool, volume: volume.name)
      try clients[2].send(Packets.make(clients[2].header(59)))
      #expect(eventually { descriptorCount(of: daemon) > before })

      broker.signal(SIGKILL)
      for client in clients {
        let last = try client.awaitEnd(within: 5)
        #expect(last.allSatisfy { $0.error == nil }, "nothing is made up")
      }
      #expect(
        eventually { descriptorCount(of: daemon) <= before },
        "\(descriptorCount(of: daemon)) descriptors in libvirtd, \(before) before")
    }
    let virsh = try await listening
    #expect(virsh.status != 0, "virsh says: \(virsh.output) \(virsh.errors)")

    let next = try await BrokerProcess.start(in: lab)
    try await blocking {
      let client = try next.client(.tcp)
      try client.open()
      // The volume is free: nobody holds it open.
      let upload = try client.openStream(
        Remote.storageVolUpload, pool: volume.pool, volume: volume.name, length: 5)
      try client.send(RawClient.packet(upload, Array("hello".utf8)))
      #expect(try client.end(upload).header.status == .ok)
    }
    try await next.stop()
  }

  @Test("a broker started again takes over the sockets that the killed one left behind")
  func successor() async throws {
    let scene = try await Scene { _, _ in false }
    let broker = scene.broker
    broker.signal(SIGKILL)
    #expect(try await broker.awaitEnd() == 128 + SIGKILL)
    #expect(FileManager.default.fileExists(atPath: broker.directory + "/libvirt-sock"))
    let next = try Child([
      BrokerProcess.executable, "-f", broker.directory + "/virtbrokerd.conf", "-p",
      broker.directory + "/pid",
    ])
    try await blocking {
      #expect(eventually { BrokerProcess.accepts(unix: broker.directory + "/libvirt-sock") })
      let client = try broker.client()
      try client.open()
      #expect(try client.call(59).header.status == .ok)
      next.signal(SIGTERM)
      #expect(next.wait(limit: .seconds(20)) == 0)
    }
    withExtendedLifetime(scene) {}
  }
}
